"""Conversion of alignments to another tree; the segmentation stays the same (Kaldi: convert-ali)."""

import numpy as np

from asr_parallel.hmm.segments import phone_segments
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.hmm.tree import Tree


def convert_alignment(
    tids: np.ndarray, offsets: np.ndarray, old: TransitionModel, new: TransitionModel, tree: Tree
) -> np.ndarray:
    """Return (T,) int32 transition ids of `new` (made for `tree`) for the same state sequence.

    Args:
        tids, offsets: alignments by `old` of complete utterances, one after another; the topologies must be equal.
    """
    assert old.topology == new.topology
    segments = phone_segments(tids, offsets, old)
    phones = max(old.topology.phones) + 1
    ids = old.num_transition_ids + 1
    # old transition id (phone, HMM state, next state) + neighbouring phones -> new transition id
    neighbours = segments.per_frame(segments.left.astype(np.int64) * phones + segments.right)
    keys, inverse = np.unique(neighbours * ids + tids, return_inverse=True)
    converted = np.empty(len(keys), dtype=np.int32)
    for k, key in enumerate(keys.tolist()):
        left, right, tid = key // ids // phones, key // ids % phones, key % ids
        phone, hmm_state = int(old.phone_of[tid]), int(old.hmm_state_of[tid])
        transition_index = tid - int(old.first_tid[old.transition_state_of[tid]])
        window = (left, phone, right) if tree.context_width == 3 else (phone,)
        state = new.transition_state(phone, hmm_state, tree.pdf(window, hmm_state))
        converted[k] = new.first_tid[state] + transition_index
    return converted[inverse]
