"""Verb `lm`: an n-gram language model, estimated or from an ARPA file, and its perplexity (stage 1)."""

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from asr_parallel.record.options import Checked, build, names, option
from asr_parallel.record.stage import run_stage


@dataclass(frozen=True)
class LmOptions(Checked):
    """Estimation, with --data."""

    order: int = option(3, "3: trigram; 0: every word equally likely", least=0)
    min_count: int = option(1, "leave out rarer n-grams of the highest order; 1: keep all", least=1)


def option_groups() -> tuple[type, ...]:
    """Return the groups of options of the verb."""
    return (LmOptions,)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the files of the verb."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="training data folder, whose text the model is estimated on")
    source.add_argument(
        "--arpa", type=Path, help="an existing model, ARPA or ARPA.gz, which is restricted to the words of the lexicon"
    )
    parser.add_argument("--lang", type=Path, required=True, help="lang folder, which gives the vocabulary")
    parser.add_argument("--eval", type=Path, action="append", default=[], help="data folder to measure perplexity on")
    parser.add_argument("--out", type=Path, required=True, help="folder to write, with lm.arpa and ppl.json")


def run(args: argparse.Namespace) -> None:
    """Make the model."""
    from asr_parallel.corpus.arpa import clean_arpa, read_arpa, write_arpa
    from asr_parallel.corpus.datadir import read_utterances
    from asr_parallel.corpus.kneser_ney import estimate
    from asr_parallel.corpus.lexicon import near_matches
    from asr_parallel.corpus.ngram import NgramModel, perplexity, uniform_model
    from asr_parallel.hmm.lang import Lang
    from asr_parallel.record.files import write_json
    from asr_parallel.record.log import logger

    if args.arpa and names(LmOptions) & vars(args).keys():
        raise ValueError("--order and --min-count go with --data; a model made elsewhere has both already")
    if args.arpa and not args.arpa.is_file():
        raise ValueError(f"{args.arpa}: no such language model; expected an ARPA file, plain or gzipped")
    options = build(LmOptions, vars(args))

    def text_of(data: Path) -> list[list[str]]:
        return [u.text.split() for u in read_utterances(data) if u.text]

    def make_model(lang: Lang) -> NgramModel:
        text = text_of(args.data)
        if options.order == 0:
            noise = set(lang.silence_phones)
            return uniform_model(w for w, variants in lang.lexicon.items() if not noise.issuperset(variants[0][1]))
        used = {word for sentence in text for word in sentence}
        # <unk> may be decoded only where the training text really has unknown words
        unknown = {"<unk>"} - (used - lang.lexicon.keys() and {"<unk>"})
        return estimate(text, lang.lexicon.keys() - unknown, options.order, options.min_count)

    def make(folder: Path) -> None:
        lang = Lang.open(args.lang)
        texts = {data: text_of(data) for data in args.eval}
        record: dict[str, Any] = {}
        if args.arpa:
            counts, record["left_out"] = clean_arpa(args.arpa, folder / "lm.arpa", lang.lexicon)
            model = read_arpa(folder / "lm.arpa", {word for text in texts.values() for line in text for word in line})
        else:
            model = make_model(lang)
            write_arpa(folder / "lm.arpa", model)
            counts = [len(keys) for keys in model.keys]
        report = {}
        for data, text in texts.items():
            found = perplexity(model, text)
            report[data.name] = {
                "perplexity": round(found.perplexity, 3),
                "sentences": found.sentences,
                "words": found.words,
                "oovs": found.oovs,
                "log10_prob": round(found.log10_prob, 3),
            }
            hint = near_matches({word for line in text for word in line} - lang.lexicon.keys(), lang.lexicon)
            logger.info(
                "perplexity on %s: %.2f (%d words, %d OOV%s)", data, found.perplexity, found.words, found.oovs, hint
            )
        write_json(
            folder / "ppl.json",
            {"order": len(counts) if args.arpa else options.order, "ngrams": counts, "perplexity": report, **record},
        )

    inputs = {"lang": args.lang, "arpa" if args.arpa else "data": args.arpa or args.data}
    inputs |= {f"eval {number} {data.name}": data for number, data in enumerate(args.eval, start=1)}
    run_stage(args.out, make, number=1, inputs=inputs, options={} if args.arpa else asdict(options))
