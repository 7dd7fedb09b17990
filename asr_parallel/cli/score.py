"""Verb `score`: error rates; weights chosen on the development set, applied to the evaluation set (stage 7)."""

import argparse
import math
from pathlib import Path

from asr_parallel.decode.word_network import UNITS
from asr_parallel.record.stage import run_stage

# Kaldi's egs/swbd/s5c/local/score.sh: min_lmwt, max_lmwt, word_ins_penalty
LMWT_RANGE = "5:17"
WORD_INSERTION_PENALTIES = "0,0.5,1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-dev", type=Path, required=True, help="data folder of the development set")
    parser.add_argument("--decode-dev", type=Path, required=True, help="its decode folder; scoring/ is made inside")
    parser.add_argument("--data-eval", type=Path, required=True, help="data folder of the evaluation set")
    parser.add_argument("--decode-eval", type=Path, required=True, help="its decode folder; scoring/ is made inside")
    parser.add_argument("--lang", type=Path, required=True, help="lang folder")
    parser.add_argument(
        "--lmwt-range", default=LMWT_RANGE, help="LM weights to try, first:last (default: %(default)s, Kaldi's)"
    )
    parser.add_argument(
        "--word-ins-penalties",
        default=WORD_INSERTION_PENALTIES,
        help="word insertion penalties to try (default: %(default)s, Kaldi's)",
    )
    parser.add_argument(
        "--score-units",
        choices=UNITS,
        default="word",
        help="what is counted and chooses the weights; char: characters (Unicode code points, NFC, no spaces) beside "
        "words, for languages without spaces (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> None:
    from asr_parallel.decode.hypotheses import hypotheses_of
    from asr_parallel.decode.reference import Reference
    from asr_parallel.decode.scoring import by_weighting, choose, write_scoring
    from asr_parallel.record.files import read_json, read_lines, write_lines

    units = args.score_units
    # invalidates scoring folders of older versions, without alignments or by other rules
    made = {"keeps": "alignments", "words": "filtered alike", "units": units}
    lmwts, wips = _lmwts(args.lmwt_range), _penalties(args.word_ins_penalties)
    scoring_dev, scoring_eval = args.decode_dev / "scoring", args.decode_eval / "scoring"

    def build_dev(folder: Path) -> None:
        reference = Reference.open(args.data_dev)
        hypotheses = by_weighting(hypotheses_of(args.decode_dev, args.lang, lmwts, wips))
        choice = choose(reference, hypotheses, units)
        best = choice.best
        write_scoring(folder, str(args.decode_dev), reference, hypotheses[best], best, choice.tried, units)

    def build_eval(folder: Path) -> None:
        chosen = read_json(scoring_dev / "wer.json")
        best = (chosen["lmwt"], chosen["wip"])
        hypotheses = by_weighting(hypotheses_of(args.decode_eval, args.lang, best[:1], best[1:]))
        reference = Reference.open(args.data_eval)
        write_scoring(folder, str(args.decode_eval), reference, hypotheses[best], best, units=units)

    run_stage(
        scoring_dev,
        build_dev,
        number=7,
        inputs={"data": args.data_dev, "decode": args.decode_dev, "lang": args.lang},
        options={"lmwts": lmwts, "wips": wips, **made},
    )
    run_stage(
        scoring_eval,
        build_eval,
        number=7,
        inputs={"data": args.data_eval, "decode": args.decode_eval, "lang": args.lang, "dev": scoring_dev},
        options=made,
    )
    for decode in (args.decode_dev, args.decode_eval):
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


def _lmwts(text: str) -> list[int]:
    first, _, last = text.partition(":")
    if not (first.isdecimal() and last.isdecimal() and 0 < int(first) <= int(last)):
        raise ValueError(f"--lmwt-range {text}: expected first:last, whole numbers from 1, such as 5:17")
    return list(range(int(first), int(last) + 1))


def _penalties(text: str) -> list[float]:
    try:
        penalties = [float(part) for part in text.split(",")]
    except ValueError:
        penalties = []
    if not penalties or not all(map(math.isfinite, penalties)):
        raise ValueError(f"--word-ins-penalties {text}: expected numbers with commas between, such as 0,0.5,1")
    return penalties
