"""Initial alignment of the flat start: frames spread evenly along a random path (Kaldi: align-equal-compiled)."""

import numpy as np

from asr_parallel.hmm.training_graph import TrainingGraph
from asr_parallel.hmm.transitions import TransitionModel

NUM_TRIES = 10  # random paths tried before an utterance counts as too short for its transcript (align-equal-compiled)


def equal_align(
    graph: TrainingGraph, transitions: TransitionModel, num_frames: int, rng: np.random.Generator
) -> np.ndarray | None:
    """Return (num_frames,) transition ids along a random path, with equal durations for all states.

    Returns None when every path tried needs more frames than there are.
    """
    for _ in range(NUM_TRIES):
        arcs = _random_path(graph, num_frames, rng)
        if arcs is None:
            continue
        leaving = np.array(arcs)
        first = np.arange(len(arcs)) * num_frames // len(arcs)  # each visit's first frame
        loop_tids = transitions.self_loop_tid[graph.transition_state[graph.arc_source[leaving]]]
        tids = np.repeat(loop_tids, np.diff(first, append=num_frames)).astype(np.int32)
        tids[first] = graph.arc_tid[leaving]
        return tids
    return None


def _random_path(graph: TrainingGraph, longest: int, rng: np.random.Generator) -> list[int] | None:
    """Return arcs of a path from start to end chosen at random, or None once it visits more than `longest` states."""
    state = int(rng.choice(np.flatnonzero(np.isfinite(graph.start_weight))))
    arcs: list[int] = []
    while state < graph.num_states:
        if len(arcs) == longest:
            return None
        arc = int(rng.integers(graph.arc_offsets[state], graph.arc_offsets[state + 1]))
        arcs.append(arc)
        state = int(graph.arc_target[arc])
    return arcs
