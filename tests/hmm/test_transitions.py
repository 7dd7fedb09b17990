"""Topologies, trees and transition models against hand-worked values."""

import math
from pathlib import Path

import numpy as np
import pytest

from asr_parallel.hmm.topology import Topology
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.hmm.tree import Leaf, Question, Tree, by_state, monophone_tree

TOPOLOGY = Topology.of_phones(silence_phones=[1], nonsilence_phones=[2, 3])


def test_kaldi_topologies() -> None:
    silence, speech = TOPOLOGY.phones[1], TOPOLOGY.phones[2]
    assert speech == (((0, 0.75), (1, 0.25)), ((1, 0.75), (2, 0.25)), ((2, 0.75), (3, 0.25)))
    assert [[n for n, _ in s] for s in silence] == [[0, 1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4], [4, 5]]
    assert all(p == 0.25 for s in silence[:4] for _, p in s) and silence[4] == ((4, 0.75), (5, 0.25))


@pytest.mark.parametrize(
    ("states", "message"),
    [
        ((((1, 1.0),),), "no self-loop"),
        ((((0, 0.5), (1, 0.4)),), "do not sum to 1"),
        ((((0, 0.5), (2, 0.5)),), "leads outside"),
    ],
)
def test_bad_topology_is_refused(states: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Topology({1: states})


def test_monophone_ids() -> None:
    model = TransitionModel.build(TOPOLOGY, monophone_tree(TOPOLOGY))
    assert model.num_pdfs == 11 and model.num_transition_states == 11
    assert model.num_transition_ids == 4 * 4 + 2 + 6 + 6
    assert model.first_tid.tolist() == [1, 5, 9, 13, 17, 19, 21, 23, 25, 27, 29, 31]
    # phone 2, state 1 is transition state 6: a self-loop and a way to state 2
    stay, leave = model.tids(model.transition_state(2, 1, 6))
    assert (stay, leave) == (21, 22)
    assert model.is_self_loop[stay] and not model.is_self_loop[leave]
    assert model.next_hmm_state_of[leave] == 2 and model.pdf_of[leave] == model.pdf_of[stay] == 6
    assert np.flatnonzero(model.is_final).tolist() == [18, 24, 30]
    assert model.log_prob[stay] == pytest.approx(math.log(0.75))
    with pytest.raises(ValueError, match="no state for phone 2"):
        model.transition_state(2, 1, 5)


def test_update_by_hand() -> None:
    model = TransitionModel.build(TOPOLOGY, monophone_tree(TOPOLOGY))
    counts = np.zeros(model.num_transition_ids + 1)
    counts[[21, 22]] = 30, 10
    counts[[23, 24]] = 1000, 1  # floored at 0.01
    counts[[25, 26]] = 2, 2  # too few: unchanged
    probs = np.exp(model.updated(counts).log_prob)
    assert probs[[21, 22]] == pytest.approx([0.75, 0.25])
    assert probs[[23, 24]] == pytest.approx([0.99, 0.01], abs=1e-4)
    assert probs[[25, 26]] == pytest.approx([0.75, 0.25])


def test_scales_by_hand() -> None:
    model = TransitionModel.build(TOPOLOGY, monophone_tree(TOPOLOGY))
    scaled = model.scaled_log_prob(transition_scale=1.0, self_loop_scale=0.1)
    assert scaled[1] == pytest.approx(0.1 * math.log(0.25))  # silence state 0: stay
    assert scaled[2] == pytest.approx(0.1 * math.log(0.75) + math.log(1 / 3))  # leave, one way of three
    assert scaled[22] == pytest.approx(0.1 * math.log(0.25))  # one way out
    assert model.scaled_log_prob(1.0, 1.0)[1:] == pytest.approx(model.log_prob[1:], abs=1e-6)


def triphone_tree() -> Tree:
    after_two = Question(0, frozenset([2]), Leaf(5), Leaf(6))  # state 1 of phone 3: left neighbour is 2?
    before_none = Question(2, frozenset([1, 2, 3]), Leaf(7), Leaf(8))  # state 2 of phone 3: something follows?
    silence = by_state([Leaf(s) for s in range(5)])
    return Tree(3, 1, 9, {1: silence, 2: Leaf(5), 3: by_state([Leaf(6), after_two, before_none])})


def test_context_and_utterance_ends() -> None:
    tree = triphone_tree()
    assert [tree.pdf((2, 3, 1), s) for s in range(3)] == [6, 5, 7]
    assert [tree.pdf((0, 3, 0), s) for s in range(3)] == [6, 6, 8]
    assert tree.pdfs(3, 1) == [5, 6] and tree.pdfs(3, 2) == [7, 8] and tree.pdfs(2, 0) == [5]
    model = TransitionModel.build(TOPOLOGY, tree)
    assert model.num_transition_states == 5 + 3 + 5
    assert len({tuple(t) for t in model.tuples.tolist()}) == model.num_transition_states


def test_round_trip(tmp_path: Path) -> None:
    tree = triphone_tree()
    tree.save(tmp_path)
    assert Tree.open(tmp_path) == tree
    counts = np.arange(TransitionModel.build(TOPOLOGY, tree).num_transition_ids + 1)
    model = TransitionModel.build(TOPOLOGY, tree).updated(counts)
    model.save(tmp_path)
    again = TransitionModel.open(tmp_path)
    assert again.topology == TOPOLOGY
    for name in ("tuples", "log_prob", "pdf_of", "is_final", "self_loop_tid"):
        assert np.array_equal(getattr(again, name), getattr(model, name))


@pytest.mark.parametrize("reader", [Tree, TransitionModel])
def test_missing_model_is_one_line(reader: type, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stage 3"):
        reader.open(tmp_path)


def test_a_damaged_model_is_one_line(tmp_path: Path) -> None:
    TransitionModel.build(TOPOLOGY, triphone_tree()).save(tmp_path)
    content = (tmp_path / "transitions.npz").read_bytes()
    (tmp_path / "transitions.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="damaged transition model"):
        TransitionModel.open(tmp_path)
