"""Compare GMM systems of several sizes on unseen speakers: every pair of the corpus' speakers is held out in turn.

    python recipes/digits/unseen_speakers.py CORPUS OUT --systems mono:1000 tri:200:1000
    python recipes/digits/unseen_speakers.py CORPUS OUT --systems mono:1000 tri:200:1000 tri:200:3000 \
        --speakers george jackson lucas nicolas

CORPUS is a clone of the public repository Jakobovski/free-spoken-digit-dataset. A system is mono:GAUSSIANS, or
tri:LEAVES:GAUSSIANS, which starts from the alignment of the first monophones named. The four speakers of a fold who
are not held out train it, on utterances generated like the recipe's. What is done already is not done again, and
several of these programs may share the work of one OUT, each with some --folds.

Only errors of --speakers are counted, each of them held out with every other speaker in turn; settings are chosen with
the recipe's training speakers there. Differences are from the first system, with the 95 % interval of a paired t test
over speakers.
"""

import argparse
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from asr_parallel.cli.main import main as run_verb
from asr_parallel.corpus.digits import find_recordings
from asr_parallel.decode.paired_difference import mean_difference
from asr_parallel.record.files import read_json

LEXICON = Path(__file__).resolve().parents[2] / "local" / "digits" / "lexicon.txt"
SETS = ("train", "dev", "eval")


SIZES = {"mono": ("--num-gauss",), "tri": ("--leaves", "--num-gauss")}  # options of train-mono and train-tri


def checked(system: str) -> str:
    """Return a system as it was given; ArgumentTypeError where it is none."""
    kind, *sizes = system.split(":")
    if len(SIZES.get(kind, ())) != len(sizes) or not sizes or not all(size.isdecimal() for size in sizes):
        raise argparse.ArgumentTypeError(f"{system!r}: expected mono:GAUSSIANS or tri:LEAVES:GAUSSIANS")
    return system


def share(text: str) -> tuple[int, int]:
    """Return K and N of K/N; ArgumentTypeError where it is no share."""
    first, slash, step = text.partition("/")
    if not slash or not first.isdecimal() or not step.isdecimal() or int(first) >= int(step):
        raise argparse.ArgumentTypeError(f"{text!r}: expected K/N, with K from 0 to N - 1")
    return int(first), int(step)


def run(*words: object) -> None:
    """Run a verb of asr-parallel; SystemExit where it fails."""
    status = run_verb([str(word) for word in words])
    if status:
        raise SystemExit(status)


def prepare(corpus: Path, fold: Path, held_out: tuple[str, ...]) -> None:
    """Make data, language model and features of a fold: stages 0 to 2 of the recipe, without the network's."""
    run("prepare-digits", "--corpus", corpus, "--out", fold, "--test-speakers", ",".join(held_out))
    data = fold / "data"
    run("lang", "--data", data / "train", "--lexicon", LEXICON, "--out", fold / "lang")
    run("lm", "--data", data / "train", "--order", 0, "--lang", fold / "lang", "--eval", data / "dev",
        "--out", fold / "lm")  # fmt: skip
    for name in SETS:
        run("make-features", "--data", data / name, "--kind", "mfcc", "--out", fold / "mfcc" / name, "--jobs", 1)


def train(fold: Path, system: str, alignment: str) -> Path:
    """Train a system, and return its folder."""
    kind, *sizes = system.split(":")
    out = fold / system.replace(":", "_")
    words: list[object] = [f"train-{kind}", "--data", fold / "data" / "train", "--lang", fold / "lang"]
    words += ["--feats", fold / "mfcc" / "train", "--out", out, "--jobs", 1]
    for flag, size in zip(SIZES[kind], sizes, strict=True):
        words += [flag, size]
    run(*words, *(["--ali", fold / alignment.replace(":", "_")] if kind == "tri" else []))
    return out


def recognize(fold: Path, system: Path) -> dict[str, tuple[int, int]]:
    """Decode with a system, and return errors and words of every speaker held out; the weights are chosen on dev."""
    run("make-graph", "--lang", fold / "lang", "--lm", fold / "lm", "--model", system, "--out", system / "graph")
    words: list[object] = ["score", "--lang", fold / "lang"]
    for name in SETS[1:]:
        out = system / f"decode_{name}"
        run("decode", "--graph", system / "graph", "--model", system, "--feats", fold / "mfcc" / name, "--out", out,
            "--jobs", 1)  # fmt: skip
        words += [f"--data-{name}", fold / "data" / name, f"--decode-{name}", out]
    run(*words)
    scored = read_json(system / "decode_eval" / "scoring" / "wer.json")["per_speaker"]
    return {speaker: (counts["errors"], counts["words"]) for speaker, counts in scored.items()}


def table(systems: list[str], speakers: list[str], rates: np.ndarray) -> list[str]:
    """Return the lines of a table of (systems, speakers) error rates."""
    lines = [
        f"| system | {' | '.join(speakers)} | mean | less {systems[0]}'s |",
        "|---" + "|--:" * len(speakers) + "|--:|--:|",
    ]
    for system, row in zip(systems, rates, strict=True):
        found = None if system == systems[0] else mean_difference(row.tolist(), rates[0].tolist())
        low, high = found.interval() if found else (0.0, 0.0)
        last = f"{found.difference:+.2f} ({low:+.2f} to {high:+.2f})" if found else ""
        lines.append(f"| {system} | {' | '.join(f'{rate:.2f}' for rate in row)} | {row.mean():.2f} | {last} |")
    return lines


def options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, help="folder with recordings/DIGIT_SPEAKER_INDEX.wav")
    parser.add_argument("out", type=Path, help="folder for the experiments, one a pair")
    parser.add_argument(
        "--systems", nargs="+", type=checked, required=True, help="the others are compared with the first"
    )
    parser.add_argument("--speakers", nargs="+", help="whose errors count (default: all)")
    parser.add_argument(
        "--folds", type=share, default=(0, 1), metavar="K/N", help="every N-th from the K-th (0/1, all)"
    )
    args = parser.parse_args(words)
    args.everybody = sorted({name.split("_")[1] for name in find_recordings(args.corpus)})
    args.speakers = args.speakers or args.everybody
    args.alignment = next((system for system in args.systems if system.startswith("mono")), None)
    if not args.alignment or not set(args.speakers) <= set(args.everybody):
        parser.error(f"expected a system mono:GAUSSIANS, and speakers from {', '.join(args.everybody)}")
    return args


def main(words: Sequence[str] | None = None) -> None:
    """Run the folds asked for, and where these are all print the table."""
    args = options(words)
    first, step = args.folds
    counts = np.zeros((len(args.systems), len(args.speakers), 2))
    pairs = [pair for pair in combinations(args.everybody, 2) if set(pair) & set(args.speakers)]
    for pair in pairs[first::step]:
        fold = args.out / "+".join(pair)
        prepare(args.corpus, fold, pair)
        # monophones first: triphones start from their alignment
        for system in sorted(args.systems, key=lambda name: not name.startswith("mono")):
            found = recognize(fold, train(fold, system, args.alignment))
            for speaker in set(pair) & set(args.speakers):
                counts[args.systems.index(system), args.speakers.index(speaker)] += found[speaker]
    if step == 1:
        print("\n".join(table(args.systems, args.speakers, 100 * counts[..., 0] / counts[..., 1])))


if __name__ == "__main__":
    main()
