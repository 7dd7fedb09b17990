"""Kaldi's decision tree from this package's: a table by the phone, in it one by the HMM state, in it questions."""

from asr_parallel.hmm.kaldi.object_writer import ObjectWriter
from asr_parallel.hmm.topology import Topology
from asr_parallel.hmm.tree import HMM_STATE, Leaf, Node, Tree


def write_tree(out: ObjectWriter, tree: Tree, topology: Topology) -> None:
    """Write a tree for the phones of a topology; see `kaldi.tree` for the format."""
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
        out.unsigned(topology.num_states(phone))
        out.token("(")
        for state in range(topology.num_states(phone)):
            _write_node(out, tree.roots[phone], state)
        out.token(")")
        out.line()
    out.token(")")
    out.line()
    out.token("EndContextDependency")


def _write_node(out: ObjectWriter, node: Node, state: int) -> None:
    """Write what a node is for one HMM state."""
    if isinstance(node, Leaf):
        out.token("CE")
        out.integer(node.pdf)
    elif node.key == HMM_STATE:
        _write_node(out, node.yes if state in node.members else node.no, state)
    else:
        out.token("SE")
        out.integer(node.key)
        out.integers(sorted(node.members))
        out.token("{")
        _write_node(out, node.yes, state)
        _write_node(out, node.no, state)
        out.token("}")
        out.line()
