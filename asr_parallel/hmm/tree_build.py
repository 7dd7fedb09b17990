"""Growing the phonetic decision tree (Kaldi: src/tree/build-tree.cc, build-tree-utils.cc).

Each speech phone has one root for all its HMM states, which questions about the state and the neighbours split; silence
phones have one leaf a state and no context ("not-shared not-split" in Kaldi's roots file). The split that raises the
likelihood most is made first, until there are enough leaves or no split is worth it. Then similar leaves of
one phone are merged.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr_parallel.hmm.topology import Topology
from asr_parallel.hmm.tree import HMM_STATE, Leaf, Node, Question, Tree, by_state
from asr_parallel.hmm.tree_stats import TreeStats, log_likelihood

MIN_GAIN = 300.0  # build-tree --thresh: natural-log likelihood that a split must gain over all its frames
MIN_COUNT = 20.0  # frames on either side of a split: what a mixture needs to grow (gmm-est --min-count)
CLEARLY = 1.0 - 1e-6  # so that rounding does not merge the split that set the threshold
LEFT, CENTRAL, RIGHT = 0, 1, 2


@dataclass
class _BuildNode:
    """A leaf, or an inner node once `children` is set. rows: indices of statistics; gain: of the best split."""

    rows: np.ndarray
    moments: np.ndarray
    gain: float = 0.0
    key: int = HMM_STATE
    members: frozenset[int] = frozenset()
    children: "tuple[_BuildNode, _BuildNode] | None" = None
    pdf: int = -1

    def leaves(self) -> "list[_BuildNode]":
        return [self] if self.children is None else self.children[0].leaves() + self.children[1].leaves()

    def to_node(self) -> Node:
        if self.children is None:
            return Leaf(self.pdf)
        return Question(self.key, self.members, self.children[0].to_node(), self.children[1].to_node())


class _Splitter:
    """Finds the best split of a set of rows."""

    def __init__(self, stats: TreeStats, questions: Sequence[frozenset[int]], num_states: int) -> None:
        self._stats = stats
        largest = max([int(stats.contexts.max()), *(max(q) for q in questions if q)])
        states = [frozenset(range(s + 1)) for s in range(num_states - 1)]
        self._questions = {
            HMM_STATE: (states, _indicators(states, num_states)),
            LEFT: (list(questions), _indicators(questions, largest + 1)),
            RIGHT: (list(questions), _indicators(questions, largest + 1)),
        }

    def grow(self, rows: np.ndarray) -> _BuildNode:
        """Return a leaf of these rows with its best split."""
        stats = self._stats
        node = _BuildNode(rows, stats.moments[rows].sum(0))
        own = float(log_likelihood(node.moments))
        for key, (sets, indicators) in self._questions.items():
            values = self._values(key, rows)
            order = np.argsort(values, kind="stable")
            present, starts = np.unique(values[order], return_index=True)
            of_value = np.zeros((indicators.shape[1], stats.moments.shape[1]))
            if len(present):
                of_value[present] = np.add.reduceat(stats.moments[rows[order]], starts, axis=0)
            # not a matrix product: that rounds differently with another number of threads, and trees would differ
            yes = np.einsum("qv,vm->qm", indicators, of_value)
            no = node.moments - yes
            gains = log_likelihood(yes) + log_likelihood(no) - own
            gains[(yes[:, 0] < MIN_COUNT) | (no[:, 0] < MIN_COUNT)] = -np.inf
            if len(gains) and gains.max() > node.gain:
                best = int(np.argmax(gains))
                node.gain, node.key, node.members = float(gains[best]), key, sets[best]
        return node

    def split(self, node: _BuildNode) -> tuple[_BuildNode, _BuildNode]:
        """Make the node's best split; returns the new leaves."""
        yes = np.isin(self._values(node.key, node.rows), list(node.members))
        node.children = self.grow(node.rows[yes]), self.grow(node.rows[~yes])
        return node.children

    def _values(self, key: int, rows: np.ndarray) -> np.ndarray:
        return self._stats.hmm_states[rows] if key == HMM_STATE else self._stats.contexts[rows, key]


