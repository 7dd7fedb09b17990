"""Monophone and triphone training on utterances whose truth is known."""

import numpy as np
import pytest
import torch
from toy_hmm import LANG, SIL, A, B, C, draw_utterances

from asr_parallel.features.archive import FeatureArchive
from asr_parallel.hmm import mono, tri
from asr_parallel.hmm.alignment import AlignmentSet
from asr_parallel.hmm.gmm import DiagGmmSet
from asr_parallel.hmm.gmm_training import GmmSchedule
from asr_parallel.hmm.training_set import TrainingSet
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.hmm.tree import Tree
from asr_parallel.hmm.word_times import WordTimes

PLAN = GmmSchedule(num_iters=12, max_iter_inc=8, realign_iters=(1, 2, 3, 4, 6, 8), total_gauss=30)


@pytest.fixture(scope="module")
def world():
    return draw_utterances(60)


@pytest.fixture(scope="module")
def mono_system(world):
    return mono.train_mono(world[0], LANG, PLAN, jobs=1)


def train_tri(data, system, jobs):
    return tri.train_tri(data, LANG, system.transitions, system.alignments, 40, PLAN, jobs=jobs)


@pytest.fixture(scope="module")
def tri_system(world, mono_system):
    return train_tri(world[0], mono_system, jobs=1)


def start_errors(system, data, truth):
    """Frames by which the words' starts miss the truth."""
    finder = WordTimes(LANG, system.transitions)
    errors = []
    for tids, words, expected in zip(system.alignments, data.words, truth, strict=True):
        times = finder.words(tids, [LANG.words[w] for w in words])
        errors += [abs(start - true) for (_, start, _), (_, true) in zip(times, expected, strict=True)]
    return np.array(errors)


@pytest.mark.parametrize("which", ["mono_system", "tri_system"])
def test_words_are_found_where_they_are(which, world, request):
    system = request.getfixturevalue(which)
    assert system.failed == [] and system.alignments.ids == world[0].ids
    errors = start_errors(system, *world)
    assert np.median(errors) <= 1 and np.mean(errors <= 3) > 0.95


def test_the_tree_finds_that_a_depends_on_c(tri_system):
    tree = tri_system.tree
    assert all(tree.pdf((C, A, SIL), state) != tree.pdf((SIL, A, B), state) for state in range(3))
    assert tri_system.gmm.num_pdfs == tree.num_pdfs == tri_system.transitions.num_pdfs


def test_likelihood_rises(mono_system, tri_system):
    ends = []
    for system in (mono_system, tri_system):
        values = [float(line.split("per frame ")[1].split()[0]) for line in system.log if "per frame" in line]
        assert np.diff(values).min() > -0.01  # new alignments weigh acoustics by 0.1: they may lose a little of them
        ends.append((values[0], values[-1]))
    assert ends[0][1] > ends[0][0] + 1.0 and ends[1][1] > ends[0][1]


def same(one, other):
    assert one.tree == other.tree
    for name in ("weights", "means", "variances"):
        assert torch.equal(getattr(one.gmm, name), getattr(other.gmm, name))
    assert np.array_equal(one.transitions.log_prob, other.transitions.log_prob)
    assert np.array_equal(one.alignments.transition_ids, other.alignments.transition_ids)


def test_results_do_not_depend_on_jobs_or_chance(world, mono_system, tri_system):
    again = mono.train_mono(world[0], LANG, PLAN, jobs=3)
    same(again, mono_system)
    same(train_tri(world[0], again, jobs=2), tri_system)


def test_round_trip(tri_system, tmp_path):
    tri_system.save(tmp_path)
    assert Tree.open(tmp_path) == tri_system.tree
    assert torch.equal(DiagGmmSet.open(tmp_path).means, tri_system.gmm.means)
    transitions = TransitionModel.open(tmp_path)
    alignments = AlignmentSet.open(tmp_path / "ali")
    assert alignments.ids == tri_system.alignments.ids
    assert np.array_equal(alignments.pdf_ids(transitions), tri_system.alignments.pdf_ids(tri_system.transitions))
    occs = np.load(tmp_path / "occs.npy")
    assert occs.sum() == alignments.offsets[-1] and len(occs) == transitions.num_pdfs
    assert len((tmp_path / "train.log").read_text().splitlines()) == PLAN.num_iters + 1
    with pytest.raises(ValueError, match="expected alignments made by stage 3"):
        AlignmentSet.open(tmp_path)


def with_texts(data, change):
    """The same features with other transcripts."""
    texts = {name: " ".join(words) for name, words in zip(data.ids, data.words, strict=True)}
    change(texts)
    return TrainingSet.of(data.archive, texts, LANG)


def test_a_few_bad_utterances_are_left_out_and_listed(world):
    def spoil(texts):
        texts["u001"] = " ".join(["ab"] * 60)  # far too long for its frames
        texts["u900"] = "ab"  # no such features
        texts["u002"] = texts["u002"] + " dog"  # not in the lexicon
        texts["u003"] = ""  # nothing to learn from

    data = with_texts(world[0], spoil)
    assert data.words[2][-1] == "<unk>" and "u003" not in data.ids
    system = mono.train_mono(data, LANG, GmmSchedule(4, 2, (1, 2), 20))
    assert {name: reason.partition(" for its")[0] for name, reason in system.failed} == {
        "u003": "its transcript is empty", "u900": "it has no features", "u001": "no path"
    }  # fmt: skip
    assert "u001" not in system.alignments.ids and len(system.alignments) >= 57


def test_too_many_bad_utterances_are_an_error(world):
    def spoil(texts):
        texts.update(dict.fromkeys(texts, " ".join(["ca"] * 60)))

    data = with_texts(world[0], spoil)
    with pytest.raises(ValueError, match=r"alignment: 60 of 60 utterances cannot be used.*the first is u000: no path"):
        mono.train_mono(data, LANG, PLAN)
    with pytest.raises(ValueError, match="it has no features"):
        TrainingSet.of(data.archive, {"x": "ab", "y": "ca"}, LANG)
    empty = FeatureArchive(["u"], ["s"], np.array([0, 0]), np.empty((0, 3), dtype=np.float32))
    with pytest.raises(ValueError, match="it has no features"):
        TrainingSet.of(empty, {"u": "ab"}, LANG)


def test_alignments_must_fit_the_features(world, mono_system):
    cut = AlignmentSet.of(["u000"], [mono_system.alignments[0][:-1]])
    with pytest.raises(ValueError, match="alignment of u000 has"):
        tri.train_tri(world[0], LANG, mono_system.transitions, cut, 40, PLAN)
    strange = AlignmentSet.of(["z"], [mono_system.alignments[0]])
    with pytest.raises(ValueError, match="no utterance of the training data has an alignment"):
        tri.train_tri(world[0], LANG, mono_system.transitions, strange, 40, PLAN)


def test_shortest_utterances_are_chosen(world):
    data = world[0]
    few = data.shortest(1000)
    assert few.num_frames.sum() <= 1000 < few.num_frames.sum() + data.num_frames.max()
    assert few.num_frames.max() <= np.sort(data.num_frames)[len(few)]
    assert few.utterances == sorted(few.utterances)
