"""Verb `lang`: lexicon and lang folder (stage 1)."""

import argparse
from pathlib import Path

from asr_parallel.record.stage import run_stage


def option_groups() -> tuple[type, ...]:
    """Return the groups of options of the verb."""
    return ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, required=True, help="training data folder, whose words need pronunciations"
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--dictionary", type=Path, help="the MS-State dictionary (sw-ms98-dict.text)")
    source.add_argument("--lexicon", type=Path, help="a file of lines 'word [probability] phone phone ...'")
    parser.add_argument(
        "--pron-probs",
        nargs=2,
        type=Path,
        metavar=("ALI", "LANG"),
        help="estimate pronunciation probabilities from the alignment ALI, made with the lang folder LANG",
    )
    parser.add_argument("--out", type=Path, required=True, help="lang folder to write")


def run(args: argparse.Namespace) -> None:
    from asr_parallel.corpus.datadir import read_utterances
    from asr_parallel.corpus.lexicon import (
        add_noise_words,
        count_words,
        estimate_probabilities,
        read_lexicon,
        write_oov_words,
    )
    from asr_parallel.hmm.lang import Lang, build_lang

    inputs: dict[str, Path] = {"data": args.data}
    if args.pron_probs:
        inputs["alignment"], inputs["aligned lang"] = args.pron_probs
    inputs["lexicon"] = args.dictionary or args.lexicon
    if not inputs["lexicon"].is_file():
        raise ValueError(f"{inputs['lexicon']}: no such lexicon; expected a file of lines 'word phone phone ...'")

    def build(folder: Path) -> None:
        utterances = read_utterances(args.data)
        counts = count_words(u.text for u in utterances)
        lexicon = read_lexicon(inputs["lexicon"], ms_state=bool(args.dictionary))
        lexicon = add_noise_words(lexicon, counts)
        if args.pron_probs:
            from asr_parallel.hmm.pronunciations import count_pronunciations

            ali, aligned_lang = args.pron_probs
            lexicon = estimate_probabilities(lexicon, count_pronunciations(ali, Lang.open(aligned_lang), utterances))
        write_oov_words(folder / "oov_words.txt", counts, lexicon)
        build_lang(folder, lexicon)

    run_stage(args.out, build, number=1, inputs=inputs, options={"ms_state": bool(args.dictionary)})
