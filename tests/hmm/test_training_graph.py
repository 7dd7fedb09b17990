"""Training graphs and the search through them against brute force."""

import math

import numpy as np
import pytest
from toy_hmm import LANG, SIL, TOPOLOGY, A, B, C, builder, mono_model

from asr_parallel.hmm.equal_align import equal_align
from asr_parallel.hmm.segments import phone_segments
from asr_parallel.hmm.training_graph import GraphBuilder
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.hmm.tree import Leaf, Question, Tree, by_state
from asr_parallel.hmm.viterbi import best_path


def phone_sequences(words):
    """{phones: probability} of a transcript, worked out independently: silence or not at every gap."""
    found = {(): 1.0}
    for i in range(len(words) + 1):
        found = {p + gap: q * 0.5 for p, q in found.items() for gap in ((), (SIL,))}
        if i < len(words):
            found = {p + chain: q * prob for p, q in found.items() for prob, chain in LANG.lexicon[words[i]]}
    return found


def arc_paths(graph, longest):
    """All arc sequences from start to end that visit no silence state twice; with their graph weights."""
    stack = [([], s, w) for s, w in enumerate(graph.start_weight) if np.isfinite(w)]
    while stack:
        arcs, state, weight = stack.pop()
        if state == graph.num_states:
            yield arcs, weight
        elif len(arcs) < longest:
            for a in range(graph.arc_offsets[state], graph.arc_offsets[state + 1]):
                target = graph.arc_target[a]
                base = graph.arc_source[arcs[-1]] if arcs else -1
                if target > state or target == graph.num_states or base < 0:
                    stack.append(([*arcs, a], target, weight + graph.arc_weight[a]))


@pytest.mark.parametrize("words", [["ab"], ["ca", "ab"], ["ab", "ab"], ["<unk>"]])
def test_phone_sequences_and_weights(words):
    _, transitions = mono_model()
    graph = builder().build(words)
    found = {}
    for arcs, weight in arc_paths(graph, 60):
        tids = graph.arc_tid[arcs]
        phones = tuple(phone_segments(tids, np.array([0, len(tids)]), transitions).phone.tolist())
        found[phones] = math.exp(weight)
    expected = phone_sequences(words)
    assert found.keys() == expected.keys()
    assert all(found[p] == pytest.approx(expected[p], rel=1e-5) for p in expected)


def triphone_tree():
    """A tells its left neighbour in state 0 and its right one (or none) in state 2; B and C have one pdf a state."""
    sil, spn = ([Leaf(5 * i + s) for s in range(5)] for i in range(2))
    left = Question(0, frozenset([C]), Leaf(10), Question(0, frozenset([SIL, B, A]), Leaf(11), Leaf(12)))
    right = Question(2, frozenset([B]), Leaf(14), Question(2, frozenset([SIL]), Leaf(15), Leaf(16)))
    b, c = ([Leaf(17 + 3 * i + s) for s in range(3)] for i in range(2))
    roots = {1: by_state(sil), 2: by_state(spn), A: by_state([left, Leaf(13), right]), B: by_state(b), C: by_state(c)}
    return Tree(3, 1, 23, roots)


@pytest.mark.parametrize("words", [["ab"], ["ca", "ab"], ["ab", "ca"], []])
def test_triphone_contexts_reach_over_words_and_stop_at_the_ends(words):
    tree = triphone_tree()
    transitions = TransitionModel.build(TOPOLOGY, tree)
    graph = GraphBuilder(LANG, tree, transitions).build(words)
    expected = set()
    for phones in phone_sequences(words) if words else [(SIL,)]:
        padded = (0, *phones, 0)
        expected.add(
            tuple(
                tree.pdf(padded[i : i + 3], state)
                for i in range(len(phones))
                for state in ([0, 1, 4] if phones[i] in (1, 2) else range(3))
            )
        )
    shortest = {
        tuple(transitions.pdf_of[graph.arc_tid[arcs]].tolist())
        for arcs, _ in arc_paths(graph, 60)
        if not {2, 3, 7, 8} & set(transitions.pdf_of[graph.arc_tid[arcs]].tolist())  # the other inner silence states
    }
    assert shortest == expected


def test_unknown_word_is_refused():
    with pytest.raises(ValueError, match="'dog' has no pronunciation"):
        builder().build(["dog"])


