"""Re-labelling alignments for another tree, frames staying where they are (Kaldi: convert-ali)."""

import numpy as np

from asr_parallel.hmm.segments import phone_segments
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.hmm.tree import Tree


def convert_alignment(
    tids: np.ndarray, offsets: np.ndarray, old: TransitionModel, new: TransitionModel, tree: Tree
) -> np.ndarray:
    """(T,) int32 transition ids of `new` (made for `tree`, a monophone or triphone tree) for the same state sequence.

    Args:
        tids, offsets: alignments by `old` of complete utterances, one after another; the topologies must be equal.
    """
    assert old.topology == new.topology
    segments = phone_segments(tids, offsets, old)
    columns = [segments.per_frame(v) for v in (segments.left, segments.phone, segments.right)]
    columns += [old.hmm_state_of[tids], tids - old.first_tid[old.transition_state_of[tids]]]
    keys, inverse = np.unique(np.stack(columns, axis=1).astype(np.int64), axis=0, return_inverse=True)
    converted = np.empty(len(keys), dtype=np.int32)
    for k, (left, phone, right, hmm_state, way) in enumerate(keys.tolist()):
        window = (left, phone, right) if tree.context_width == 3 else (phone,)
        state = new.transition_state(phone, hmm_state, tree.pdf(window, hmm_state))
        converted[k] = new.first_tid[state] + way
    return converted[inverse.ravel()]
