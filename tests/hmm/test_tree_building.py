"""Statistics, questions and the tree, on data with a known structure."""

import numpy as np
import pytest
from toy_hmm import LANG, SIL, SPN, TOPOLOGY, A, B, C, draw_utterances, mono_model

from asr_parallel.hmm.convert import convert_alignment
from asr_parallel.hmm.equal_align import equal_align
from asr_parallel.hmm.questions import automatic_questions
from asr_parallel.hmm.segments import phone_segments
from asr_parallel.hmm.training_graph import GraphBuilder
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.hmm.tree import HMM_STATE, Question
from asr_parallel.hmm.tree_build import build_tree
from asr_parallel.hmm.tree_stats import TreeStats, log_likelihood, mean_and_variance
from asr_parallel.hmm.tri import leaf_gmm


@pytest.fixture(scope="module")
def aligned():
    """Utterances with some alignment of them, complete and valid if not good."""
    data, _ = draw_utterances(30)
    tree, transitions = mono_model()
    rng = np.random.default_rng(0)
    graphs = data.graphs(GraphBuilder(LANG, tree, transitions))
    tids = [equal_align(g, transitions, n, rng) for g, n in zip(graphs, data.num_frames.tolist(), strict=True)]
    return data, transitions, tids


def test_statistics_directly(aligned):
    data, transitions, tids = aligned
    stats = TreeStats.accumulate(data.archive, data.utterances, tids, transitions, LANG.silence_phones)
    assert stats.moments[:, 0].sum() == len(data.archive.frames)
    expected = {}
    for u, ids in zip(data.utterances, tids, strict=True):
        segments = phone_segments(ids, np.array([0, len(ids)]), transitions)
        for left, phone, right, start, n in zip(
            segments.left, segments.phone, segments.right, segments.start, segments.num_frames, strict=True
        ):
            for t in range(start, start + n):
                context = (0, phone, 0) if phone in (SIL, SPN) else (left, phone, right)
                x = data.archive[u][t].astype(np.float64)
                key = (*map(int, context), int(transitions.hmm_state_of[ids[t]]))
                expected[key] = expected.get(key, 0) + np.concatenate([[1.0], x, x * x])
    keys = [(*c, s) for c, s in zip(stats.contexts.tolist(), stats.hmm_states.tolist(), strict=True)]
    assert sorted(keys) == sorted(expected)
    np.testing.assert_allclose(stats.moments, [expected[k] for k in keys], rtol=1e-9)


def test_likelihood_of_a_gaussian():
    x = np.array([[0.0], [2.0], [4.0]])
    moments = np.array([3.0, x.sum(), (x**2).sum()])
    variance = x.var()
    direct = (-0.5 * (np.log(2 * np.pi * variance) + (x - 2) ** 2 / variance)).sum()
    assert log_likelihood(moments) == pytest.approx(direct)
    assert log_likelihood(np.zeros(3)) == 0.0


def planted(num_frames=400, gap=6.0):
    """State 1 of phone A differs by `gap` after C; nothing else in the world depends on context."""
    rng = np.random.default_rng(0)
    contexts, states, moments = [], [], []
    centres = {phone: rng.normal(0, 20, 2) for phone in (SIL, A, B, C)}
    for phone in (SIL, A, B, C):
        neighbours = (
            [(0, 0)] if phone == SIL else [(left, right) for left in (0, SIL, B, C) for right in (0, SIL, A, B)]
        )
        for left, right in neighbours:
            for state in range(TOPOLOGY.num_states(phone)):
                x = rng.normal(centres[phone] + [0, 5 * state], 1.0, (num_frames, 2))
                x[:, 0] += gap if (phone, state, left) == (A, 1, C) else 0.0
                contexts.append((left, phone, right))
                states.append(state)
                moments.append(np.concatenate([[num_frames], x.sum(0), (x**2).sum(0)]))
    return TreeStats(np.array(contexts), np.array(states), np.array(moments))


def test_questions_are_nested_sets():
    questions = automatic_questions(planted())
    assert questions[0] == {SIL, A, B, C} and len(questions) == 7  # a binary tree over four phones
    assert all(frozenset([phone]) in questions for phone in (SIL, A, B, C))
    for one in questions:
        assert all(one <= other or other <= one or not one & other for other in questions)


def test_similar_phones_are_asked_about_together():
    rng = np.random.default_rng(0)
    centres = {1: 0.0, 2: 0.5, 3: 10.0, 4: 10.5, 5: 30.0}
    x = {phone: rng.normal(c, 1.0, (500, 2)) for phone, c in centres.items()}
    moments = np.array([np.concatenate([[500], v.sum(0), (v**2).sum(0)]) for v in x.values()])
    stats = TreeStats(np.array([(0, phone, 0) for phone in x]), np.ones(5, dtype=int), moments)
    questions = automatic_questions(stats)
    assert {frozenset([1, 2]), frozenset([3, 4]), frozenset([1, 2, 3, 4])} <= set(questions)