def brute_force(graph, transitions, log_prob, scores):
    """Best score over all state sequences, by dynamic programming over dictionaries in float64."""
    pdf = transitions.tuples[graph.transition_state, 2]
    loop = log_prob[transitions.self_loop_tid[graph.transition_state]].astype(float)
    best = {(s,): w + scores[0, pdf[s]] for s, w in enumerate(graph.start_weight) if np.isfinite(w)}
    for t in range(1, len(scores)):
        longer = {}
        for path, score in best.items():
            s = path[-1]
            steps = [(s, loop[s])]
            for a in range(graph.arc_offsets[s], graph.arc_offsets[s + 1]):
                if graph.arc_target[a] < graph.num_states:
                    steps.append((int(graph.arc_target[a]), graph.arc_weight[a] + log_prob[graph.arc_tid[a]]))
            for target, weight in steps:
                longer[(*path, target)] = score + weight + scores[t, pdf[target]]
        best = longer
    finished = {}
    for path, score in best.items():
        for a in range(graph.arc_offsets[path[-1]], graph.arc_offsets[path[-1] + 1]):
            if graph.arc_target[a] == graph.num_states:
                finished[path] = score + graph.arc_weight[a] + log_prob[graph.arc_tid[a]]
    path = max(finished, key=finished.get)
    return finished[path], pdf[list(path)]


@pytest.mark.parametrize("seed", range(5))
def test_best_path_against_all_paths(seed):
    rng = np.random.default_rng(seed)
    _, transitions = mono_model()
    graph = builder().build(["ab"])
    scores = rng.normal(0, 2, (9, transitions.num_pdfs)).astype(np.float32)
    log_prob = transitions.scaled_log_prob(1.0, 0.1)
    columns = np.arange(transitions.num_pdfs, dtype=np.int32)
    found = best_path(graph, transitions, log_prob, scores, columns, beam=1e9)
    score, pdfs = brute_force(graph, transitions, log_prob, scores)
    assert found.score == pytest.approx(score, abs=1e-4)
    assert transitions.pdf_of[found.tids].tolist() == pdfs.tolist()
    # the ids themselves add up to the score, graph weights aside: leaving and staying are labelled as they were weighed
    acoustic = scores[np.arange(9), pdfs].sum()
    graph_part = score - acoustic - log_prob[found.tids].sum()
    phones = tuple(phone_segments(found.tids, np.array([0, 9]), transitions).phone.tolist())
    assert math.exp(graph_part) == pytest.approx(phone_sequences(["ab"])[phones], rel=1e-3)


def test_too_short_and_narrow_beams_fail():
    _, transitions = mono_model()
    graph = builder().build(["ca", "ca"])  # 12 frames at least
    log_prob = transitions.scaled_log_prob(1.0, 0.1)
    columns = np.arange(transitions.num_pdfs, dtype=np.int32)

    def search(num_frames, beam, scores=None):
        scores = np.zeros((num_frames, transitions.num_pdfs), dtype=np.float32) if scores is None else scores
        return best_path(graph, transitions, log_prob, scores, columns, beam)

    assert search(11, 1e9) is None and search(0, 1e9) is None
    assert search(12, 1e9) is not None
    late = np.zeros((12, transitions.num_pdfs), dtype=np.float32)
    late[0, :5] = 50.0  # silence looks best at first, yet there is no time for it
    assert search(12, 10.0, late) is None and search(12, 60.0, late) is not None
    late[3] = np.nan
    assert search(12, 60.0, late) is None


def test_equal_alignment_shares_frames_out():
    _, transitions = mono_model()
    graph = builder().build(["ca"])
    rng = np.random.default_rng(0)
    for num_frames in (60, 61, 120):
        tids = equal_align(graph, transitions, num_frames, rng)
        assert len(tids) == num_frames
        visits = np.flatnonzero(~transitions.is_self_loop[tids])
        lengths = np.diff(visits, append=num_frames)
        assert visits[0] == 0 and lengths.max() - lengths.min() <= 1
        phones = phone_segments(tids, np.array([0, num_frames]), transitions).phone.tolist()
        assert [p for p in phones if p != SIL] == [C, A]
    assert equal_align(graph, transitions, 5, rng) is None
