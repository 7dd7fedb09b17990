"""Kaldi's final.mdl and tree: bytes written by hand, models of this package written in its formats, and faults."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from kaldi_files import CHAIN_MODEL, model_bytes, tree_bytes
from toy_hmm import TOPOLOGY, A, B, C, mono_model

from asr_parallel.hmm.kaldi.object_reader import ObjectReader
from asr_parallel.hmm.kaldi.transition_model import KaldiState, KaldiTransitionModel
from asr_parallel.hmm.kaldi.tree import KaldiTree
from asr_parallel.hmm.topology import Topology
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.hmm.tree import Leaf, Node, Question, Tree, by_state

# One phone, number 2, of one state that loops with probability 0.75: the bytes as Kaldi's Write functions put them
BINARY_MODEL = (
    b"\0B<TransitionModel> <Topology> "
    b"\x04\x01\0\0\0\x02\0\0\0"  # phones_: one of them, 2
    b"\x04\x03\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0"  # phone2idx_: -1 -1 0
    b"\x04\x01\0\0\0"  # one entry
    b"\x04\x02\0\0\0"  # of two states
    b"\x04\0\0\0\0\x04\x02\0\0\0"  # pdf class 0, two transitions
    b"\x04\0\0\0\0\x04\0\0\x40\x3f\x04\x01\0\0\0\x04\0\0\x80\x3e"  # to 0 with 0.75, to 1 with 0.25
    b"\x04\xff\xff\xff\xff\x04\0\0\0\0"  # no pdf class, no transitions
    b"</Topology> <Triples> \x04\x01\0\0\0\x04\x02\0\0\0\x04\0\0\0\0\x04\0\0\0\0</Triples> "
    b"<LogProbs> FV \x04\x03\0\0\0\0\0\0\0\x11\x4b\x93\xbe\x18\x72\xb1\xbf</LogProbs> </TransitionModel> "
)
TEXT_MODEL = """<TransitionModel>
<Topology>
<TopologyEntry>
<ForPhones>
2
</ForPhones>
<State> 0 <PdfClass> 0 <Transition> 0 0.75 <Transition> 1 0.25 </State>
<State> 1 </State>
</TopologyEntry>
</Topology>
<Triples> 1
2 0 0
</Triples>
<LogProbs>
 [ 0 -0.2876821 -1.386294 ]
</LogProbs>
</TransitionModel>
"""
BINARY_TREE = (
    b"\0BContextDependency \x04\x03\0\0\0\x04\x01\0\0\0ToPdf TE \x04\x01\0\0\0\xfc\x03\0\0\0( NULL NULL "
    b"TE \x04\xff\xff\xff\xff\xfc\x01\0\0\0( SE \x04\0\0\0\0\x04\x02\0\0\0\x02\0\0\0\x05\0\0\0"
    b"{ CE \x04\x01\0\0\0CE \x04\0\0\0\0} ) ) EndContextDependency "
)
TEXT_TREE = """ContextDependency 3 1 ToPdf TE 1 3 ( NULL NULL TE -1 1 ( SE 0 [ 2 5 ]
{ CE 1 CE 0 }
)
)
EndContextDependency """


# By Kaldi's code, for phones 1 to 3 of five states and 4 to 6 of three; 1 and 2 have the same pdfs, and so have 4 and 5
SHARED_ROOTS = """ContextDependency 1 0 ToPdf SE 0 [ 1 2 3 ]
{ SE 0 [ 1 2 ]
{ TE -1 5 ( CE 0 CE 1 CE 2 CE 3 CE 4 ) 
TE -1 5 ( CE 5 CE 6 CE 7 CE 8 CE 9 ) 
} 
SE 0 [ 4 5 ]
{ TE -1 3 ( CE 10 CE 11 CE 12 ) 
TE -1 3 ( CE 13 CE 14 CE 15 ) 
} 
} 
EndContextDependency """
FIRST_PDFS = {1: 0, 2: 0, 3: 5, 4: 10, 5: 10, 6: 13}


def tri_model() -> tuple[Tree, TransitionModel]:
    """Return a triphone tree: A depends on its left neighbour, B's first state on both, all else on none."""
    pdf = itertools.count()

    def leaf() -> Leaf:
        return Leaf(next(pdf))

    def leaves(count: int) -> Node:
        return by_state([leaf() for _ in range(count)])

    roots = {phone: leaves(count) for phone, count in num_states().items() if phone not in (A, B)}
    roots[A] = Question(0, frozenset([C]), leaves(3), leaves(3))
    first = Question(0, frozenset([C, A]), leaf(), Question(2, frozenset([1, 2]), leaf(), leaf()))
    roots[B] = by_state([first, leaf(), leaf()])
    tree = Tree(3, 1, next(pdf), roots)
    return tree, TransitionModel.build(TOPOLOGY, tree)


