"""Alignment of hypothesis and reference by edit distance, with the costs and tie-breaking of NIST sclite.

Costs (sctk, src/sclite/word.c): substitution 4, insertion and deletion 3, of an optional word 2, of nothing (@) 0.001.
Ties are broken from the end: match or substitution first, then insertion, then deletion. The counts depend on this:
two alignments of the same cost may have different numbers of errors.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from asr_parallel.decode.word_network import NOTHING, WordNetwork
from asr_parallel.record.compiled import njit

# in thousandths, so that sums are exact
SUBSTITUTION, GAP, OPTIONAL_GAP, NOTHING_GAP, NOTHING_TWICE = 4000, 3000, 2000, 1, 1000


@dataclass(frozen=True, slots=True)
class Counts:
    """Error counts of an alignment. A missing optional word counts as correct."""

    correct: int = 0
    sub: int = 0
    ins: int = 0
    dele: int = 0

    @property
    def words(self) -> int:
        """Words of the reference."""
        return self.correct + self.sub + self.dele

    @property
    def errors(self) -> int:
        return self.sub + self.ins + self.dele

    @property
    def wer(self) -> float:
        """Word error rate in percent; 0 for an empty reference without insertion, infinite with one."""
        if self.words:
            return 100.0 * self.errors / self.words
        return float("inf") if self.errors else 0.0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.correct + other.correct, self.sub + other.sub, self.ins + other.ins, self.dele + other.dele)


class AlignmentStep(NamedTuple):
    """A step of an alignment.

    kind: "C" correct, "S" substitution, "I" insertion, "D" deletion. A missing optional word is correct.
    arc: index of the arc in the reference network (word_network.py), increasing; 0 for an insertion.
    reference, hypothesis: the words in lower case; "" where there is none.
    """

    kind: str
    arc: int
    reference: str
    hypothesis: str


KINDS = "CSID"


def total(counts: Iterable[Counts]) -> Counts:
    """Return the sum of counts."""
    return sum(counts, Counts())


def align(reference: WordNetwork, hypothesis: WordNetwork) -> Counts:
    """Align two word networks and return the error counts."""
    return Counts(*np.bincount(_path(reference, hypothesis)[:, 0], minlength=len(KINDS)).tolist())


def align_steps(reference: WordNetwork, hypothesis: WordNetwork) -> list[AlignmentStep]:
    """Align two word networks: the steps behind the counts of `align`, in order."""
    return [
        AlignmentStep(KINDS[kind], arc, reference.words[arc], hypothesis.words[other])
        for kind, arc, other in _path(reference, hypothesis).tolist()
    ]


def count_steps(steps: Iterable[AlignmentStep]) -> Counts:
    """Return the counts of an alignment."""
    kinds = "".join(step.kind for step in steps)
    return Counts(*(kinds.count(kind) for kind in KINDS))


def _path(reference: WordNetwork, hypothesis: WordNetwork) -> np.ndarray:
    """Return (steps, 3) int64: index in KINDS, arc of the reference, arc of the hypothesis (0: none)."""
    path: np.ndarray = _align(
        _equality(reference, hypothesis),
        *_gap_costs(reference),
        *_gap_costs(hypothesis),
        *_predecessors(reference),
        *_predecessors(hypothesis),
    )
    return path


def _equality(reference: WordNetwork, hypothesis: WordNetwork) -> np.ndarray:
    """Return (arcs, arcs) bool: whether two words match; a fragment matches any word it is the beginning or end of."""
    ids = {word: i for i, word in enumerate(dict.fromkeys(reference.words + hypothesis.words))}
    a, b = (np.array([ids[word] for word in network.words]) for network in (reference, hypothesis))
    equal: np.ndarray = a[:, None] == b[None, :]
    for i in np.flatnonzero(reference.fragment):
        equal[i] = [_matches(reference.words[i], word) for word in hypothesis.words]
    for j in np.flatnonzero(hypothesis.fragment):
        equal[:, j] = [_matches(word, hypothesis.words[j]) for word in reference.words]
    return equal


def _matches(a: str, b: str) -> bool:
    """Return whether two words match when at least one is a fragment; the hyphen of `a` goes first."""
    for fragment, word in ((a, b), (b, a)):
        if len(fragment) > 1 and fragment.startswith("-"):
            return word.endswith(fragment[1:])
        if len(fragment) > 1 and fragment.endswith("-"):
            return word.startswith(fragment[:-1])
    return a == b


def _gap_costs(network: WordNetwork) -> tuple[np.ndarray, np.ndarray]:
    """Return each arc's deletion cost, and whether it carries no word (1), an optional word (2) or a word (0)."""
    kind = np.array([1 if word == NOTHING else 2 * o for word, o in zip(network.words, network.optional, strict=True)])
    return np.array([GAP, NOTHING_GAP, OPTIONAL_GAP])[kind], kind


