"""The rendezvous of the processes of a run.

The rendezvous file lies beside the result, on a disk that all processes see: rank 0 opens a port, any that is free, and
writes its address there with the name of the launch, by which the others know a file that is of an earlier one. MPICH's
mpirun names no launch; there the address of an earlier one is tried, and who answers must know the file's key.
"""

import json
import os
import socket
import subprocess
import time
import uuid
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from asr_parallel.parallel.process_info import LAUNCH, ProcessInfo, process_info
from asr_parallel.parallel.transport import START_SECONDS, Distributed, LostError, SingleProcess, Transport
from asr_parallel.record.files import read_json, write_json
from asr_parallel.record.log import logger

LOOPBACK = "127.0.0.1"
KEY = "rendezvous"  # in the store: the key of the rendezvous file
CONNECT_SECONDS = 5  # that a connection may take before the rendezvous file is looked at again
WARN_SECONDS = 10  # without rank 0 after which a process says what it waits for


def join(rendezvous_file: Path, device: str, interface: str | None, timeout: float) -> Transport:
    """Meet the other processes of this run, if there are any.

    Args:
        rendezvous_file: the rendezvous file, not there or of another launch.
        device: "auto", "cpu" or "cuda".
        interface: network interface to be reached by; the loopback one, for a single machine, when not given.
        timeout: seconds without an answer after which a process counts as lost.

    Raises:
        ValueError: an unknown interface, more processes than GPUs, or several machines without interface.
        LostError: the others did not come, or nobody answers where rank 0 says it is.
    """
    info = process_info(os.environ)
    if info.size == 1:
        return SingleProcess()
    if info.spread and not interface and "GLOO_SOCKET_IFNAME" not in os.environ:
        raise ValueError(f"rank {info.rank}: {bound_to_loopback()}")
    place = take_device(info, device)
    os.environ.setdefault("TORCH_NCCL_BLOCKING_WAIT", "1")  # a lost process is to be an error, not an abort
    os.environ.setdefault("GLOO_SOCKET_IFNAME", interface or loopback_interface())
    if interface:
        os.environ.setdefault("NCCL_SOCKET_IFNAME", interface)
    try:
        if _has_a_store(os.environ):
            wait = timedelta(seconds=timeout)
            store, _, _ = next(iter(dist.rendezvous("env://", info.rank, info.size, timeout=wait)))
            store = _of_this_attempt(store, info, timeout)
        elif info.rank == 0:
            store = _open(rendezvous_file, info, interface_address(interface), timeout)
        else:
            store = _find(rendezvous_file, info, timeout)
        return Distributed(info.rank, info.size, store, place, timeout)
    except (LostError, RuntimeError) as error:  # torch.distributed's own are RuntimeErrors
        if LAUNCH in os.environ:
            raise
        raise LostError(f"{' '.join(str(error).split())} ({info.how_to_run_alone()})") from error


def take_device(info: ProcessInfo, device: str) -> torch.device:
    """Return this process's device, a GPU of its own unless it is to be the CPU; ValueError where there is none."""
    if not (device == "cuda" or (device == "auto" and torch.cuda.is_available())):
        return torch.device("cpu")
    if info.local_rank >= torch.cuda.device_count():
        raise ValueError(
            f"process {info.local_rank} of this machine has no GPU of its own ({torch.cuda.device_count()} there):"
            " start fewer, or give --device cpu"
        )
    place = torch.device("cuda", info.local_rank)
    torch.cuda.set_device(place)
    return place


def _has_a_store(environment: Mapping[str, str]) -> bool:
    """Tell whether the launcher keeps a store for its processes, as torchrun does: they need no rendezvous file."""
    return LAUNCH not in environment and {"MASTER_ADDR", "MASTER_PORT"} <= environment.keys()


def _of_this_attempt(store: dist.Store, info: ProcessInfo, timeout: float) -> dist.Store:
    """Return the part of torchrun's store that only the processes of this attempt use.

    The store outlives an attempt that failed, and with several machines no variable counts attempts for all of them
    (TORCHELASTIC_RESTART_COUNT is each agent's own). So rank 0 names the attempt, and knows who has answered to it.
    """
    own, deadline = uuid.uuid4().hex, time.monotonic() + timeout
    if info.rank == 0:
        store.set("attempt", own)
        others = [f"{own}/{rank}" for rank in range(1, info.size)]
        store.wait(others, timedelta(seconds=timeout))
        store.set(f"{own}/all", json.dumps([store.get(key).decode() for key in others]))
        return dist.PrefixStore(own, store)
    attempt = ""
    while time.monotonic() < deadline:
        if store.check(["attempt"]) and (named := store.get("attempt").decode()) != attempt:
            attempt = named
            store.set(f"{attempt}/{info.rank}", own)
        if attempt and store.check([f"{attempt}/all"]) and own in json.loads(store.get(f"{attempt}/all")):
            return dist.PrefixStore(attempt, store)
        time.sleep(0.05)
    raise LostError(f"rank {info.rank}: rank 0 did not come within {timeout:g} s")


