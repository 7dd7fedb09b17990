"""Latency and bandwidth between two processes, measured by messages that go to and fro."""

import statistics
import time
from dataclasses import asdict
from pathlib import Path

import torch

from asr_parallel.clock.interconnect import Interconnect
from asr_parallel.parallel.transport import Distributed
from asr_parallel.record.files import read_json, write_json
from asr_parallel.record.from_json import from_json

SMALL, LARGE = 8, 16 << 20  # bytes; the second is the order of a model
ROUNDS = {SMALL: 200, LARGE: 10}
WARM_UP = 5  # rounds: connections open, buffers are made


def measure_network(transport: Distributed, device: torch.device) -> Interconnect | None:
    """Return the network between the first and the last process; None in all others. All must call it.

    Half of a round is a message: its latency is that of a small one, and its bandwidth the bytes of a large one over
    the rest of its time. Both are medians (ping-pong, as NetPIPE and the OSU micro-benchmarks do it).
    """
    seconds = {size: _message_seconds(transport, device, size) for size in (SMALL, LARGE)}
    if transport.rank not in (0, transport.size - 1):
        return None
    alpha = seconds[SMALL]
    beta = (LARGE - SMALL) / max(seconds[LARGE] - alpha, 1e-9)
    kind = "NCCL" if device.type == "cuda" else "gloo"
    source = f"measured, {kind} between ranks 0 and {transport.size - 1}"
    return Interconnect("measured", alpha, beta, source)


def _message_seconds(transport: Distributed, device: torch.device, size: int) -> float:
    """Return the median seconds of a message of so many bytes, one way; 0 in processes between the two."""
    buffer, last = torch.zeros(size, dtype=torch.uint8, device=device), transport.size - 1
    taken = []
    transport.barrier()
    for n in range(WARM_UP + ROUNDS[size]):
        began = time.perf_counter()
        if transport.rank == 0:
            transport.send(buffer, last)
            transport.receive(buffer, last)
        elif transport.rank == last:
            transport.receive(buffer, 0)
            transport.send(buffer, 0)
        if device.type == "cuda":  # NCCL's calls return before the bytes are there
            torch.cuda.synchronize(device)
        if n >= WARM_UP:
            taken.append((time.perf_counter() - began) / 2)
    transport.barrier()
    return statistics.median(taken)


def write_network(path: Path, network: Interconnect) -> None:
    """Write a network as JSON, whole or not at all."""
    write_json(path, asdict(network))


def read_network(path: Path) -> Interconnect:
    """Read what write_network() wrote; ValueError with one line that says what does not fit."""
    if not path.is_file():
        raise ValueError(f"{path}: is not there; expected a file that asr-parallel measure-network wrote")
    network: Interconnect = from_json(Interconnect, read_json(path), str(path))
    return network
