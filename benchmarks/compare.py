"""Speeds of two files of figures, new over old, and how each stands to the first contestant of its turns.

    python benchmarks/training.py small --figures new.jsonl
    python benchmarks/compare.py benchmarks/figures.jsonl new.jsonl [--least 0.9]

On the same machine the speeds themselves can be compared; between machines only the ratios, whose contestants took
turns in one process. With --least the exit status is 1 when a ratio fell below so much of the old one.
"""

import argparse
from pathlib import Path

from figures import read_figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--least", type=float, default=0.0, help="new ratio over old that is accepted")
    args = parser.parse_args()
    try:
        old, new = read_figures(args.old), read_figures(args.new)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    both = [key for key in new if key in old]
    if not both:
        parser.error(f"{args.old} and {args.new} have no figure in common")
    print("| benchmark | figure | contestant | old | new | new / old | old ratio | new ratio | new / old |")
    print("|---|---|---|--:|--:|--:|--:|--:|--:|")
    fallen = 0
    for key in both:
        before, after = old[key], new[key]
        change = after["ratio"] / before["ratio"]
        fallen += change < args.least
        speeds = f"{before['value']:,.0f} | {after['value']:,.0f} | {after['value'] / before['value']:.2f}"
        print(f"| {' | '.join(key)} | {speeds} | {before['ratio']:.2f} | {after['ratio']:.2f} | {change:.2f} |")
    for name in ("cpu", "vector_instructions", "revision", "packages"):
        values = [{str(one["environment"].get(name)) for one in figures.values()} for figures in (old, new)]
        print(f"{name}: {', '.join(sorted(values[0]))} -> {', '.join(sorted(values[1]))}")
    return int(fallen > 0)


if __name__ == "__main__":
    raise SystemExit(main())
