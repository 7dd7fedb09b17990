"""Import of Kaldi's decoding graphs: HCLG.fst and words.txt, and final.mdl for the meaning of the transition ids."""

import shutil
from pathlib import Path

import numpy as np

from asr_parallel.hmm.const_fst import read_graph
from asr_parallel.hmm.fst_arrays import Fst, write_fst
from asr_parallel.hmm.kaldi.transition_model import KaldiTransitionModel
from asr_parallel.hmm.lang import read_symbols
from asr_parallel.hmm.search_graph import search_graph
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.record.log import logger


def import_graph(hclg: Path, words: Path, phones: Path, model: Path, folder: Path) -> None:
    """Fill a graph folder.

    Args:
        hclg, words: the graph, and the names of its output labels.
        phones: the names of the model's phones; copied where it exists.
        model: final.mdl, of Gaussians or a network; its transition model is read.
        folder: of the graph, as make-graph makes it.

    Raises:
        ValueError: a file is missing or malformed, HMMs that this package has not, or labels that are not the model's.
    """
    if not model.is_file():
        raise ValueError(f"{model}: no such file; expected Kaldi's final.mdl")
    if not words.is_file():
        raise ValueError(f"{words}: no such file; expected the words of the graph")
    kaldi = KaldiTransitionModel.read(model)
    try:
        transitions = kaldi.plain()
    except ValueError as error:
        raise ValueError(f"{model}: {error}") from error
    symbols = read_symbols(words)
    graph = read_graph(hclg)
    try:
        _check_ilabels(graph, transitions, model)
        _check_olabels(graph, set(symbols.values()), words)
        searched = search_graph(graph)
    except ValueError as error:
        raise ValueError(f"{hclg}: {error}") from error
    logger.info("HCLG: %d states, %d arcs, %d pdfs", graph.num_states, len(graph.arcs), transitions.num_pdfs)
    write_fst(folder / "HCLG.fst", graph)
    searched.save(folder / "search")
    transitions.save(folder)
    shutil.copyfile(words, folder / "words.txt")
    if phones.is_file():
        shutil.copyfile(phones, folder / "phones.txt")


def _check_ilabels(graph: Fst, transitions: TransitionModel, model: Path) -> None:
    """Check that the input labels are transition ids, and those of self-loops on arcs that are loops."""
    labels = graph.arcs["ilabel"]
    last = transitions.num_transition_ids
    wrong = labels[(labels < 0) | (labels > last)]
    if len(wrong):
        raise ValueError(f"an arc has transition id {wrong[0]}; those of {model} are 1 to {last}")
    if not (labels > 0).any():
        raise ValueError("no arc has a transition id; expected a decoding graph")
    if not transitions.is_self_loop[labels].any():
        raise ValueError(f"no arc has a self-loop of {model}; expected HCLG.fst with self-loops, not HCLGa.fst")
    moves = labels[transitions.is_self_loop[labels] & (graph.arcs["next"] != graph.sources)]
    if len(moves):
        raise ValueError(
            f"transition id {moves[0]} leads to another state, but is a self-loop in {model}: a graph of another model"
        )


def _check_olabels(graph: Fst, known: set[int], words: Path) -> None:
    used = np.unique(graph.arcs["olabel"])
    unknown = [int(label) for label in used if label and int(label) not in known]
    if unknown:
        raise ValueError(f"an arc has word {unknown[0]}, which is not in {words}")
