"""Time of a minibatch by threads, and by how threads wait for each other, on a machine at rest and on a busy one.

    python benchmarks/threads.py [--busy N] [--rounds 3] [--small]

Every figure is the median of processes started in turn: OpenMP reads how to wait when it is loaded. --busy starts N
processes that compute without end beside them.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

SIZES = [(128, 64), (256, 64), (512, 64), (512, 256), (512, 512), (1024, 256)]  # units of a hidden layer, frames
WAYS = [(1, "passive"), (2, "active"), (2, "passive")]  # threads, OMP_WAIT_POLICY; active: libgomp's default, or near
INPUT_DIM, PDFS, LAYERS = 440, 800, 3


def measure(threads: int, sizes: list[tuple[int, int]]) -> None:
    """Print the milliseconds of a minibatch of each size."""
    import torch

    from asr_parallel.clock.step_time import measure_step
    from asr_parallel.nnet.architectures.dnn import dnn

    torch.set_num_threads(threads)
    found = []
    for hidden, minibatch in sizes:
        spec = dnn(INPUT_DIM, 0, LAYERS, hidden, PDFS, "relu")
        step = measure_step(spec, minibatch, "ng-sgd", "float32", "cpu", blocks=5, least_seconds=0.5)
        found.append(1000 * step.seconds)
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busy", type=int, default=0, help="processes beside (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--small", action="store_true", help="the first four sizes")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    sizes = SIZES[:4] if args.small else SIZES
    if args.measure:
        measure(args.measure, sizes)
        return
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(args.busy)]
    found: dict[tuple[int, str], list[list[float]]] = {way: [] for way in WAYS}
    try:
        for _ in range(args.rounds):
            for threads, wait in WAYS:
                command = [sys.executable, __file__, "--measure", str(threads), *(["--small"] * args.small)]
                environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
                if wait == "passive":
                    environment["OMP_WAIT_POLICY"] = "PASSIVE"
                else:
                    environment.pop("OMP_WAIT_POLICY", None)
                done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
                found[threads, wait].append(json.loads(done.stdout))
    finally:
        for other in others:
            other.kill()
    print("| units, frames |", " | ".join(f"{threads} thread(s), {wait}" for threads, wait in WAYS), "|")
    print("|---|" + "--:|" * len(WAYS))
    for k, (hidden, minibatch) in enumerate(sizes):
        each = [statistics.median(of_round[k] for of_round in found[way]) for way in WAYS]
        print(f"| {hidden}, {minibatch} |", " | ".join(f"{one:.1f} ms" for one in each), "|")


if __name__ == "__main__":
    main()
