"""Files in Kaldi's formats, written from what its sources say (src/hmm, src/tree, src/base/io-funcs-inl.h)."""

import gzip
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from asr_parallel.hmm.topology import Topology
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.hmm.tree import HMM_STATE, Leaf, Node, Tree

# Of a chain model: the first frame of a phone has a pdf of its own (class 0), further frames another (class 1)
CHAIN_MODEL = """<TransitionModel> <Topology> <TopologyEntry> <ForPhones> 1 2 </ForPhones>
<State> 0 <ForwardPdfClass> 0 <SelfLoopPdfClass> 1 <Transition> 0 0.5 <Transition> 1 0.5 </State> <State> 1 </State>
</TopologyEntry> </Topology> <Tuples> 2 1 0 0 1 2 0 2 1 </Tuples>
<LogProbs> [ 0 -0.6931472 -0.6931472 -0.6931472 -0.6931472 ] </LogProbs> </TransitionModel>"""
# Its tree for a phone, 2, whose classes have the pdfs 0 and 1
CHAIN_TREE = "ContextDependency 1 0 ToPdf TE -1 2 ( CE 0 CE 1 ) EndContextDependency "


class KaldiWriter:
    """The bytes of one object, in one of the two formats."""

    def __init__(self, binary: bool) -> None:
        self.binary = binary
        self.data = bytearray(b"\0B" if binary else b"")

    def token(self, *tokens: str) -> None:
        for token in tokens:
            self.data += token.encode() + b" "

    def line(self) -> None:
        self.data += b"" if self.binary else b"\n"

    def integer(self, *values: int) -> None:
        for value in values:
            self.data += struct.pack("<bi", 4, value) if self.binary else f"{value} ".encode()

    def unsigned(self, value: int) -> None:
        self.data += struct.pack("<bI", -4, value) if self.binary else f"{value} ".encode()

    def real(self, value: float) -> None:
        self.data += struct.pack("<bf", 4, value) if self.binary else f"{value:.7g} ".encode()

    def integers(self, values: Sequence[int]) -> None:
        if self.binary:
            self.data += struct.pack(f"<bi{len(values)}i", 4, len(values), *values)
        else:
            self.data += b"[ " + b"".join(f"{value} ".encode() for value in values) + b"]\n"

    def reals(self, values: Sequence[float]) -> None:
        if self.binary:
            self.data += b"FV " + struct.pack(f"<bi{len(values)}f", 4, len(values), *values)
        else:
            self.data += b" [ " + b"".join(f"{value:.9g} ".encode() for value in values) + b"]\n"


def model_bytes(model: TransitionModel, binary: bool) -> bytes:
    """Return final.mdl with this transition model, and the beginning of what comes after it."""
    out = KaldiWriter(binary)
    out.token("<TransitionModel>")
    out.line()
    _topology(out, model.topology)
    out.token("<Triples>")
    out.integer(len(model.tuples))
    out.line()
    for row in model.tuples.tolist():
        out.integer(*row)
        out.line()
    out.token("</Triples>")
    out.line()
    out.token("<LogProbs>")
    out.line()
    out.reals(model.log_prob.tolist())
    out.token("</LogProbs>")
    out.line()
    out.token("</TransitionModel>")
    out.line()
    out.token("<DIMENSION>")
    out.integer(39)
    return bytes(out.data)


def _topology(out: KaldiWriter, topology: Topology) -> None:
    """Write a topology; one entry for all phones with the same states, the last state that ends a phone added."""
    entries = list(dict.fromkeys(topology.phones.values()))
    out.token("<Topology>")
    out.line()
    if out.binary:
        phones = sorted(topology.phones)
        out.integers(phones)
        out.integers([entries.index(topology.phones[p]) if p in topology.phones else -1 for p in range(phones[-1] + 1)])
        out.integer(len(entries))
        for states in entries:
            out.integer(len(states) + 1)
            for s, transitions in enumerate(states):
                out.integer(s, len(transitions))
                for to, probability in transitions:
                    out.integer(to)
                    out.real(probability)
            out.integer(-1, 0)
    else:
        for states in entries:
            out.token("<TopologyEntry>\n<ForPhones>\n")
            out.token(" ".join(str(p) for p, own in topology.phones.items() if own == states))
            out.token("\n</ForPhones>\n")
            for s, transitions in enumerate(states):
                out.token("<State>", str(s), "<PdfClass>", str(s))
                for to, probability in transitions:
                    out.token("<Transition>", str(to))
                    out.real(probability)
                out.token("</State>\n")
            out.token("<State>", str(len(states)), "</State>\n</TopologyEntry>\n")
    out.token("</Topology>")
    out.line()


def tree_bytes(tree: Tree, num_states: Mapping[int, int], binary: bool) -> bytes:
    """Return a tree as Kaldi's tools make it: a table by the phone, in it one by the state, in it questions."""
    out = KaldiWriter(binary)
    out.token("ContextDependency")
    out.integer(tree.context_width, tree.central_position)
    out.token("ToPdf", "TE")
    out.integer(tree.central_position)
    out.unsigned(max(tree.roots) + 1)
    out.token("(")
    for phone in range(max(tree.roots) + 1):
        if phone not in tree.roots:
            out.token("NULL")
            continue
        out.token("TE")
        out.integer(HMM_STATE)
        out.unsigned(num_states[phone])
        out.token("(")
        for state in range(num_states[phone]):
            _map(out, tree.roots[phone], state)
        out.token(")")
        out.line()
    out.token(")")
    out.line()
    out.token("EndContextDependency")
    return bytes(out.data)


def _map(out: KaldiWriter, node: Node, state: int) -> None:
    if isinstance(node, Leaf):
        out.token("CE")
        out.integer(node.pdf)
    elif node.key == HMM_STATE:
        _map(out, node.yes if state in node.members else node.no, state)
    else:
        out.token("SE")
        out.integer(node.key)
        out.integers(sorted(node.members))
        out.token("{")
        _map(out, node.yes, state)
        _map(out, node.no, state)
        out.token("}")
        out.line()


def alignment_bytes(alignments: Iterable[tuple[str, Sequence[int]]], binary: bool) -> bytes:
    """Return an archive of vectors of integers."""
    data = b""
    for utterance, ids in alignments:
        out = KaldiWriter(binary)
        if binary:
            out.integer(len(ids))
        out.integer(*ids)
        out.line()
        data += utterance.encode() + b" " + out.data
    return data


def write_alignments(folder: Path, model: bytes, tree: bytes, archives: Sequence[bytes]) -> None:
    """Write a folder such as exp/tri4_ali."""
    folder.mkdir(parents=True)
    (folder / "final.mdl").write_bytes(model)
    (folder / "tree").write_bytes(tree)
    (folder / "num_jobs").write_text(f"{len(archives)}\n", encoding="utf-8")
    for job, data in enumerate(archives, 1):
        (folder / f"ali.{job}.gz").write_bytes(gzip.compress(data))


def float_matrix_bytes(matrix: np.ndarray) -> bytes:
    """Return a matrix without compression, binary."""
    rows, columns = matrix.shape
    return b"\0BFM " + struct.pack("<bibi", 4, rows, 4, columns) + matrix.astype("<f4").tobytes()