def _predecessors(network: WordNetwork) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the lists `before` as offsets (arcs + 1,) and values, and the arcs that may be last."""
    offsets = np.cumsum([0, *(len(arcs) for arcs in network.before)])
    values = np.array([arc for arcs in network.before for arc in arcs], dtype=np.int64)
    return offsets, values, np.array(network.last)


@njit()
def _align(  # type: ignore[no-untyped-def]
    equal, gap_a, kind_a, gap_b, kind_b, offset_a, before_a, last_a, offset_b, before_b, last_b
):
    """Find the cheapest path through the product of two networks a (reference) and b; see _path for the result."""
    A, B = equal.shape
    cost = np.zeros((A, B), dtype=np.int64)
    back_a = np.zeros((A, B), dtype=np.int64)
    back_b = np.zeros((A, B), dtype=np.int64)
    infinity = np.int64(1) << 60
    for a in range(A):
        for b in range(B):
            if a == 0 and b == 0:
                continue
            dele, dele_a = infinity, a
            ins, ins_b = infinity, b
            sub, sub_a, sub_b = infinity, a, b
            for p in before_a[offset_a[a] : offset_a[a + 1]]:
                if cost[p, b] < dele:
                    dele, dele_a = cost[p, b], p
            for q in before_b[offset_b[b] : offset_b[b + 1]]:
                if cost[a, q] < ins:
                    ins, ins_b = cost[a, q], q
            for p in before_a[offset_a[a] : offset_a[a + 1]]:
                for q in before_b[offset_b[b] : offset_b[b + 1]]:
                    if cost[p, q] < sub:
                        sub, sub_a, sub_b = cost[p, q], p, q
            dele += gap_a[a]
            ins += gap_b[b]
            if not equal[a, b]:
                sub += SUBSTITUTION
            elif kind_a[a] == 1:
                sub += NOTHING_TWICE
            if sub <= dele and sub <= ins:
                cost[a, b], back_a[a, b], back_b[a, b] = sub, sub_a, sub_b
            elif dele < ins:
                cost[a, b], back_a[a, b], back_b[a, b] = dele, dele_a, b
            else:
                cost[a, b], back_a[a, b], back_b[a, b] = ins, a, ins_b

    i, j = last_a[0], last_b[0]
    for p in last_a:
        for q in last_b:
            if cost[p, q] < cost[i, j]:
                i, j = p, q
    steps = np.zeros((A + B, 3), dtype=np.int64)
    first = A + B
    while i > 0 or j > 0:
        from_i, from_j = back_a[i, j], back_b[i, j]
        if from_i == i:  # hypothesis only: an insertion, unless the word is optional
            kind, error = kind_b[j], 2
        elif from_j == j:
            kind, error = kind_a[i], 3
        elif equal[i, j]:
            kind, error = kind_a[i] % 2, 0  # a word, optional or not, or nothing
        else:
            kind, error = 0, 1
        if kind != 1:
            first -= 1
            steps[first, 0] = error if kind == 0 else 0
            steps[first, 1] = i if from_i != i else 0
            steps[first, 2] = j if from_j != j else 0
        i, j = from_i, from_j
    return steps[first:]
