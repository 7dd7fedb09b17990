"""Mixtures: likelihoods against direct evaluation, EM against its formulas, growth by hand."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import norm

from asr_parallel.features.archive import FeatureArchive
from asr_parallel.hmm.em import AlignmentResult, FramesOfPdfs
from asr_parallel.hmm.gmm import DiagGmmSet
from asr_parallel.hmm.gmm_update import GmmStats, split_gmm, split_targets, update_gmm
from asr_parallel.hmm.topology import Topology
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.hmm.tree import monophone_tree

SIZES = [2, 1, 3]


@pytest.fixture
def gmm():
    rng = np.random.default_rng(1)
    offsets = np.concatenate([[0], np.cumsum(SIZES)])
    weights = np.concatenate([rng.dirichlet(np.full(n, 3.0)) for n in SIZES])
    tensors = (weights, rng.normal(0, 2, (6, 4)), rng.uniform(0.5, 2.0, (6, 4)))
    return DiagGmmSet(*(torch.from_numpy(v.astype(np.float32)) for v in tensors), offsets)


def component_scores(gmm, x):
    """log(weight * density) in float64, (T, G)."""
    w, m, v = (t.double().numpy() for t in (gmm.weights, gmm.means, gmm.variances))
    return np.log(w) + norm.logpdf(x[:, None, :], m, np.sqrt(v)).sum(-1)


def by_pdf(gmm, scores):
    return np.stack(
        [logsumexp(scores[:, a:b], axis=1) for a, b in zip(gmm.offsets[:-1], gmm.offsets[1:], strict=True)], axis=1
    )


@pytest.mark.parametrize("num_frames", [0, 1, 700])
def test_log_likelihoods_directly(gmm, num_frames):
    x = np.random.default_rng(2).normal(0, 4, (num_frames, 4)).astype(np.float32)
    expected = by_pdf(gmm, component_scores(gmm, x.astype(np.float64)))
    found = gmm.log_likelihoods(x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    # a product with fewer columns may round differently, depending on the BLAS and its threads
    np.testing.assert_allclose(gmm.log_likelihoods(x, [2, 0]), found[:, [2, 0]], rtol=1e-5, atol=1e-4)


def test_wrong_dimension(gmm):
    with pytest.raises(ValueError, match="4 dimensions"):
        gmm.log_likelihoods(np.zeros((5, 3), dtype=np.float32))


def frames_of(gmm, x, pdfs):
    """An archive of one utterance whose frames belong to the given pdfs."""
    topology = Topology.of_phones([], [1], num_nonsilence_states=gmm.num_pdfs)
    transitions = TransitionModel.build(topology, monophone_tree(topology))
    archive = FeatureArchive(["u"], ["s"], np.array([0, len(x)]), x)
    return FramesOfPdfs(archive, [0], AlignmentResult([transitions.self_loop_tid[pdfs]], 0), transitions)


def test_em_step_by_formulas(gmm):
    rng = np.random.default_rng(3)
    x = rng.normal(0, 3, (5000, 4)).astype(np.float32)
    pdfs = rng.integers(0, 3, len(x))
    scores = component_scores(gmm, x.astype(np.float64))
    totals = by_pdf(gmm, scores)[np.arange(len(x)), pdfs]
    gamma = np.where(gmm.pdf_of_gauss == pdfs[:, None], np.exp(scores - totals[:, None]), 0.0)
    occupancy = gamma.sum(0)
    means = gamma.T @ x / occupancy[:, None]
    variances = gamma.T @ x.astype(np.float64) ** 2 / occupancy[:, None] - means**2

    stats = frames_of(gmm, x, pdfs).accumulate(gmm, jobs=2)
    updated = update_gmm(gmm, stats)
    assert stats.frames == 5000
    assert stats.log_likelihood == pytest.approx(totals.sum(), rel=1e-6)
    np.testing.assert_allclose(stats.occupancy, occupancy, rtol=1e-4)
    np.testing.assert_allclose(updated.means, means, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(updated.variances, variances, rtol=1e-3)
    np.testing.assert_allclose(updated.weights, occupancy / np.bincount(pdfs)[gmm.pdf_of_gauss], rtol=1e-4)


def test_likelihood_never_falls(gmm):
    rng = np.random.default_rng(4)
    x = (rng.normal(0, 1, (3000, 4)) + 5 * rng.integers(0, 3, (3000, 1))).astype(np.float32)
    frames = frames_of(gmm, x, rng.integers(0, 3, len(x)))
    likelihoods = []
    for _ in range(8):
        stats = frames.accumulate(gmm, jobs=1)
        likelihoods.append(stats.log_likelihood / stats.frames)
        gmm = update_gmm(gmm, stats)
    assert (np.diff(likelihoods) > -1e-5).all() and likelihoods[-1] > likelihoods[0] + 0.1


def test_starved_components_go(gmm):
    stats = GmmStats.zeros(gmm)
    stats.occupancy[:] = [100, 9, 3, 1, 4, 2]  # pdf 0 loses its second, pdfs 1 and 2 keep their fullest as it was
    stats.second[:] = 200
    updated = update_gmm(gmm, stats)
    assert updated.offsets.tolist() == [0, 1, 2, 3] and updated.weights.tolist() == [1, 1, 1]
    assert torch.equal(updated.means[1:], gmm.means[[2, 4]])
    assert updated.variances[0].tolist() == [2, 2, 2, 2]


def test_variance_floor(gmm):
    stats = GmmStats.zeros(gmm)
    stats.occupancy[:] = 1000
    assert (update_gmm(gmm, stats).variances == 0.001).all()


def test_split_targets_by_hand():
    # occupancy^0.25 / components: 9 4.5 3 2.25 ... against 4 2 ...
    assert split_targets(np.array([6561.0, 256.0]), 4).tolist() == [3, 1]
    assert split_targets(np.array([6561.0, 256.0]), 5).tolist() == [3, 2]
    assert split_targets(np.array([6561.0, 256.0]), 6).tolist() == [4, 2]
    assert split_targets(np.array([10000.0, 1.0]), 8).tolist() == [7, 1]  # one frame supports no second Gaussian
    assert split_targets(np.array([61.0, 0.0]), 100).tolist() == [3, 1]  # 20 frames a Gaussian at least
    assert split_targets(np.array([50.0, 50.0]), 2).tolist() == [1, 1]


def test_splitting_keeps_weight_and_mean(gmm):
    occupancy = np.array([5000.0, 0.0, 5000.0])
    grown = split_gmm(gmm, occupancy, 12, np.random.default_rng(0))
    assert np.diff(grown.offsets).tolist() == [6, 1, 5]
    for pdf in range(3):
        old, new = slice(*gmm.offsets[pdf : pdf + 2]), slice(*grown.offsets[pdf : pdf + 2])
        assert grown.weights[new].sum() == pytest.approx(1.0)
        torch.testing.assert_close(
            grown.weights[new] @ grown.means[new], gmm.weights[old] @ gmm.means[old], rtol=1e-4, atol=1e-4
        )
    heaviest = int(gmm.weights[:2].argmax())
    moved = (grown.means[heaviest] - gmm.means[heaviest]).abs() / gmm.variances[heaviest].sqrt()
    assert 0 < moved.max() < 0.1
    again = split_gmm(gmm, occupancy, 12, np.random.default_rng(0))
    assert torch.equal(again.means, grown.means)


def test_round_trip(gmm, tmp_path):
    gmm.save(tmp_path)
    again = DiagGmmSet.open(tmp_path)
    for name in ("weights", "means", "variances"):
        assert torch.equal(getattr(again, name), getattr(gmm, name))
    assert np.array_equal(again.offsets, gmm.offsets)
    with pytest.raises(ValueError, match=r"gmm\.safetensors"):
        DiagGmmSet.open(tmp_path / "elsewhere")


def test_a_damaged_file_is_one_line(gmm, tmp_path):
    gmm.save(tmp_path)
    content = (tmp_path / "gmm.safetensors").read_bytes()
    (tmp_path / "gmm.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"gmm\.safetensors: damaged"):
        DiagGmmSet.open(tmp_path)
