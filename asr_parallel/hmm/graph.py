"""The decoding graph HCLG: transition ids in, words out (Kaldi: egs/wsj/s5/utils/mkgraph.sh).

G is the language model, L the lexicon, C the phonetic context, H the HMMs:
    LG = min(det(L o G)),  HCLG = add-self-loops(min(remove-disambiguation-symbols(det(H o (C o LG)))))

A graph folder holds
    HCLG.fst                OpenFst's binary format; ilabels are transition ids, olabels word ids
    search/                 the same as memory-mapped arrays (hmm/search_graph.py)
    words.txt phones.txt    the symbols
    transitions.*           the transition model the graph was made with
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from asr_parallel.hmm.fst_arrays import Fst, from_kaldifst, to_kaldifst, write_fst
from asr_parallel.hmm.h_transducer import add_self_loops, h_transducer
from asr_parallel.hmm.lang import Lang, check_phones, read_symbols
from asr_parallel.hmm.search_graph import search_graph
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.hmm.tree import Tree
from asr_parallel.record.log import logger

TRANSITION_SCALE = 1.0  # mkgraph.sh
SELF_LOOP_SCALE = 0.1  # mkgraph.sh
# file names in the working directory: kaldilm fails on non-ASCII paths where the locale's encoding is not UTF-8
ARPA2FST = """
import kaldilm
kaldilm.arpa2fst(input_arpa="lm.arpa", output_fst="G.fst", disambig_symbol="#0", read_symbol_table="words.txt")
"""


def grammar_fst(arpa: Path, words: Path) -> Any:
    """Return the grammar FST G of an ARPA language model, with #0 on its backoff arcs, sorted by ilabel.

    Raises:
        ValueError: not an ARPA file, or none of its words is in `words`.
    """
    import kaldifst

    from asr_parallel.corpus.arpa import clean_arpa
    from asr_parallel.corpus.lexicon import is_reserved

    lexicon = [word for word in read_symbols(words) if not is_reserved(word)]
    with tempfile.TemporaryDirectory(prefix="asr_parallel_") as name:
        folder = Path(name)
        clean_arpa(arpa, folder / "lm.arpa", lexicon)
        shutil.copyfile(words, folder / "words.txt")
        # in a child process: kaldilm exits the process when the file is bad
        done = subprocess.run(
            [sys.executable, "-c", ARPA2FST], cwd=folder, capture_output=True, encoding="utf-8", errors="replace"
        )
        logger.debug("%s", done.stderr)
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if line.startswith("[E]")] or [done.stderr[-200:]]
            raise ValueError(f"{arpa}: kaldilm cannot make a grammar of it (status {done.returncode}): {errors[-1]}")
        grammar = kaldifst.StdVectorFst.read(os.fsencode(folder / "G.fst"))
    if grammar is None or grammar.start < 0:
        raise ValueError(f"{arpa}: no sentence of this language model can be built from the words of {words}")
    kaldifst.arcsort(grammar, "ilabel")
    return grammar


def _determinized(fst: Any, what: str) -> Any:
    import kaldifst

    try:
        kaldifst.determinize_star(fst, use_log=True)
    except RuntimeError as error:
        raise ValueError(
            f"{what} cannot be determinized: do lexicon and language model come from the same lang folder? ({error})"
        ) from error
    return fst


def without_disambiguation(fst: Fst, num_transition_ids: int) -> Fst:
    """Replace disambiguation symbols, the ilabels above the transition ids, by epsilon."""
    arcs = fst.arcs.copy()
    arcs["ilabel"][arcs["ilabel"] > num_transition_ids] = 0
    return Fst(fst.start, fst.finals, fst.offsets, arcs)


def decoding_graph(
    grammar: Any,
    lexicon: Any,
    disambig_phones: list[int],
    tree: Tree,
    transitions: TransitionModel,
    transition_scale: float = TRANSITION_SCALE,
    self_loop_scale: float = SELF_LOOP_SCALE,
) -> Fst:
    """Return HCLG for G (`grammar`, sorted by ilabel) and L with disambiguation symbols (`lexicon`).

    Raises:
        ValueError: they do not fit together: nothing is accepted, or the result cannot be determinized.
    """
    import kaldifst

    # compose silently drops arcs when neither side is sorted
    kaldifst.arcsort(lexicon, "olabel")
    lg = kaldifst.compose(lexicon, grammar)
    if lg.start < 0:
        raise ValueError("L o G accepts nothing: lexicon and language model share no words")
    lg = _determinized(lg, what="L o G")
    kaldifst.minimize_encoded(lg)
    kaldifst.arcsort(lg, "ilabel")

    known = {*transitions.topology.phones, *disambig_phones, 0}
    unknown = set(np.unique(from_kaldifst(lg).arcs["ilabel"]).tolist()) - known
    if unknown:  # compose_context would take an unlisted disambiguation symbol for a phone
        raise ValueError(f"the lexicon uses phones {sorted(unknown)}, which the model has no HMM for")
    clg, windows = kaldifst.compose_context(
        disambig_syms=disambig_phones,
        context_width=tree.context_width,
        central_position=tree.central_position,
        ifst=lg,
    )
    kaldifst.arcsort(clg, "ilabel")

    h = to_kaldifst(h_transducer(windows, tree, transitions, transition_scale, self_loop_scale))
    hclg = kaldifst.compose(h, clg)
    if hclg.start < 0:
        raise ValueError("H o C o L o G accepts nothing")
    hclg = _determinized(hclg, what="H o C o L o G")
    hclg = to_kaldifst(without_disambiguation(from_kaldifst(hclg), transitions.num_transition_ids))
    kaldifst.minimize_encoded(hclg)
    hclg = to_kaldifst(add_self_loops(from_kaldifst(hclg), transitions, transition_scale, self_loop_scale))
    kaldifst.connect(hclg)
    return from_kaldifst(hclg)


def make_graph(folder: Path, lang_folder: Path, arpa: Path, model: Path) -> None:
    """Fill the graph folder `folder` from a lang folder, an ARPA file and the model folder of a GMM system.

    Raises:
        ValueError: one of them is missing or bad, or they do not fit together.
    """
    import kaldifst

    lang = Lang.open(lang_folder)
    tree, transitions = Tree.open(model), TransitionModel.open(model)
    check_phones(lang, transitions.topology, model)
    grammar = grammar_fst(arpa, lang_folder / "words.txt")
    lexicon = kaldifst.StdVectorFst.read(os.fsencode(lang_folder / "L_disambig.fst"))
    graph = decoding_graph(grammar, lexicon, lang.disambig_phones, tree, transitions)
    logger.info("HCLG: %d states, %d arcs, %d pdfs", graph.num_states, len(graph.arcs), tree.num_pdfs)
    write_fst(folder / "HCLG.fst", graph)
    search_graph(graph).save(folder / "search")
    transitions.save(folder)
    for name in ("words.txt", "phones.txt"):
        shutil.copyfile(lang_folder / name, folder / name)
