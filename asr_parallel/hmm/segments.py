"""Phone segments of an alignment, with start, length and neighbouring phones."""

from dataclasses import dataclass

import numpy as np

from asr_parallel.hmm.transitions import TransitionModel

NO_PHONE = 0  # the neighbour of a phone at the utterance's end


@dataclass(frozen=True)
class PhoneSegments:
    """N phones of one or more utterances, one after another.

    phone (N,), start (N,), num_frames (N,): int; starts count through all frames.
    left, right (N,): the neighbouring phones, 0 at an utterance's ends.
    """

    phone: np.ndarray
    start: np.ndarray
    num_frames: np.ndarray
    left: np.ndarray
    right: np.ndarray

    def per_frame(self, values: np.ndarray) -> np.ndarray:
        """Repeat a value of each phone for each of its frames."""
        return np.repeat(values, self.num_frames)


def phone_segments(tids: np.ndarray, offsets: np.ndarray, transitions: TransitionModel) -> PhoneSegments:
    """Cut alignments into phone segments.

    Args:
        tids: (T,) transition ids of complete utterances, one after another.
        offsets: (U + 1,) utterance u is tids[offsets[u]:offsets[u + 1]].

    A phone begins with the first id that is no self-loop after an id that leads to a phone's end.
    """
    entering = np.flatnonzero(~transitions.is_self_loop[tids])  # the first frame of each visit to a state
    ends_phone = transitions.is_final[tids[entering]]
    begins_phone = np.concatenate([[True], ends_phone[:-1]])
    start = entering[begins_phone] if len(entering) else entering
    phone = transitions.phone_of[tids[start]]
    first_of_utterance = np.isin(start, offsets[:-1])
    left = np.where(first_of_utterance, NO_PHONE, np.concatenate([[NO_PHONE], phone[:-1]]))
    last_of_utterance = np.concatenate([first_of_utterance[1:], [True]])
    right = np.where(last_of_utterance, NO_PHONE, np.concatenate([phone[1:], [NO_PHONE]]))
    return PhoneSegments(phone, start, np.diff(start, append=len(tids)), left, right)