def test_planted_question_is_found():
    stats = planted()
    tree = build_tree(stats, automatic_questions(stats), TOPOLOGY, LANG.silence_phones, max_leaves=100)
    assert tree.num_pdfs == 10 + 4 + 3 + 3  # silences' states, A's three and one more, B's and C's
    for left in (0, SIL, A, B, C):
        for right in (0, SIL, B):
            assert (tree.pdf((left, A, right), 1) == tree.pdf((C, A, 0), 1)) == (left == C)
            assert tree.pdf((left, A, right), 0) == tree.pdf((0, A, 0), 0)
            assert tree.pdf((left, B, right), 2) == tree.pdf((0, B, 0), 2)
            assert tree.pdf((left, SIL, right), 3) == tree.pdf((0, SIL, 0), 3)
    assert sorted({tree.pdf((0, p, 0), s) for p in (SIL, SPN) for s in range(5)}) == list(range(10))


def test_leaves_are_limited_and_the_best_split_comes_first():
    stats = planted(gap=0.0)
    roots = 10 + 3
    few = build_tree(stats, automatic_questions(stats), TOPOLOGY, LANG.silence_phones, max_leaves=roots + 1)
    assert few.num_pdfs == roots + 1
    split = [phone for phone in (A, B, C) if isinstance(few.roots[phone], Question)]
    assert len(split) == 1 and few.roots[split[0]].key == HMM_STATE
    none = build_tree(stats, automatic_questions(stats), TOPOLOGY, LANG.silence_phones, max_leaves=1)
    assert none.num_pdfs == roots
    assert few == build_tree(stats, automatic_questions(stats), TOPOLOGY, LANG.silence_phones, max_leaves=roots + 1)


def test_nothing_to_build_from():
    empty = TreeStats(np.empty((0, 3), dtype=int), np.empty(0, dtype=int), np.empty((0, 5)))
    with pytest.raises(ValueError, match="nothing to build"):
        build_tree(empty, [], TOPOLOGY, LANG.silence_phones, 10)


def test_converted_alignments_keep_states_and_follow_the_tree(aligned):
    _, old, tids = aligned
    stats = planted()
    tree = build_tree(stats, automatic_questions(stats), TOPOLOGY, LANG.silence_phones, max_leaves=100)
    new = TransitionModel.build(TOPOLOGY, tree)
    offsets = np.cumsum([0, *(len(t) for t in tids)])
    joined = np.concatenate(tids)
    converted = convert_alignment(joined, offsets, old, new, tree)
    for name in ("phone_of", "hmm_state_of", "next_hmm_state_of", "is_self_loop", "is_final"):
        assert np.array_equal(getattr(new, name)[converted], getattr(old, name)[joined])
    segments = phone_segments(converted, offsets, new)
    for i, start in enumerate(segments.start):
        context = (segments.left[i], segments.phone[i], segments.right[i])
        frames = converted[start : start + segments.num_frames[i]]
        assert [tree.pdf(context, s) for s in new.hmm_state_of[frames]] == new.pdf_of[frames].tolist()
    mono, back = mono_model()
    assert np.array_equal(convert_alignment(converted, offsets, new, back, mono), joined)
    assert set(segments.left[np.isin(segments.start, offsets)].tolist()) == {0}


def test_a_leaf_without_data_gets_the_gaussian_of_its_phone_or_else_of_all_data():
    """As when no frame is aligned to a middle state of silence: it is not to compete with speech."""
    tree, transitions = mono_model()
    own = np.stack([np.ones(tree.num_pdfs), np.arange(tree.num_pdfs), np.arange(tree.num_pdfs) ** 2 + 1.0], axis=1)
    phone_of = dict(transitions.tuples[:, [2, 0]].tolist())
    sil = [pdf for pdf, phone in phone_of.items() if phone == SIL]
    unseen = [pdf for pdf, phone in phone_of.items() if phone == C]
    own[[sil[0], sil[2], *unseen]] = 0.0
    own[sil[1:2]] *= 3.0
    gmm = leaf_gmm(own, transitions)
    means, variances = mean_and_variance(np.stack([own[sil].sum(0), own.sum(0)]))
    given = own[:, 0] > 0
    assert np.allclose(gmm.means.numpy()[given], own[given, 1:2] / own[given, :1])
    assert np.allclose(gmm.means.numpy()[[sil[0], sil[2]]], means[0])
    assert np.allclose(gmm.variances.numpy()[[sil[0], sil[2]]], variances[0])
    assert np.allclose(gmm.means.numpy()[unseen], means[1]) and np.allclose(gmm.variances.numpy()[unseen], variances[1])
