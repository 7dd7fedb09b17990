"""The decoder: log-likelihoods of one utterance -> lattice."""

from dataclasses import dataclass

import numpy as np

from asr_parallel.decode.decoder_options import DecoderOptions
from asr_parallel.decode.search import search
from asr_parallel.decode.search_arrays import Links, Tokens, new_links, new_tokens, search_states
from asr_parallel.hmm.fst_arrays import LATTICE_ARC, Fst, fst_from_arcs
from asr_parallel.hmm.search_graph import SearchGraph


@dataclass(frozen=True)
class Decoded:
    """The result of a search.

    lattice: states in topological order, with separate graph and (unscaled) acoustic costs; None when no
        token survived or the utterance has no frame.
    reached_final: whether a path ends in a final state of the graph; if none does, every state after the last frame
        counts as final at no cost, as in Kaldi.
    active_tokens: mean number of tokens a frame; None where the search does not say.
    """

    lattice: Fst | None
    reached_final: bool
    active_tokens: float | None


def check_transition_ids(graph: SearchGraph, pdf_of: np.ndarray) -> None:
    """Raise ValueError where the graph has transition ids that the model does not have."""
    if graph.max_ilabel >= len(pdf_of):
        raise ValueError(
            f"the graph has transition id {graph.max_ilabel}, the model {len(pdf_of) - 1}: made of another model?"
        )


class Decoder:
    """A decoder of single utterances; not thread-safe (it holds scratch memory)."""

    def __init__(self, graph: SearchGraph, pdf_of: np.ndarray, options: DecoderOptions) -> None:
        """Set up a decoder.

        Args:
            pdf_of: (transition ids + 1,) int32, the column of the log-likelihoods for each transition id.

        Raises:
            ValueError: the graph has transition ids the model does not have.
        """
        check_transition_ids(graph, pdf_of)
        self.graph = graph
        self.options = options
        self.num_pdfs = int(pdf_of[1:].max()) + 1
        self._pdf_of = np.ascontiguousarray(pdf_of, dtype=np.int32)
        self._states = search_states(graph)
        self._buffers = new_tokens(), new_links()

    def decode(self, log_likelihoods: np.ndarray) -> Decoded:
        """Search for the paths of (T, num_pdfs) `log_likelihoods`.

        Raises:
            ValueError: another number of columns, or values that are not finite.
        """
        if log_likelihoods.ndim != 2 or log_likelihoods.shape[1] != self.num_pdfs:
            raise ValueError(f"log-likelihoods of shape {log_likelihoods.shape}, expected {self.num_pdfs} columns")
        if not np.isfinite(log_likelihoods).all():
            frame = int(np.argmin(np.isfinite(log_likelihoods).all(axis=1)))
            raise ValueError(f"log-likelihoods of frame {frame} are not all finite")
        if not len(log_likelihoods):
            return Decoded(None, False, 0.0)
        graph, options = self.graph, self.options
        log_likelihoods = np.ascontiguousarray(log_likelihoods, dtype=np.float32)
        tokens, end, token_begin, links, num_links, num_tokens, status = search(
            self._states,
            graph.arcs,
            graph.finals,
            graph.start,
            self._pdf_of,
            *self._buffers,
            log_likelihoods,
            float(options.beam),
            int(options.max_active),
            int(options.min_active),
            float(options.lattice_beam),
            float(options.acwt),
        )
        self._buffers = tokens, links
        tokens, links = Tokens(*(a[:end] for a in tokens)), Links(*(a[:num_links] for a in links))
        active = num_tokens / len(log_likelihoods)
        if status < 0:
            return Decoded(None, False, active)
        frames = np.repeat(np.arange(len(token_begin) - 1), np.diff(token_begin))
        arcs = graph.arcs[links.arc]
        emitting = np.flatnonzero(arcs["ilabel"])
        lattice_arcs = np.zeros(len(links.arc), dtype=LATTICE_ARC)
        for name, of_graph in (("ilabel", "ilabel"), ("olabel", "olabel"), ("graph_cost", "weight")):
            lattice_arcs[name] = arcs[of_graph]
        link_frames = frames[links.source[emitting]]
        lattice_arcs["acoustic_cost"][emitting] = -log_likelihoods[link_frames, self._pdf_of[arcs["ilabel"][emitting]]]
        reached_final = status == 1
        return Decoded(
            _lattice(tokens.state, frames, links, lattice_arcs, graph.finals if reached_final else None),
            reached_final,
            active,
        )


def _lattice(states: np.ndarray, frames: np.ndarray, links: Links, arcs: np.ndarray, finals: np.ndarray | None) -> Fst:
    """Return the surviving tokens, in graph `states` after `frames`, as states; the links as arcs."""
    # within a frame only epsilon arcs run, upwards in the graph's states: this is a topological order
    order = np.lexsort((states, frames))
    position = np.empty(len(states), dtype=np.int32)
    position[order] = np.arange(len(states), dtype=np.int32)
    arcs["next"] = position[links.target]
    costs = np.full((len(states), 2), np.inf, dtype=np.float32)
    last = frames[order] == frames[-1]
    costs[last, 0] = 0.0 if finals is None else finals[states[order][last]]
    costs[costs[:, 0] < np.inf, 1] = 0.0
    return fst_from_arcs(0, costs, position[links.source], arcs)
