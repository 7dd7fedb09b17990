"""The program `asr-parallel VERB ...`: finds the verb, runs it, turns users' mistakes into one line and status 1.

Verbs are modules of `asr_parallel.cli`, imported when they run; so packages below it can check and run verbs as well.
"""

import argparse
import importlib
import locale
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from itertools import pairwise
from typing import Any

from asr_parallel import __version__
from asr_parallel.record.child_processes import PARENT, exit_with_process
from asr_parallel.record.files import resolve_links
from asr_parallel.record.interrupt import Interrupted, raise_on_signals
from asr_parallel.record.libraries import set_up_libraries
from asr_parallel.record.log import logger, set_up_logging
from asr_parallel.record.options import add_arguments as add_options
from asr_parallel.record.options import build

# verb -> (module with add_arguments(parser), option_groups() and run(args), its purpose); imported only when used
VERBS: dict[str, tuple[str, str]] = {
    "synthesize": ("asr_parallel.cli.synthesize", "write the synthetic Switchboard (stage 0)"),
    "import-kaldi": ("asr_parallel.cli.import_kaldi", "data folder from a Kaldi data directory (stage 0)"),
    "import-lhotse": ("asr_parallel.cli.import_lhotse", "data folder from lhotse's manifests (stage 0)"),
    "import-kaldi-feats": ("asr_parallel.cli.import_kaldi_feats", "feature archive from Kaldi's features (stage 2)"),
    "import-kaldi-ali": ("asr_parallel.cli.import_kaldi_ali", "frame store from Kaldi's alignments (stage 4)"),
    "import-kaldi-gmm": ("asr_parallel.cli.import_kaldi_gmm", "GMM system from Kaldi's final.mdl and tree (stage 3)"),
    "import-kaldi-graph": ("asr_parallel.cli.import_kaldi_graph", "decoding graph from Kaldi's HCLG.fst (stage 7)"),
    "import-kaldi-network": ("asr_parallel.cli.import_kaldi_network", "network from Kaldi's nnet3 or nnet1 (stage 6)"),
    "export-kaldi": ("asr_parallel.cli.export_kaldi", "models, alignments, features and lang for Kaldi (stage 7)"),
    "export-onnx": ("asr_parallel.cli.export_onnx", "a network for onnxruntime (stage 7)"),
    "prepare-swbd": ("asr_parallel.cli.prepare_swbd", "data folders from Switchboard's discs (stage 0)"),
    "make-features": ("asr_parallel.cli.make_features", "compute MFCC or fbank features of a data folder (stage 2)"),
    "make-frames": ("asr_parallel.cli.make_frames", "make the frame store of a network (stage 4)"),
    "pretrain-rbm": ("asr_parallel.cli.pretrain_rbm", "pretrain a stack of RBMs on a frame store (stage 5)"),
    "train-dnn": ("asr_parallel.cli.train_dnn", "train a network on a frame store (stage 6)"),
    "prepare-digits": ("asr_parallel.cli.prepare_digits", "make connected digits of single ones (stage 0)"),
    "leave-speaker-out": ("asr_parallel.cli.leave_speaker_out", "treat a training speaker as unseen (stage 0)"),
    "lang": ("asr_parallel.cli.lang", "make lexicon and lang folder (stage 1)"),
    "make-graph": ("asr_parallel.cli.make_graph", "build the decoding graph HCLG (stage 7)"),
    "decode": ("asr_parallel.cli.decode", "decode features into lattices (stage 7)"),
    "lm": ("asr_parallel.cli.lm", "estimate the n-gram language model (stage 1)"),
    "train-mono": ("asr_parallel.cli.train_mono", "train a monophone GMM from a flat start (stage 3)"),
    "train-tri": ("asr_parallel.cli.train_tri", "train a triphone GMM on a phonetic decision tree (stage 3)"),
    "align": ("asr_parallel.cli.align", "align transcripts with a GMM system (stage 3)"),
    "ctm": ("asr_parallel.cli.ctm", "write word and phone times of an alignment (stage 3)"),
    "score": ("asr_parallel.cli.score", "word error rates, weights chosen on the development set (stage 7)"),
    "predict": ("asr_parallel.cli.predict", "modelled speedup of K workers, by algorithm and network"),
    "measure-network": ("asr_parallel.cli.measure_network", "latency and bandwidth between processes, for predict"),
    "compare": ("asr_parallel.cli.compare", "algorithms and numbers of workers side by side (stage 8)"),
    "sort-options": ("asr_parallel.cli.sort_options", "give a recipe's options to the verbs that have them"),
    "results": ("asr_parallel.cli.results", "table of all word error rates and stage times"),
}


