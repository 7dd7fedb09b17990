"""Verb `score`: error rates; weights chosen on the development set, applied to the evaluation sets (stage 7)."""

import argparse
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from asr_parallel.decode.word_network import UNITS
from asr_parallel.record.options import build, check, option
from asr_parallel.record.stage import run_stage

SCORE = "Kaldi egs/swbd/s5c/local/score.sh"


@dataclass(frozen=True)
class ScoreOptions:
    """Weights to try on the development set, and units."""

    lmwt_range: str = option("5:17", "LM weights, first:last", metavar="N:N", source=SCORE)
    word_ins_penalties: tuple[float, ...] = option((0.0, 0.5, 1.0), "word insertion penalties", source=SCORE)
    score_units: str = option(
        "word", "what is counted and chooses the weights; char: characters (Unicode code points, NFC, no spaces) "
        "beside words, for languages without spaces", choices=UNITS,
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Raise ValueError for an option out of range."""
        check(self)
        self.lmwts()

    def lmwts(self) -> list[int]:
        """Return the LM weights."""
        first, _, last = self.lmwt_range.partition(":")
        if not (first.isdecimal() and last.isdecimal() and 0 < int(first) <= int(last)):
            raise ValueError(f"--lmwt-range {self.lmwt_range}: expected first:last, whole numbers from 1, such as 5:17")
        return list(range(int(first), int(last) + 1))


def option_groups() -> tuple[type, ...]:
    """Return the groups of options of the verb."""
    return (ScoreOptions,)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the files of the verb."""
    parser.add_argument("--data-dev", type=Path, required=True, help="data folder of the development set")
    parser.add_argument("--decode-dev", type=Path, required=True, help="its decode folder; scoring/ is made inside")
    for flag, what in (
        ("--data-eval", "data folder of an evaluation set; may be repeated"),
        ("--decode-eval", "its decode folder, likewise, in the same order"),
    ):
        parser.add_argument(flag, type=Path, action="append", default=[], help=what)
    parser.add_argument("--lang", type=Path, required=True, help="lang folder")


def run(args: argparse.Namespace) -> None:
    """Score all sets."""
    from asr_parallel.decode.hypotheses import hypotheses_of
    from asr_parallel.decode.reference import Reference
    from asr_parallel.decode.scoring import by_weighting, choose, write_scoring
    from asr_parallel.record.files import read_json, read_lines, write_lines

    options = build(ScoreOptions, vars(args))
    if len(args.data_eval) != len(args.decode_eval):
        raise ValueError(
            f"{len(args.data_eval)} --data-eval and {len(args.decode_eval)} --decode-eval: expected as many of both"
        )
    units, lmwts, wips = options.score_units, options.lmwts(), list(options.word_ins_penalties)
    # invalidates scoring folders of older versions, without alignments or by other rules
    made = {"keeps": "alignments", "words": "filtered alike", "units": units}
    scoring_dev = args.decode_dev / "scoring"

    def build_dev(folder: Path) -> None:
        reference = Reference.open(args.data_dev)
        hypotheses = by_weighting(hypotheses_of(args.decode_dev, args.lang, lmwts, wips))
        choice = choose(reference, hypotheses, units)
        best = choice.best
        write_scoring(folder, str(args.decode_dev), reference, hypotheses[best], best, choice.tried, units)

    def build_eval(folder: Path, data: Path, decode: Path) -> None:
        chosen = read_json(scoring_dev / "wer.json")
        best = (chosen["lmwt"], chosen["wip"])
        hypotheses = by_weighting(hypotheses_of(decode, args.lang, best[:1], best[1:]))
        reference = Reference.open(data)
        write_scoring(folder, str(decode), reference, hypotheses[best], best, units=units)

    run_stage(
        scoring_dev,
        build_dev,
        number=7,
        inputs={"data": args.data_dev, "decode": args.decode_dev, "lang": args.lang},
        options={"lmwts": lmwts, "wips": wips, **made},
    )
    for data, decode in zip(args.data_eval, args.decode_eval, strict=True):
        run_stage(
            decode / "scoring",
            partial(build_eval, data=data, decode=decode),
            number=7,
            inputs={"data": data, "decode": decode, "lang": args.lang, "dev": scoring_dev},
            options=made,
        )
    for decode in (args.decode_dev, *args.decode_eval):
        scoring = decode / "scoring"
        (decode / "best_cer").unlink(missing_ok=True)  # from an earlier scoring
        for name in ("best_wer", "best_cer"):
            if (scoring / name).is_file():
                write_lines(decode / name, read_lines(scoring / name))
        for path in sorted(scoring.glob("best_?er*")):
            print(read_lines(path)[0])
        record = read_json(scoring / "wer.json")
        print(f"scored by {record['scorer']}, {record['rules']} rules; by sclite:", end=" ")
        print(read_lines(scoring / "sclite")[0] if record["sclite"] else "not installed, or it refused")