def num_states() -> dict[int, int]:
    return {phone: len(states) for phone, states in TOPOLOGY.phones.items()}


def written(folder: Path, name: str, data: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.mark.parametrize("data", [BINARY_MODEL, TEXT_MODEL], ids=["binary", "text"])
def test_a_model_written_by_hand(tmp_path: Path, data: bytes | str) -> None:
    model = KaldiTransitionModel.read(written(tmp_path, "final.mdl", data))
    assert model.phones == {2: (KaldiState(0, 0, ((0, 0.75), (1, 0.25))), KaldiState(-1, -1, ()))}
    assert model.tuples.tolist() == [[2, 0, 0, 0]]
    np.testing.assert_allclose(np.exp(model.log_prob[1:]), [0.75, 0.25], rtol=1e-6)
    assert model.pdf_of.tolist() == [-1, 0, 0] and model.num_pdfs == 1


def test_self_loops_may_have_a_pdf_of_their_own(tmp_path: Path) -> None:
    model = KaldiTransitionModel.read(written(tmp_path, "final.mdl", CHAIN_MODEL))
    assert model.pdf_of.tolist() == [-1, 1, 0, 1, 2]  # the self-loop is the first transition of each state
    assert model.num_pdfs == 3
    with pytest.raises(ValueError, match="pdf classes that are not its own"):
        model.plain()


def test_a_binary_topology_says_by_a_minus_one_that_self_loops_have_classes(tmp_path: Path) -> None:
    chain = (
        BINARY_MODEL.replace(b"\x04\x01\0\0\0\x04\x02\0\0\0\x04\0\0\0\0\x04\x02", b"\x04\xff\xff\xff\xff\x04\x01\0\0\0"
        b"\x04\x02\0\0\0\x04\0\0\0\0\x04\x01\0\0\0\x04\x02")
        .replace(b"\x04\xff\xff\xff\xff\x04\0\0\0\0<", b"\x04\xff\xff\xff\xff\x04\xff\xff\xff\xff\x04\0\0\0\0<")
        .replace(b"Triples", b"Tuples").replace(b"\x04\0\0\0\0</Tuples>", b"\x04\0\0\0\0\x04\x01\0\0\0</Tuples>")
    )  # fmt: skip
    model = KaldiTransitionModel.read(written(tmp_path, "final.mdl", chain))
    assert model.phones[2][0] == KaldiState(0, 1, ((0, 0.75), (1, 0.25)))
    assert model.pdf_of.tolist() == [-1, 1, 0]


@pytest.mark.parametrize("data", [BINARY_TREE, TEXT_TREE], ids=["binary", "text"])
def test_a_tree_written_by_hand(tmp_path: Path, data: bytes | str) -> None:
    tree = KaldiTree.read(written(tmp_path, "tree", data))
    assert (tree.context_width, tree.central_position, tree.num_pdfs) == (3, 1, 2)
    assert tree.pdfs(2, 0) == {0, 1} and tree.pdfs(2, 1) == tree.pdfs(1, 0) == tree.pdfs(9, 0) == set()
    model = KaldiTransitionModel.read(
        written(
            tmp_path,
            "final.mdl",
            TEXT_MODEL.replace("> 1\n2 0 0", "> 2\n2 0 0 2 0 1").replace("-1.386294", "-1.386294 -0.2876821 -1.386294"),
        )
    )
    tree.check(model)
    plain = tree.plain(model)
    assert [plain.pdf((left, 2, 1), 0) for left in (0, 1, 2, 5)] == [0, 0, 1, 1]


def test_a_tree_whose_phones_share_roots(tmp_path: Path) -> None:
    topology = Topology.of_phones([1, 2, 3], [4, 5, 6])
    rows = [(p, s, FIRST_PDFS[p] + s) for p, states in topology.phones.items() for s in range(len(states))]
    own = TransitionModel(topology, np.array(rows))
    model = KaldiTransitionModel.read(written(tmp_path, "final.mdl", model_bytes(own, binary=False)))
    tree = KaldiTree.read(written(tmp_path, "tree", SHARED_ROOTS))
    tree.check(model)
    np.testing.assert_array_equal(TransitionModel.build(topology, tree.plain(model)).tuples, own.tuples)


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "text"])
@pytest.mark.parametrize("made", [mono_model, tri_model], ids=["mono", "tri"])
def test_models_of_this_package_come_back(tmp_path: Path, made: object, binary: bool) -> None:
    tree, transitions = made()  # type: ignore[operator]
    model = KaldiTransitionModel.read(written(tmp_path, "final.mdl", model_bytes(transitions, binary)))
    np.testing.assert_array_equal(model.pdf_of, transitions.pdf_of)
    plain = model.plain()
    assert plain.topology == TOPOLOGY and np.array_equal(plain.tuples, transitions.tuples)
    np.testing.assert_array_equal(plain.log_prob, transitions.log_prob)
    read = KaldiTree.read(written(tmp_path, "tree", tree_bytes(tree, TOPOLOGY, binary)))
    read.check(model)
    same = read.plain(model)
    assert same.num_pdfs == tree.num_pdfs == transitions.num_pdfs
    neighbours = itertools.product(range(6), repeat=2) if tree.context_width == 3 else [()]
    for context in neighbours:
        for phone, count in num_states().items():
            window = (context[0], phone, context[1]) if context else (phone,)
            assert [same.pdf(window, s) for s in range(count)] == [tree.pdf(window, s) for s in range(count)]
    assert np.array_equal(TransitionModel.build(TOPOLOGY, same).tuples, transitions.tuples)


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "text"])
def test_a_truncated_file_is_one_line_wherever_it_ends(tmp_path: Path, binary: bool) -> None:
    data = BINARY_MODEL if binary else TEXT_MODEL.encode()
    for end in range(len(data.rstrip()) - 1):
        with pytest.raises(
            ValueError, match=r"final.mdl: .*(expected|no transition states|log probabilities)"
        ) as caught:
            KaldiTransitionModel.read(written(tmp_path, "final.mdl", data[:end]))
        assert "\n" not in str(caught.value)
    data = BINARY_TREE if binary else TEXT_TREE.encode()
    for end in range(len(data.rstrip()) - 1):
        with pytest.raises(ValueError, match=r"tree: byte \d+ .*: expected .*, found") as caught:
            KaldiTree.read(written(tmp_path, "tree", data[:end]))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<TransitionModel>", "<Nnet3>", "expected <TransitionModel>"),
        ("<Triples> 1", "<Triples> x", "expected a 32-bit integer, found ' x"),
        ("<Triples> 1", "<Triples> 2", "expected a 32-bit integer, found"),
        ("2 0 0\n", "3 0 0\n", "state 0 of phone 3 is not in the topology"),
        ("2 0 0\n", "2 5 0\n", "state 5 of phone 2 is not in the topology"),
        ("2 0 0\n", "2 0 -1\n", "state 0 of phone 2 has pdf -1"),
        ("<Transition> 1 0.25", "<Transition> 4 0.25", "a transition leads outside its 2 states"),
        ("<Transition> 1 0.25", "<Transition> 1 0", "a probability is not between 0 and 1"),
        ("<Transition> 1 0.25", "<Transition> 1 nan", "a probability is not between 0 and 1"),
        ("2 0 0\n", "2 0 99999999999\n", "expected a 32-bit integer, found ' 99999999999"),
        ("<State> 1 <", "<State> 2 <", "expected states in order"),
        ("<State> 1 </State>", "", "expected states, the last without pdf"),
        (" -1.386294", "", "1 log probabilities, 2 transition ids"),
        ("-1.386294", "nan", "a log probability is not finite"),
        ("<PdfClass> 0", "<Final>", "expected <Transition> or </State>"),
        ("<Triples> 1\n2 0 0\n", "<Triples> 0\n", "no transition states"),
    ],
)
def test_a_malformed_model_is_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in TEXT_MODEL
    with pytest.raises(ValueError, match=r"final.mdl: ") as caught:
        KaldiTransitionModel.read(written(tmp_path, "final.mdl", TEXT_MODEL.replace(old, new)))
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ContextDependency 3 1", "ContextDependency 3 3", "expected a position below the width 3"),
        ("SE 0", "XE 0", "expected CE or SE or TE or NULL, found"),
        ("[ 2 5 ]", "[ 2 five ]", "expected 32-bit integers and ], found ' five"),
        ("CE 1 CE 0 ", "CE 1 ", "expected CE or SE or TE or NULL, found"),
    ],
)
def test_a_malformed_tree_is_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ValueError, match="tree: byte ") as caught:
        KaldiTree.read(written(tmp_path, "tree", TEXT_TREE.replace(old, new, 1)))
    assert message in str(caught.value)


