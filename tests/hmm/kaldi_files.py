"""A user's files in Kaldi's formats, and some that were written by hand."""

import gzip
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asr_parallel.hmm.kaldi.model_writer import write_transition_model
from asr_parallel.hmm.kaldi.object_writer import ObjectWriter
from asr_parallel.hmm.kaldi.tree_writer import write_tree
from asr_parallel.hmm.topology import Topology
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.hmm.tree import Tree

# Of a chain model: the first frame of a phone has a pdf of its own (class 0), further frames another (class 1)
CHAIN_MODEL = """<TransitionModel> <Topology> <TopologyEntry> <ForPhones> 1 2 </ForPhones>
<State> 0 <ForwardPdfClass> 0 <SelfLoopPdfClass> 1 <Transition> 0 0.5 <Transition> 1 0.5 </State> <State> 1 </State>
</TopologyEntry> </Topology> <Tuples> 2 1 0 0 1 2 0 2 1 </Tuples>
<LogProbs> [ 0 -0.6931472 -0.6931472 -0.6931472 -0.6931472 ] </LogProbs> </TransitionModel>"""
# Its tree for a phone, 2, whose classes have the pdfs 0 and 1
CHAIN_TREE = "ContextDependency 1 0 ToPdf TE -1 2 ( CE 0 CE 1 ) EndContextDependency "


def model_bytes(model: TransitionModel, binary: bool) -> bytes:
    """Return final.mdl with this transition model, and the beginning of what comes after it."""
    out = ObjectWriter(binary)
    write_transition_model(out, model)
    out.token("<DIMENSION>")
    out.integer(39)
    return bytes(out.data)


def tree_bytes(tree: Tree, topology: Topology, binary: bool) -> bytes:
    """Return a tree as Kaldi's tools make it."""
    out = ObjectWriter(binary)
    write_tree(out, tree, topology)
    return bytes(out.data)


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
