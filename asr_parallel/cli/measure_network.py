"""asr-parallel measure-network: latency and bandwidth between processes, for the modelled clock."""

import argparse
import os
from pathlib import Path

from asr_parallel.cli.distributed import ProcessOptions, joined, launched
from asr_parallel.record.options import build


def option_groups() -> tuple[type, ...]:
    """Return the groups of options of the verb."""
    from asr_parallel.training.option_groups import MachineOptions

    return ProcessOptions, MachineOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the files of the verb."""
    parser.add_argument("--out", type=Path, required=True, help="JSON file, for --network-file of predict and compare")


def run(args: argparse.Namespace) -> None:
    """Measure between the first and the last of the processes."""
    from asr_parallel.clock.measure_network import measure_network, write_network
    from asr_parallel.nnet.precision import choose_device
    from asr_parallel.parallel.process_info import process_info
    from asr_parallel.parallel.transport import Distributed
    from asr_parallel.training.option_groups import MachineOptions

    options, machine = build(ProcessOptions, vars(args)), build(MachineOptions, vars(args))
    if launched(args, options, workers=options.processes):
        return
    size = process_info(os.environ).size
    with joined(options, args.out, workers=size, minibatch=1, units=1, device=machine.device) as transport:
        if not isinstance(transport, Distributed):
            raise ValueError("a single process has no network; expected --processes 2, or torchrun, mpirun or srun")
        network = measure_network(transport, choose_device(machine.device))
        if network is not None and transport.rank == 0:
            write_network(args.out, network)
            print(f"latency {1e6 * network.alpha:.1f} us, {network.beta / 1e6:,.0f} MB/s ({network.source})")
