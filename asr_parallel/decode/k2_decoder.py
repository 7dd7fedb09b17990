"""Decoding by k2 (https://github.com/k2-fsa/k2): the search for many utterances at once, on a CPU or a GPU.

k2's pruned intersection of a graph with log-likelihoods takes one frame for every arc; an arc's label is the column of
the log-likelihoods, and -1 ends a path. So the graph has its epsilon arcs removed and pdfs for labels. What comes back
says which arcs lie on paths within the beam; lattices are made of those arcs of the graph with epsilons, and have the
same states, labels and costs as the lattices of the search in decoder.py.

Differences. k2 adapts the beam to the number of active states gradually, where `max_active` and `min_active` here are
limits. It prunes a lattice only within windows of 30 frames; here the whole lattice is pruned once more.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch

from asr_parallel.decode.acoustic import finite_scores
from asr_parallel.decode.batched_scores import batches_of
from asr_parallel.decode.decode import (
    WARM_UP_FRAMES,
    DecodeJob,
    DecodeResult,
    Search,
    decode_result,
    open_files,
)
from asr_parallel.decode.decoder import Decoded, check_transition_ids
from asr_parallel.decode.decoder_options import K2_BATCH_FRAMES, DecoderOptions
from asr_parallel.decode.determinize import Determinizer
from asr_parallel.decode.epsilon_free import EpsilonFreeGraph, without_epsilons
from asr_parallel.hmm.fst_arrays import LATTICE_ARC, Fst, fst_from_arcs
from asr_parallel.hmm.search_graph import SearchGraph
from asr_parallel.nnet.precision import choose_device
from asr_parallel.record.optional import require
from asr_parallel.record.threads import one_thread


def open_k2(device: str) -> tuple[Any, torch.device]:
    """Return the package k2 and the device of a name; ValueError when either is not there.

    "auto" is the first GPU, if there is one and k2 can use it.
    """
    k2 = require("k2", "k2", "decoding with k2, built as docs/decoding.md says,")
    if device == "auto" and not k2.with_cuda:
        device = "cpu"
    place = choose_device(device)
    if place.type == "cuda" and not k2.with_cuda:
        raise ValueError(f"device {device}: this k2 was built without CUDA; build it with, or take --device cpu")
    return k2, place


class _K2Graph:
    """A decoding graph as k2 takes it, and the same without epsilons as arrays. k2 takes none without a final state."""

    def __init__(self, graph: SearchGraph, pdf_of: np.ndarray, k2: Any, device: torch.device) -> None:
        self.finals = graph.finals
        self.arrays: EpsilonFreeGraph = without_epsilons(graph, pdf_of)
        arrays = self.arrays
        self.fsa: Any = None
        if not (arrays.pdfs < 0).any():
            return
        scores = np.negative(arrays.costs).view(np.int32)  # k2 keeps scores in an integer tensor, bit by bit
        arcs = np.stack([arrays.sources, arrays.targets, arrays.pdfs, scores], axis=1)
        self.fsa = k2.Fsa(torch.from_numpy(arcs).to(device))
        self.fsa.graph_arc = torch.arange(len(arcs), dtype=torch.int32, device=device)


class K2Decoder:
    """A decoder of batches of utterances."""

    def __init__(self, graph: SearchGraph, pdf_of: np.ndarray, options: DecoderOptions, device: str = "auto") -> None:
        """Set up a decoder.

        Args:
            pdf_of: (transition ids + 1,) int32, the column of the log-likelihoods for each transition id.

        Raises:
            ValueError: no k2, or none that can use the device, or the graph has transition ids the model does not have.
        """
        check_transition_ids(graph, pdf_of)
        self._k2, self._device = open_k2(device)
        self._options = options
        self._graph, self._pdf_of = graph, pdf_of
        self._sources = np.repeat(np.arange(graph.num_states), np.diff(graph.offsets))

    @cached_property
    def _with_finals(self) -> _K2Graph:
        return _K2Graph(self._graph, self._pdf_of, self._k2, self._device)

    @cached_property
    def _all_final(self) -> _K2Graph:
        """The graph when every state ends a path at no cost."""
        loose = replace(self._graph, finals=np.zeros_like(self._graph.finals))
        return _K2Graph(loose, self._pdf_of, self._k2, self._device)

    def decode(self, batch: list[np.ndarray]) -> list[Decoded]:
        """Search for the paths of several (T, num_pdfs) log-likelihoods, which are finite and of one frame or more.

        Utterances of which no path reaches a final state are decoded again with every state final, as `Decoder` does.
        """
        if not batch:
            return []
        results = [Decoded(lattice, lattice is not None, None) for lattice in self._lattices(self._with_finals, batch)]
        unfinished = [n for n, result in enumerate(results) if not result.reached_final]
        if unfinished:
            again = self._lattices(self._all_final, [batch[n] for n in unfinished])
            for n, lattice in zip(unfinished, again, strict=True):
                results[n] = Decoded(lattice, False, None)
        return results

    def _lattices(self, graph: _K2Graph, batch: list[np.ndarray]) -> list[Fst | None]:
        """Return a lattice for each utterance; None where no path ends in a final state."""
        if graph.fsa is None:
            return [None] * len(batch)
        options = self._options
        # k2 sums in float32: scores relative to the best of a frame keep sums small
        rows = np.concatenate([one - one.max(axis=1, keepdims=True) for one in batch]).astype(np.float32)
        lengths = np.array([len(one) for one in batch])
        segments = np.stack([np.zeros(len(batch), dtype=int), np.cumsum(lengths) - lengths, lengths], axis=1)
        with torch.no_grad():
            scores = torch.from_numpy(rows).to(self._device)[None] * options.acwt
            found = self._k2.intersect_dense_pruned(
                graph.fsa,
                self._k2.DenseFsaVec(scores, torch.from_numpy(segments.astype(np.int32))),
                search_beam=options.beam,
                output_beam=options.lattice_beam,
                min_active_states=options.min_active,
                max_active_states=options.max_active,
                frame_idx_name="frame",
            )
            # (arcs,) cost of the best path less that of the best path through the arc; -inf or nan without any
            margin = found.get_arc_post(use_double_scores=True, log_semiring=False)
            kept = torch.nonzero(margin >= -options.lattice_beam)[:, 0]
            shape = found.arcs.shape()
            utterances = shape.row_ids(1)[shape.row_ids(2)[kept].long()]
            columns = (utterances, found.frame[kept], found.graph_arc[kept])
            utterance_of, frames, arcs = (column.cpu().numpy().astype(np.int64) for column in columns)
        ends = np.searchsorted(utterance_of, np.arange(len(batch) + 1))
        return [
            self._lattice(graph, arcs[begin:end], frames[begin:end], one) if end > begin else None
            for one, begin, end in zip(batch, ends[:-1], ends[1:], strict=True)
        ]

    def _lattice(self, graph: _K2Graph, used: np.ndarray, frames: np.ndarray, log_likelihoods: np.ndarray) -> Fst:
        """Return the lattice of the graph's arcs behind the arcs `used` in `frames` of one utterance."""
        frames, arcs = graph.arrays.old_arcs(used, frames)
        of_graph = self._graph.arcs[arcs]
        emitting = of_graph["ilabel"] != 0
        num_states = self._graph.num_states
        # within a frame only epsilon arcs run, upwards in the graph's states: keys are in topological order
        source_keys = frames * num_states + self._sources[arcs]
        target_keys = (frames + emitting) * num_states + of_graph["next"]
        keys = np.unique(np.concatenate([source_keys, target_keys]))
        lattice_arcs = np.zeros(len(arcs), dtype=LATTICE_ARC)
        for name, in_graph in (("ilabel", "ilabel"), ("olabel", "olabel"), ("graph_cost", "weight")):
            lattice_arcs[name] = of_graph[in_graph]
        pdfs = self._pdf_of[of_graph["ilabel"][emitting]]
        lattice_arcs["acoustic_cost"][emitting] = -log_likelihoods[frames[emitting], pdfs]
        lattice_arcs["next"] = np.searchsorted(keys, target_keys)
        costs = np.full((len(keys), 2), np.inf, dtype=np.float32)
        last = keys >= len(log_likelihoods) * num_states
        costs[last, 0] = graph.finals[keys[last] % num_states]
        costs[costs[:, 0] < np.inf, 1] = 0.0
        return fst_from_arcs(0, costs, np.searchsorted(keys, source_keys), lattice_arcs)


