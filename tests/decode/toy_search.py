"""Random graphs and scores for the search, and a second opinion on what word sequences a lattice has."""

import kaldifst
import numpy as np

from asr_parallel.decode.decoder import Decoder
from asr_parallel.decode.decoder_options import DecoderOptions
from asr_parallel.hmm.fst_arrays import STD_ARC, Fst, fst_from_arcs, to_kaldifst
from asr_parallel.hmm.search_graph import search_graph

NUM_TIDS, NUM_PDFS = 60, 20
PDF_OF = np.concatenate([[-1], np.arange(NUM_TIDS) % NUM_PDFS]).astype(np.int32)


def random_graph(seed, states=400, out=4, final_share=0.3):
    """Arcs between random states; a fifth of those that lead upwards have no ilabel, a third of all an olabel."""
    rng = np.random.default_rng(seed)
    sources = np.repeat(np.arange(states), out)
    arcs = np.zeros(len(sources), STD_ARC)
    arcs["ilabel"] = rng.integers(1, NUM_TIDS + 1, len(arcs))
    arcs["olabel"] = np.where(rng.random(len(arcs)) < 0.3, rng.integers(1, 30, len(arcs)), 0)
    arcs["weight"] = rng.exponential(2.0, len(arcs))
    arcs["next"] = rng.integers(0, states, len(arcs))
    arcs["ilabel"][(rng.random(len(arcs)) < 0.2) & (arcs["next"] > sources)] = 0
    finals = np.where(rng.random(states) < final_share, rng.random(states), np.inf).astype(np.float32)
    return fst_from_arcs(0, finals, sources, arcs)


def scores(seed, frames):
    return (np.random.default_rng(seed).normal(size=(frames, NUM_PDFS)) * 2).astype(np.float32)


def decoder(fst, **options):
    return Decoder(search_graph(fst), PDF_OF, DecoderOptions(**{"acwt": 1.0, "beam": 13.0} | options))


def all_paths(fst, log_likelihoods, acwt=1.0):
    """Every complete path as (cost, transition ids, words)."""
    found = []
    stack = [(fst.start, 0, 0.0, (), ())]
    while stack:
        state, frame, cost, tids, words = stack.pop()
        if frame == len(log_likelihoods) and np.isfinite(fst.finals[state]):
            found.append((cost + float(fst.finals[state]), tids, words))
        for arc in fst.arcs[fst.offsets[state] : fst.offsets[state + 1]].tolist():
            ilabel, olabel, weight, target = arc
            following = (*words, olabel) if olabel else words
            if ilabel == 0:
                stack.append((target, frame, cost + weight, tids, following))
            elif frame < len(log_likelihoods):
                acoustic = -acwt * float(log_likelihoods[frame, PDF_OF[ilabel]])
                stack.append((target, frame + 1, cost + weight + acoustic, (*tids, ilabel), following))
    return found


def by_determinization(lattice, n):
    """The n best word sequences, after determinizing the acceptor of words."""
    arcs = np.zeros(len(lattice.arcs), STD_ARC)
    arcs["ilabel"] = arcs["olabel"] = lattice.arcs["olabel"]
    arcs["weight"] = lattice.arcs["graph_cost"] + lattice.arcs["acoustic_cost"]
    arcs["next"] = lattice.arcs["next"]
    acceptor = to_kaldifst(Fst(lattice.start, lattice.finals.sum(axis=1), lattice.offsets, arcs))
    kaldifst.determinize_star(acceptor)
    found = []
    for path in kaldifst.convert_nbest_to_vector(kaldifst.shortest_path(acceptor, n=n)):
        _, words, _, cost = kaldifst.get_linear_symbol_sequence(path)
        found.append((cost.value, words))
    return sorted(found)