def _indicators(sets: Sequence[frozenset[int]], size: int) -> np.ndarray:
    """Return a (sets, size) matrix: 1 where the set contains the number, else 0."""
    matrix = np.zeros((len(sets), size))
    for row, members in zip(matrix, sets, strict=True):
        row[list(members)] = 1.0
    return matrix


def build_tree(
    stats: TreeStats,
    questions: Sequence[frozenset[int]],
    topology: Topology,
    silence_phones: Sequence[int],
    max_leaves: int,
) -> Tree:
    """Grow a triphone tree of at most `max_leaves` leaves, silence's included (more only if the roots alone are more).

    Raises:
        ValueError: no statistics, or max_leaves is not positive.
    """
    if len(stats.moments) == 0 or max_leaves < 1:
        raise ValueError(f"tree: {len(stats.moments)} states in context, at most {max_leaves} leaves: nothing to build")
    speech = [phone for phone in topology.phones if phone not in silence_phones]
    splitter = _Splitter(stats, questions, max(topology.num_states(phone) for phone in speech))
    roots = {phone: splitter.grow(np.flatnonzero(stats.contexts[:, CENTRAL] == phone)) for phone in speech}
    num_silence = sum(topology.num_states(phone) for phone in silence_phones)
    threshold = _split_leaves(splitter, list(roots.values()), max_leaves - num_silence - len(roots))

    trees: dict[int, Node] = {}
    num_pdfs = 0
    for phone in topology.phones:
        if phone in roots:
            num_pdfs = _number_leaves(roots[phone].leaves(), threshold, num_pdfs)
            trees[phone] = roots[phone].to_node()
        else:
            states = topology.num_states(phone)
            trees[phone] = by_state([Leaf(num_pdfs + s) for s in range(states)])
            num_pdfs += states
    return Tree(3, CENTRAL, num_pdfs, trees)


def _split_leaves(splitter: _Splitter, leaves: Sequence[_BuildNode], more: int) -> float:
    """Make up to `more` splits, best first; returns the smallest gain among them (0 if there are none)."""
    queue = [(-leaf.gain, number, leaf) for number, leaf in enumerate(leaves)]
    heapq.heapify(queue)
    number, smallest = len(queue), 0.0
    while more > 0 and queue and -queue[0][0] >= MIN_GAIN:
        _, _, leaf = heapq.heappop(queue)
        smallest = leaf.gain if smallest == 0.0 else min(smallest, leaf.gain)
        for child in splitter.split(leaf):
            heapq.heappush(queue, (-child.gain, number, child))
            number += 1
        more -= 1
    return smallest


def _number_leaves(leaves: Sequence[_BuildNode], threshold: float, first_pdf: int) -> int:
    """Give the leaves pdf ids from `first_pdf` on; leaves whose merging loses less than `threshold` share one.

    Merges the closest pair repeatedly (Kaldi's ClusterBottomUp). Returns the first id not used.
    """
    groups = [[leaf] for leaf in leaves]
    moments = np.stack([leaf.moments for leaf in leaves])
    while len(groups) > 1:
        own = log_likelihood(moments)
        losses = own[:, None] + own - log_likelihood(moments[:, None] + moments)
        losses[np.tril_indices(len(groups))] = np.inf
        a, b = divmod(int(np.argmin(losses)), len(groups))
        if losses[a, b] >= threshold * CLEARLY:
            break
        groups[a] += groups.pop(b)
        moments[a] += moments[b]
        moments = np.delete(moments, b, axis=0)
    for pdf, group in enumerate(groups, first_pdf):
        for leaf in group:
            leaf.pdf = pdf
    return first_pdf + len(groups)