def k2_search(device: torch.device, batch_frames: int | None = None) -> Search:
    """Return the search of `decode_set` by k2 on a device, on which a network's scores are computed, too."""
    return partial(_results, str(device), batch_frames or K2_BATCH_FRAMES)


def _results(device: str, batch_frames: int, job: DecodeJob, num_utterances: int) -> Iterator[DecodeResult]:
    """Yield the results of a job's utterances in their order, decoded in this process."""
    model, features, graph, transitions = open_files(job, device)
    decoder = K2Decoder(graph, transitions.pdf_of, job.options, device)
    determinizer = Determinizer(transitions, job.options.acwt, job.options.lattice_beam)

    def results(utterances: list[np.ndarray]) -> list[DecodeResult]:
        scores = [finite_scores(model, one) for one in utterances]
        decoded = iter(decoder.decode([one for one, _ in scores if one is not None]))
        return [
            DecodeResult(len(one), active_tokens=None, failure=failure)
            if failure
            else decode_result(job, len(one), next(decoded), determinizer)
            for one, (_, failure) in zip(utterances, scores, strict=True)
        ]

    with one_thread():  # prepare the graph, and load compiled functions, before timing
        results([features.frames[:WARM_UP_FRAMES]])
    for first, end in batches_of(np.diff(features.offsets)[:num_utterances].tolist(), batch_frames):
        with one_thread():
            start = time.process_time()
            found = results([features[u] for u in range(first, end)])
            seconds = time.process_time() - start
        seconds_a_frame = seconds / max(sum(result.frames for result in found), 1)
        yield from (replace(result, cpu_seconds=result.frames * seconds_a_frame) for result in found)
