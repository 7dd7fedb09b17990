"""Word times: a path's phones matched with its words' pronunciations (Kaldi: lattice-align-words-lexicon)."""

from collections.abc import Mapping, Sequence

import numpy as np

from asr_parallel.hmm.lang import Lang
from asr_parallel.hmm.segments import phone_segments
from asr_parallel.hmm.transitions import TransitionModel

Times = list[tuple[int, int, int]]  # (word or phone id, start_frame, num_frames)


class WordTimes:
    """Finds the times of the words on a path of transition ids."""

    def __init__(self, lang: Lang, transitions: TransitionModel) -> None:
        self._transitions = transitions
        self._silence = lang.optional_silence
        self._pronunciations: Mapping[int, list[tuple[int, ...]]] = {
            lang.words[word]: [phones for _, phones in variants] for word, variants in lang.lexicon.items()
        }

    def phones(self, tids: np.ndarray) -> Times:
        """Return (phone id, start_frame, num_frames) of every phone of one utterance, silence included."""
        segments = phone_segments(tids, np.array([0, len(tids)]), self._transitions)
        columns = (segments.phone, segments.start, segments.num_frames)
        return [(int(p), int(s), int(n)) for p, s, n in zip(*columns, strict=True)]

    def words(self, tids: np.ndarray, word_ids: Sequence[int]) -> Times:
        """Return (word id, start_frame, num_frames) of every word; optional silence belongs to none.

        Args:
            tids: (T,) transition ids of a path from an utterance's start to its end (the end of its last word may be
                missing, as when a search could not finish).
            word_ids: the words on the path, in order.

        Raises:
            ValueError: the path's phones are no pronunciation of these words.
        """
        segments = self.phones(tids)
        phones = tuple(phone for phone, _, _ in segments)
        # steps[w]: phone position after w words -> (position before, first phone of the w-th word)
        steps: list[dict[int, tuple[int, int]]] = [{0: (0, 0)}]
        for w, word in enumerate(word_ids):
            reached: dict[int, tuple[int, int]] = {}
            for before in steps[-1]:
                for first in self._after_silence(phones, before):
                    for chain in self._pronunciations.get(word, []):
                        found = phones[first : first + len(chain)]
                        cut = w == len(word_ids) - 1 and first + len(found) == len(phones) and found
                        if found == chain or (cut and found == chain[: len(found)]):
                            reached.setdefault(first + len(found), (before, first))
            steps.append(reached)
        ends = [end for end in steps[-1] if len(phones) in self._after_silence(phones, end)]
        if not ends:
            raise ValueError(f"the path's {len(phones)} phones are no pronunciation of its {len(word_ids)} words")
        times: Times = []
        end = ends[0]
        for word, step in zip(reversed(word_ids), reversed(steps), strict=False):
            before, first = step[end]
            start_frame = segments[first][1]
            times.append((word, start_frame, segments[end - 1][1] + segments[end - 1][2] - start_frame))
            end = before
        return times[::-1]

    def _after_silence(self, phones: Sequence[int], position: int) -> list[int]:
        """Return where the next word may begin: here, or after a silence."""
        silent = position < len(phones) and phones[position] == self._silence
        return [position, position + 1] if silent else [position]