def bound_to_loopback() -> str:
    """Return why processes on several machines need --interface."""
    here = [name for _, name in socket.if_nameindex() if not name.startswith("lo")]
    return (
        "the processes are on several machines, but bound to loopback: give --interface"
        f" (here: {', '.join(here) or 'none but loopback'})"
    )


def loopback_interface() -> str:
    """Return the name of this machine's loopback interface: lo on Linux, lo0 on macOS and the BSDs."""
    there = {name for _, name in socket.if_nameindex()}
    return "lo0" if "lo0" in there and "lo" not in there else "lo"


def interface_address(interface: str | None) -> str:
    """Return the IPv4 address of an interface of this machine; None: of loopback. ValueError where it has none."""
    if interface is None:
        return LOOPBACK
    shown = subprocess.run(["ip", "-json", "-4", "address", "show", "dev", interface], capture_output=True, text=True)
    known = ", ".join(name for _, name in socket.if_nameindex())
    try:
        return str(json.loads(shown.stdout)[0]["addr_info"][0]["local"])
    except (ValueError, LookupError) as error:
        raise ValueError(f"network interface {interface}: has no address here; interfaces: {known}") from error


def _open(rendezvous_file: Path, info: ProcessInfo, address: str, timeout: float) -> dist.Store:
    listening = socket.create_server((address, 0))
    port = listening.getsockname()[1]
    store = dist.TCPStore(
        address, port, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=timeout),
        master_listen_fd=listening.detach(), use_libuv=False,
    )  # fmt: skip
    key = uuid.uuid4().hex
    store.set(KEY, key)
    rendezvous_file.parent.mkdir(parents=True, exist_ok=True)
    found = {"launch": info.launch, "size": info.size, "machine": socket.gethostname()}
    write_json(rendezvous_file, found | {"address": address, "port": port, "key": key})
    return store


def call_off(rendezvous_file: Path, info: ProcessInfo, reason: str) -> None:
    """Tell the other processes, which look for rank 0's address in the rendezvous file, that it does not come.

    They could not know a launch without a name from another. A file that is there belongs to a run that is beginning.
    """
    if info.size > 1 and info.launch and not _has_a_store(os.environ) and not rendezvous_file.exists():
        write_json(rendezvous_file, {"launch": info.launch, "size": info.size, "called_off": reason})


def _find(rendezvous_file: Path, info: ProcessInfo, timeout: float) -> dist.Store:
    began, warned, nobody = time.monotonic(), False, f"rank 0 wrote no {rendezvous_file}"
    while time.monotonic() < began + START_SECONDS:
        if rendezvous_file.is_file():
            found = read_json(rendezvous_file)
            if found["launch"] == info.launch and found["size"] == info.size:
                if "called_off" in found:
                    raise ValueError(f"rank {info.rank}: {found['called_off']}")
                nobody = f"nobody answers at {found['address']}:{found['port']}, as {rendezvous_file} says"
                if found["address"] == LOOPBACK and found.get("machine", socket.gethostname()) != socket.gethostname():
                    nobody = f"rank 0 is on {found['machine']}; {bound_to_loopback()}"
                    if info.launch:  # else the file may be of an earlier launch
                        raise ValueError(f"rank {info.rank}: {nobody}")
                try:
                    store = dist.TCPStore(
                        found["address"], found["port"], is_master=False, wait_for_workers=False,
                        timeout=timedelta(seconds=CONNECT_SECONDS), use_libuv=False,
                    )  # fmt: skip
                    if store.get(KEY).decode() == found.get("key"):
                        store.set_timeout(timedelta(seconds=timeout))
                        return store
                except RuntimeError:
                    pass
                logger.debug("%s", nobody)  # left by a launch of this very name, or rank 0 has gone
        if not warned and time.monotonic() > began + WARN_SECONDS:
            warned = True
            logger.warning("rank %d waits for rank 0: %s; %s", info.rank, nobody, info.how_to_run_alone())
        time.sleep(0.05)
    raise LostError(f"rank {info.rank}: {nobody} within {START_SECONDS:g} s")
