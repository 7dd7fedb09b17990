"""The decoder: log-likelihoods of one utterance -> lattice."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from asr_parallel.decode.decoder_options import DecoderOptions
from asr_parallel.decode.search import search
from asr_parallel.hmm.fst_arrays import LATTICE_ARC, Fst, fst_from_arcs
from asr_parallel.hmm.search_graph import SearchGraph


@dataclass(frozen=True)
class Decoded:
    """The result of a search.

    lattice: states in topological order, with separate graph and (unscaled) acoustic costs; None when no
        token survived or the utterance has no frame.
    reached_final: whether a path ends in a final state of the graph; if none does, every state after the last frame
        counts as final at no cost, as in Kaldi.
    active_tokens: mean number of tokens a frame.
    """

    lattice: Fst | None
    reached_final: bool
    active_tokens: float


class Decoder:
    """A decoder of single utterances; not thread-safe (it holds scratch memory)."""

    def __init__(self, graph: SearchGraph, pdf_of: np.ndarray, options: DecoderOptions) -> None:
        """Set up a decoder.

        Args:
            pdf_of: (transition ids + 1,) int32, the column of the log-likelihoods for each transition id.

        Raises:
            ValueError: the graph has transition ids the model does not have.
        """
        if graph.max_ilabel >= len(pdf_of):
            raise ValueError(
                f"the graph has transition id {graph.max_ilabel}, the model {len(pdf_of) - 1}: made of another model?"
            )
        self.graph = graph
        self.options = options
        self.num_pdfs = int(pdf_of[1:].max()) + 1
        self._pdf_of = np.ascontiguousarray(pdf_of, dtype=np.int32)
        self._token_of = np.full(graph.num_states, -1, dtype=np.int32)

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
        tokens, token_begin, links, num_tokens, status = search(
            graph.first_epsilon,
            graph.offsets,
            graph.arcs,
            graph.finals,
            graph.start,
            self._pdf_of,
            np.ascontiguousarray(log_likelihoods, dtype=np.float32),
            self._token_of,
            float(options.beam),
            int(options.max_active),
            int(options.min_active),
            float(options.lattice_beam),
            float(options.acwt),
        )
        active = num_tokens / len(log_likelihoods)
        if status < 0:
            return Decoded(None, False, active)
        reached_final = status == 1
        finals = graph.finals if reached_final else np.zeros_like(graph.finals)
        return Decoded(_lattice(tokens, token_begin, links, finals), reached_final, active)


def _lattice(tokens: Any, token_begin: Any, links: Any, finals: np.ndarray) -> Fst:
    """Return the surviving tokens as states, the links as arcs."""
    frames = np.repeat(np.arange(len(token_begin) - 1), np.diff(token_begin))
    # within a frame only epsilon arcs run, upwards in the graph's states: this is a topological order
    order = np.lexsort((tokens["state"], frames))
    position = np.empty(len(tokens), dtype=np.int32)
    position[order] = np.arange(len(tokens), dtype=np.int32)
    arcs = np.empty(len(links), dtype=LATTICE_ARC)
    for name in ("ilabel", "olabel", "graph_cost", "acoustic_cost"):
        arcs[name] = links[name]
    arcs["next"] = position[links["target"]]
    costs = np.full((len(tokens), 2), np.inf, dtype=np.float32)
    last = frames[order] == len(token_begin) - 2
    costs[last, 0] = finals[tokens["state"][order][last]]
    costs[costs[:, 0] < np.inf, 1] = 0.0
    return fst_from_arcs(0, costs, position[links["source"]], arcs)
