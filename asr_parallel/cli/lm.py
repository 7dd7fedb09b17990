"""Verb `lm`: n-gram language model of the training text, and its perplexity (stage 1)."""

import argparse
from pathlib import Path

from asr_parallel.record.stage import run_stage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="training data folder, the text to learn from")
    parser.add_argument("--lang", type=Path, required=True, help="lang folder, the vocabulary")
    parser.add_argument("--order", type=int, default=3, help="3: trigram; 0: every word equally likely (default 3)")
    parser.add_argument(
        "--min-count", type=int, default=1, help="leave out rarer n-grams of the highest order (default 1: keep all)"
    )
    parser.add_argument("--eval", type=Path, action="append", default=[], help="data folder to measure perplexity on")
    parser.add_argument("--out", type=Path, required=True, help="folder to make, with lm.arpa and ppl.json")


def run(args: argparse.Namespace) -> None:
    from asr_parallel.corpus.arpa import write_arpa
    from asr_parallel.corpus.datadir import read_utterances
    from asr_parallel.corpus.kneser_ney import estimate
    from asr_parallel.corpus.ngram import perplexity, uniform_model
    from asr_parallel.hmm.lang import Lang
    from asr_parallel.record.files import write_json
    from asr_parallel.record.log import logger

    def text_of(data: Path) -> list[list[str]]:
        return [u.text.split() for u in read_utterances(data)]

    def build(folder: Path) -> None:
        lang = Lang.open(args.lang)
        text = text_of(args.data)
        if args.order == 0:
            noise = set(lang.silence_phones)
            model = uniform_model(w for w, variants in lang.lexicon.items() if not noise.issuperset(variants[0][1]))
        else:
            used = {word for sentence in text for word in sentence}
            # <unk> may be decoded only where the training text really has unknown words
            unknown = {"<unk>"} - (used - lang.lexicon.keys() and {"<unk>"})
            model = estimate(text, lang.lexicon.keys() - unknown, args.order, args.min_count)
        write_arpa(folder / "lm.arpa", model)
        report = {}
        for data in args.eval:
            found = perplexity(model, text_of(data))
            report[data.name] = {
                "perplexity": round(found.perplexity, 3),
                "sentences": found.sentences,
                "words": found.words,
                "oovs": found.oovs,
                "log10_prob": round(found.log10_prob, 3),
            }
            logger.info("perplexity on %s: %.2f (%d words, %d OOV)", data, found.perplexity, found.words, found.oovs)
        counts = [len(keys) for keys in model.keys]
        write_json(folder / "ppl.json", {"order": args.order, "ngrams": counts, "perplexity": report})

    inputs = {"data": args.data, "lang": args.lang} | {f"eval {data}": data for data in args.eval}
    run_stage(args.out, build, number=1, inputs=inputs, options={"order": args.order, "min_count": args.min_count})
