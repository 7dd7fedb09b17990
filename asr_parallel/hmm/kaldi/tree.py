"""Kaldi's decision tree (Kaldi: src/tree/context-dep.cc, event-map.cc).

    ContextDependency WIDTH POSITION ToPdf MAP EndContextDependency

A MAP is CE PDF (a leaf), SE KEY SET { MAP MAP } (a question: yes, no), TE KEY SIZE ( MAP ... ) (a table by the key's
value) or NULL. A key is a position in the window of phones, or -1 for the pdf class.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from asr_parallel.hmm.kaldi.object_reader import ObjectReader
from asr_parallel.hmm.kaldi.transition_model import NO_PDF, KaldiTransitionModel
from asr_parallel.hmm.tree import HMM_STATE, Leaf, Node, Question, Tree, by_state

MAX_DEPTH = 200  # of nodes; the trees of Kaldi's tools have some tens
CONTEXT_WIDTHS = {(1, 0), (3, 1)}  # (width, position) of monophones and triphones


@dataclass(frozen=True, slots=True)
class Table:
    """A node with a child for each value of a key; None for one that does not occur."""

    key: int
    children: "tuple[Map | None, ...]"


@dataclass(frozen=True, slots=True)
class Split:
    """A node with two children: is the value of `key` among `members`?"""

    key: int
    members: frozenset[int]
    yes: "Map | None"
    no: "Map | None"


Map = Leaf | Split | Table


@dataclass(frozen=True)
class KaldiTree:
    """context_width: phones in the window. central_position: index of the phone itself. root: the map to pdfs."""

    path: Path
    context_width: int
    central_position: int
    root: Map | None

    @classmethod
    def read(cls, path: Path) -> "KaldiTree":
        """Read a tree.

        Raises:
            ValueError: no such file, another format, or truncated.
        """
        reader = ObjectReader(path)
        reader.expect("ContextDependency")
        width, position = reader.integer(), reader.integer()
        if not 0 <= position < width:
            reader.fail(f"a position below the width {width}, not {position}, before this")
        if reader.expect("ToPdf", "ToLength") == "ToLength":  # in old files, of the numbers of pdf classes
            _read_map(reader)
            reader.expect("ToPdf")
        root = _read_map(reader)
        reader.expect("EndContextDependency")
        return cls(path, width, position, root)

    @property
    def num_pdfs(self) -> int:
        """The highest pdf id and one."""
        return max((leaf.pdf for leaf in self._leaves({})), default=NO_PDF) + 1

    def pdfs(self, phone: int, pdf_class: int) -> set[int]:
        """Return the pdf ids that a class of a phone has in any context."""
        return {leaf.pdf for leaf in self._leaves({self.central_position: phone, HMM_STATE: pdf_class})}

    def _leaves(self, given: dict[int, int]) -> Iterator[Leaf]:
        """Yield the leaves that can be reached when the keys of `given` have those values."""
        nodes = [self.root]
        while nodes:
            node = nodes.pop()
            if isinstance(node, Leaf):
                yield node
            elif node is not None:
                nodes += _children(node, given)

    def check(self, model: KaldiTransitionModel) -> None:
        """Check that a transition model was made with this tree: that it has the pdfs that the tree gives each state.

        Raises:
            ValueError: it has others.
        """
        if self.num_pdfs != model.num_pdfs:
            raise ValueError(
                f"{self.path}: a tree with {self.num_pdfs} pdfs; those of {model.path} are {model.num_pdfs}: a tree of"
                " another model"
            )
        forward: dict[tuple[int, int], set[int]] = {}
        for phone, state, pdf, _ in model.tuples.tolist():
            forward.setdefault((phone, state), set()).add(pdf)
        for phone, states in model.phones.items():
            for s, state in enumerate(states):
                own = self.pdfs(phone, state.forward_class) if state.forward_class != NO_PDF else set()
                found = forward.get((phone, s), set())
                if own != found:
                    raise ValueError(
                        f"{self.path}: state {s} of phone {phone} has the pdfs {_shown(own)}, in {model.path} it has"
                        f" {_shown(found)}: a tree of another model"
                    )

    def plain(self, model: KaldiTransitionModel) -> Tree:
        """Return the same tree as this package has it, for the phones of a model whose pdf classes are its states.

        Raises:
            ValueError: a context that is neither a phone nor a phone and its two neighbours, or a phone without pdf.
        """
        if (self.context_width, self.central_position) not in CONTEXT_WIDTHS:
            raise ValueError(
                f"the tree's context is {self.context_width} phones, the {self.central_position}th central"
            )
        roots = {phone: self._of_phone(self.root, phone, len(states) - 1) for phone, states in model.phones.items()}
        return Tree(self.context_width, self.central_position, self.num_pdfs, roots)

    def save_plain(self, model: KaldiTransitionModel, source: Path, folder: Path) -> None:
        """Write tree and model as this package has them, and the phones.txt of the folder `source`, into `folder`.

        Raises:
            ValueError: this package has no such HMMs or trees; then nothing is written.
        """
        transitions, tree = model.plain(), self.plain(model)
        folder.mkdir(exist_ok=True)
        tree.save(folder)
        transitions.save(folder)
        if (source / "phones.txt").is_file():
            shutil.copyfile(source / "phones.txt", folder / "phones.txt")

    def _of_phone(self, node: Map | None, phone: int, num_states: int) -> Node:
        if isinstance(node, Leaf):
            return node
        if node is None:
            raise ValueError(f"the tree has no pdf for some states of phone {phone}")
        if node.key == self.central_position:
            (node,) = _children(node, {node.key: phone}) or [None]
            return self._of_phone(node, phone, num_states)
        if isinstance(node, Split):
            yes, no = (self._of_phone(child, phone, num_states) for child in (node.yes, node.no))
            return Question(node.key, node.members, yes, no)
        if node.key != HMM_STATE:
            raise ValueError(f"the tree has a table by the phone at position {node.key}")
        return by_state(
            [self._of_phone(node.children[s] if s < len(node.children) else None, phone, num_states)
             for s in range(num_states)]
        )  # fmt: skip


def _children(node: Split | Table, given: dict[int, int]) -> "list[Map | None]":
    value = given.get(node.key)
    if isinstance(node, Split):
        return [node.yes, node.no] if value is None else [node.yes if value in node.members else node.no]
    return list(node.children if value is None else node.children[value : value + 1])


def _shown(pdfs: set[int]) -> str:
    return " ".join(map(str, sorted(pdfs)[:10])) + (" ..." if len(pdfs) > 10 else "") if pdfs else "none"


def _read_map(reader: ObjectReader, depth: int = 0) -> Map | None:
    if depth > MAX_DEPTH:
        reader.fail(f"a tree of at most {MAX_DEPTH} nodes' depth")
    kind = reader.expect("CE", "SE", "TE", "NULL")
    if kind == "NULL":
        return None
    if kind == "CE":
        pdf = reader.integer()
        return Leaf(pdf)
    key = reader.integer()
    if kind == "SE":
        members = frozenset(reader.integers())
        reader.expect("{")
        yes, no = _read_map(reader, depth + 1), _read_map(reader, depth + 1)
        reader.expect("}")
        return Split(key, members, yes, no)
    size = reader.integer(signed=False)
    reader.expect("(")
    children = tuple(_read_map(reader, depth + 1) for _ in range(size))
    reader.expect(")")
    return Table(key, children)