def test_a_tree_without_end_is_refused(tmp_path: Path) -> None:
    deep = "ContextDependency 3 1 ToPdf " + "SE 0 [ 1 ] { " * 5000
    with pytest.raises(ValueError, match="depth"):
        KaldiTree.read(written(tmp_path, "tree", deep))


def test_a_tree_of_another_model_is_refused(tmp_path: Path) -> None:
    tree, transitions = tri_model()
    model = KaldiTransitionModel.read(written(tmp_path, "final.mdl", model_bytes(transitions, True)))
    mono = KaldiTree.read(written(tmp_path, "mono", tree_bytes(mono_model()[0], TOPOLOGY, True)))
    with pytest.raises(ValueError, match=r"a tree with 19 pdfs; those of .* are 24: a tree of another model"):
        mono.check(model)
    swapped = Tree(3, 1, tree.num_pdfs, tree.roots | {A: tree.roots[C], C: tree.roots[A]})  # as many pdfs, others
    other = KaldiTree.read(written(tmp_path, "other", tree_bytes(swapped, TOPOLOGY, True)))
    with pytest.raises(ValueError, match=r"state 0 of phone 3 has the pdfs .*, in .*: a tree of another model"):
        other.check(model)


def test_no_file_and_a_file_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no final.mdl; expected a folder with Kaldi's ali"):
        KaldiTransitionModel.read(tmp_path / "final.mdl")
    for data in (b"", b"\0B", bytes(range(256)) * 10, b"\0B" + b"x" * 1000):
        with pytest.raises(ValueError, match="expected ContextDependency"):
            KaldiTree.read(written(tmp_path, "tree", data))


def test_numbers_of_64_bits_and_vectors_of_doubles(tmp_path: Path) -> None:
    data = b"\0B\x08\0\0\0\0\0\0\xe0\x3fDV \x04\x01\0\0\0\0\0\0\0\0\0\xe0\xbf"
    reader = ObjectReader(written(tmp_path, "x", data))
    assert reader.real() == 0.5 and reader.reals().tolist() == [-0.5]
