"""Phonetic decision tree from a phone in context and an HMM state to a pdf (Kaldi: src/tree/context-dep.h).

Every phone has a root of its own. Inner nodes ask whether the phone at some position of the context window, or the HMM
state, belongs to a set; leaves hold pdf ids (0-based; several leaves may share one). A position outside the utterance
holds phone 0, which belongs to no set, so the answer is always "no".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr_parallel.hmm.topology import Topology
from asr_parallel.record.files import read_json, write_json

HMM_STATE = -1  # the key of questions about the HMM state, as in Kaldi's event maps
TREE_FILE = "tree.json"


@dataclass(frozen=True, slots=True)
class Leaf:
    """A tied state."""

    pdf: int


@dataclass(frozen=True, slots=True)
class Question:
    """A question: is the phone at position `key` of the window (key -1: the HMM state) among `members`?"""

    key: int
    members: frozenset[int]
    yes: "Node"
    no: "Node"


Node = Leaf | Question


@dataclass(frozen=True)
class Tree:
    """context_width: phones in the window (1 monophone, 3 triphone); central_position: index of the phone itself.

    roots: phone id -> its tree.
    """

    context_width: int
    central_position: int
    num_pdfs: int
    roots: dict[int, Node]

    def pdf(self, context: Sequence[int], hmm_state: int) -> int:
        """Return the pdf id of `hmm_state` of the middle phone of `context` (context_width phone ids, 0 outside)."""
        assert len(context) == self.context_width, f"a window of {self.context_width} phones, got {context}"
        node = self.roots[context[self.central_position]]
        while isinstance(node, Question):
            value = hmm_state if node.key == HMM_STATE else context[node.key]
            node = node.yes if value in node.members else node.no
        return node.pdf

    def pdfs(self, phone: int, hmm_state: int) -> list[int]:
        """Return all pdf ids that `hmm_state` of `phone` has in any context, sorted."""
        found: set[int] = set()
        nodes = [self.roots[phone]]
        while nodes:
            node = nodes.pop()
            if isinstance(node, Leaf):
                found.add(node.pdf)
            elif node.key == HMM_STATE:
                nodes.append(node.yes if hmm_state in node.members else node.no)
            else:
                nodes += (node.yes, node.no)
        return sorted(found)

    def save(self, folder: Path) -> None:
        """Write `tree.json` into `folder`."""
        write_json(
            folder / TREE_FILE,
            {
                "context_width": self.context_width,
                "central_position": self.central_position,
                "num_pdfs": self.num_pdfs,
                "roots": {str(phone): _to_json(node) for phone, node in self.roots.items()},
            },
        )

    @classmethod
    def open(cls, folder: Path) -> "Tree":
        """Read `tree.json` of a model folder; ValueError when it is missing or not JSON."""
        if not (folder / TREE_FILE).is_file():
            raise ValueError(f"{folder}: no {TREE_FILE}; expected a model folder made by stage 3")
        value = read_json(folder / TREE_FILE)
        roots = {int(phone): _from_json(node) for phone, node in value["roots"].items()}
        return cls(value["context_width"], value["central_position"], value["num_pdfs"], roots)


def by_state(nodes: Sequence[Node]) -> Node:
    """Return a node that leads HMM state s to nodes[s]."""
    chain = nodes[-1]
    for state in range(len(nodes) - 2, -1, -1):
        chain = Question(HMM_STATE, frozenset([state]), nodes[state], chain)
    return chain


def monophone_tree(topology: Topology) -> Tree:
    """Return one pdf for every state of every phone, whatever the context."""
    roots: dict[int, Node] = {}
    num_pdfs = 0
    for phone, states in topology.phones.items():
        roots[phone] = by_state([Leaf(num_pdfs + s) for s in range(len(states))])
        num_pdfs += len(states)
    return Tree(context_width=1, central_position=0, num_pdfs=num_pdfs, roots=roots)


def _to_json(node: Node) -> Any:
    if isinstance(node, Leaf):
        return node.pdf
    return {"key": node.key, "in": sorted(node.members), "yes": _to_json(node.yes), "no": _to_json(node.no)}


def _from_json(value: Any) -> Node:
    if isinstance(value, int):
        return Leaf(value)
    return Question(value["key"], frozenset(value["in"]), _from_json(value["yes"]), _from_json(value["no"]))
