"""The best path of an utterance through its training graph, by beam search (Kaldi: gmm-align-compiled)."""

from dataclasses import dataclass

import numpy as np

from asr_parallel.hmm.training_graph import TrainingGraph
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.record.compiled import njit

SELF_LOOP, START = -1, -2  # backpointers; from 0 on: the index of the arc


@dataclass(frozen=True)
class Path:
    """tids (T,) int32: transition id of each frame. score: log weight of the path, acoustics scaled as given."""

    tids: np.ndarray
    score: float


def best_path(
    graph: TrainingGraph,
    transitions: TransitionModel,
    log_prob: np.ndarray,
    scores: np.ndarray,
    column_of_pdf: np.ndarray,
    beam: float,
) -> Path | None:
    """Return the best path, or None when no path within the beam ends at the utterance's end.

    Args:
        log_prob: (num_transition_ids + 1,) weight of each transition id, from `scaled_log_prob`.
        scores: (T, C) float32 acoustic log-likelihoods, already scaled.
        column_of_pdf: (num_pdfs,) int32: the column of `scores` that holds a pdf.
        beam: states that score worse than the frame's best by more than this are pruned.
    """
    if len(scores) == 0:
        return None
    loop_tid = transitions.self_loop_tid[graph.transition_state]
    columns = column_of_pdf[transitions.tuples[graph.transition_state, 2]]
    arc_weight = graph.arc_weight + log_prob[graph.arc_tid]
    tids = np.empty(len(scores), dtype=np.int32)
    score = _search(
        scores,
        columns,
        loop_tid,
        log_prob[loop_tid],
        graph.start_weight,
        graph.arc_offsets,
        graph.arc_source,
        graph.arc_target,
        graph.arc_tid,
        arc_weight,
        beam,
        tids,
    )
    return None if score == -np.inf else Path(tids, float(score))


@njit(nogil=True)
def _search(
    scores: np.ndarray,
    columns: np.ndarray,
    loop_tid: np.ndarray,
    loop_weight: np.ndarray,
    start_weight: np.ndarray,
    arc_offsets: np.ndarray,
    arc_source: np.ndarray,
    arc_target: np.ndarray,
    arc_tid: np.ndarray,
    arc_weight: np.ndarray,
    beam: float,
    tids: np.ndarray,
) -> np.float32:
    """Fill `tids` with the best path's and return its score; -inf when the end is not reached."""
    T, S = scores.shape[0], len(columns)
    minus_infinity = np.float32(-np.inf)
    # backpointers of the active band of states only: backpointers[band_start[t] + s - low[t]]
    low = np.empty(T, dtype=np.int64)
    band_start = np.empty(T, dtype=np.int64)
    backpointers = np.empty(64 * T, dtype=np.int32)
    used = 0
    current = start_weight.copy()
    following = np.full(S, minus_infinity, dtype=np.float32)
    backpointer = np.full(S, START, dtype=np.int32)
    first, last = 0, S - 1
    for t in range(T):
        if t > 0:
            new_first, new_last = S, -1
            for s in range(first, last + 1):
                score = current[s]
                if score == minus_infinity:
                    continue
                if score + loop_weight[s] > following[s]:
                    following[s] = score + loop_weight[s]
                    backpointer[s] = SELF_LOOP
                    new_first, new_last = min(new_first, s), max(new_last, s)
                for a in range(arc_offsets[s], arc_offsets[s + 1]):
                    target = arc_target[a]
                    if target < S and score + arc_weight[a] > following[target]:
                        following[target] = score + arc_weight[a]
                        backpointer[target] = a
                        new_first, new_last = min(new_first, target), max(new_last, target)
            current[first : last + 1] = minus_infinity
            current, following = following, current
            first, last = new_first, new_last
        best = minus_infinity
        for s in range(first, last + 1):
            current[s] += scores[t, columns[s]]
            best = max(best, current[s])
        if best == minus_infinity or np.isnan(best):
            return minus_infinity
        for s in range(first, last + 1):
            if current[s] < best - beam:
                current[s] = minus_infinity
        while current[first] == minus_infinity:
            first += 1
        while current[last] == minus_infinity:
            last -= 1
        if used + last - first + 1 > len(backpointers):
            wider = np.empty(2 * len(backpointers) + last - first + 1, dtype=np.int32)
            wider[:used] = backpointers[:used]
            backpointers = wider
        low[t], band_start[t] = first, used
        backpointers[used : used + last - first + 1] = backpointer[first : last + 1]
        used += last - first + 1

    best, leaving = minus_infinity, -1
    for s in range(first, last + 1):
        for a in range(arc_offsets[s], arc_offsets[s + 1]):
            if arc_target[a] == S and current[s] + arc_weight[a] > best:
                best, leaving = current[s] + arc_weight[a], a
    if leaving < 0:
        return minus_infinity
    s = arc_source[leaving]
    for t in range(T - 1, -1, -1):
        arrived = backpointers[band_start[t] + s - low[t]]
        if arrived == SELF_LOOP:
            tids[t] = loop_tid[s]
        else:  # the first frame of a visit carries the id by which the visit ends
            tids[t] = arc_tid[leaving]
            if arrived >= 0:
                leaving, s = arrived, arc_source[arrived]
    return best