def build_parser(verb: str | None) -> argparse.ArgumentParser:
    """Return the whole program's parser; only the arguments of `verb` are filled in, so that --help stays fast."""
    parser = argparse.ArgumentParser(
        prog="asr-parallel",
        description="Train speech-recognition acoustic models on many workers and measure the cost in word error rate.",
    )
    parser.add_argument("--version", action="version", version=f"asr-parallel {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, (module_name, purpose) in VERBS.items():
        sub = verbs.add_parser(name, help=purpose, description=purpose, allow_abbrev=False)
        sub.add_argument("--verbose", action="store_true", help="log debugging detail too")
        if name == verb:
            module = importlib.import_module(module_name)
            module.add_arguments(sub)
            for group in module.option_groups():
                add_options(sub, group)
            sub.set_defaults(run=module.run)
    return parser


def check_options(verb: str, given: Mapping[str, Any]) -> None:
    """Raise ValueError where a verb would not take its options, those that were given by name."""
    module = importlib.import_module(VERBS[verb][0])
    if hasattr(module, "read_options"):  # options that have to fit together
        module.read_options(given)
    else:
        for group in module.option_groups():
            build(group, given)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Returns:
        0: done, 1: bad input (one line on standard error), 2: bad usage, 128 + n: interrupted by signal n.
    """
    if arguments is None:
        _run_in_utf8_mode()
    words = list(sys.argv[1:] if arguments is None else arguments)
    set_up_libraries()  # before a verb imports them
    raise_on_signals()  # they unwind, so that what is half-written is removed
    parent = os.environ.pop(PARENT, "")  # of this process, not of those that it starts
    if parent.isdecimal():
        exit_with_process(int(parent))
    args = build_parser(words[0] if words else None).parse_args(words)
    args.words = words  # for verbs that start processes of their own kind
    set_up_logging(args.verbose)
    try:
        _check_paths(args)
        args.run(args)
    except (ValueError, OSError) as error:
        logger.debug("", exc_info=True)
        print(f"asr-parallel {args.verb}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except BrokenExecutor as error:
        print(
            f"asr-parallel {args.verb}: error: a worker process died, killed for lack of memory perhaps"
            f" (fewer --jobs need less): {' '.join(str(error).split())}",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt as error:
        number, text = (error.number, error.text) if isinstance(error, Interrupted) else (signal.SIGINT, None)
        if text is None:
            text = "interrupted; nothing half-written is left"
        if text:
            with suppress(OSError):  # the terminal may be gone
                print(f"asr-parallel {args.verb}: {text}", file=sys.stderr)
        return 128 + number
    return 0


def _run_in_utf8_mode() -> None:
    """Begin again in Python's UTF-8 mode where the locale's encoding is another, such as ISO-8859-1.

    Libraries and child processes would read and write their files, names and messages in the locale's.
    """
    if not sys.flags.utf8_mode and locale.getencoding().lower() not in ("utf-8", "utf8"):
        os.environ["PYTHONUTF8"] = "1"  # for children
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _check_paths(args: argparse.Namespace) -> None:
    """Refuse an empty word for a value, as a shell's unset variable gives, and the root as a place to write.

    Only words for other verbs (--train-options and the like) may be none.

    Raises:
        ValueError: naming the option.
    """
    joined = (word.partition("=")[::2] for word in args.words if "=" in word)
    for flag, value in (*pairwise(args.words), *joined):
        if flag.startswith("--") and not flag.endswith("-options") and not value:
            raise ValueError(f"{flag}: an empty word; expected a value")
    for name in ("out", "exp"):
        path = getattr(args, name, None)
        if path is not None and len(resolve_links(path).parts) == 1:
            raise ValueError(f"--{name} {path}: the root of all folders; expected the name of a folder to make")
