"""The mean of networks' outputs: never worse than the networks in the mean, and what the two kinds of mean are."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr_parallel.corpus.audio import read_audio
from asr_parallel.corpus.digit_lists import read_lists
from asr_parallel.corpus.digits import SAMPLING_RATE, join_recordings
from asr_parallel.features.archive import write_archive
from asr_parallel.features.extractors import open_extractor
from asr_parallel.features.frame_writer import make_frames
from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.architectures.dnn import dnn
from asr_parallel.nnet.choices import AVERAGES
from asr_parallel.nnet.outputs import Outputs
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.record.files import write_json
from asr_parallel.training.evaluation import evaluate_workers

MANY = settings(deadline=None, max_examples=150)
CORPUS = os.environ.get("ASR_PARALLEL_FSDD")
EXTREME = [-1e30, -1e4, -90.0, 0.0, 90.0, 1e4, 1e30]


def mean(outputs: Outputs, logits: Tensor) -> Tensor:
    """Of (K, ...) logits."""
    return torch.stack([outputs.of_one(of_one) for of_one in logits]).mean(dim=0)


def losses(outputs: Outputs, logits: Tensor) -> tuple[Tensor, Tensor]:
    """-log p of every pdf: of all together, and the mean of the (K, ...) models."""
    together = -outputs.log_posterior(mean(outputs, logits))
    return together, -torch.log_softmax(logits, dim=-1).mean(dim=0)


def random_logits(seed: int, num_models: int, num_pdfs: int, spread: float, dtype: torch.dtype) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return spread * torch.randn(num_models, 20, num_pdfs, generator=draw, dtype=torch.float64).to(dtype)


@MANY
@given(
    st.integers(0, 10**6), st.integers(1, 9), st.integers(2, 40), st.sampled_from([1e-3, 1.0, 10.0, 60.0, 1e3, 1e6]),
    st.sampled_from(AVERAGES), st.sampled_from([torch.float64, torch.float32]),
)  # fmt: skip
def test_all_together_lose_no_more_than_their_mean(
    seed: int, num_models: int, num_pdfs: int, spread: float, average: str, dtype: torch.dtype
) -> None:
    """L(G) <= mean L(k), whichever pdf is the label; up to rounding errors of the logits' size."""
    logits = random_logits(seed, num_models, num_pdfs, spread, dtype)
    together, alone = losses(Outputs(average), logits)
    assert together.dtype == dtype
    error = 16 * torch.finfo(dtype).eps
    assert (together <= alone + error * (1 + alone.abs() + logits.abs().amax())).all()


@MANY
@given(
    st.lists(st.lists(st.sampled_from(EXTREME), min_size=3, max_size=3), min_size=1, max_size=5),
    st.sampled_from(AVERAGES), st.sampled_from([torch.float64, torch.float32]),
)  # fmt: skip
def test_so_it_is_with_extreme_logits(rows: list[list[float]], average: str, dtype: torch.dtype) -> None:
    together, alone = losses(Outputs(average), torch.tensor(rows, dtype=dtype)[:, None])
    assert together.isfinite().all()
    assert (together <= alone * (1 + 1e-5) + 1e-5).all()


def test_all_together_are_better_where_models_differ() -> None:
    logits = random_logits(0, 4, 10, 3.0, torch.float64)
    for average in AVERAGES:
        together, alone = losses(Outputs(average), logits)
        assert (alone - together).mean() > 0.1
    same = logits[:1].expand(4, -1, -1)
    for average in AVERAGES:
        torch.testing.assert_close(*losses(Outputs(average), same))


@MANY
@given(st.integers(0, 10**6), st.integers(1, 6), st.sampled_from([0.3, 1.0, 4.0]))
def test_the_mean_of_logarithms_is_that_of_logits(seed: int, num_models: int, temperature: float) -> None:
    logits = random_logits(seed, num_models, 7, 5.0, torch.float64)
    outputs = Outputs("log-posterior", temperature)
    want = torch.softmax(logits.mean(dim=0) / temperature, dim=-1)
    torch.testing.assert_close(outputs.posterior(mean(outputs, logits)), want)
    torch.testing.assert_close(outputs.log_posterior(mean(outputs, logits)), want.log())


@MANY
@given(st.integers(0, 10**6), st.sampled_from(AVERAGES), st.sampled_from([0.5, 1.0, 2.0]))
def test_posteriors_are_distributions_also_from_posteriors(seed: int, average: str, temperature: float) -> None:
    logits, outputs = random_logits(seed, 3, 7, 3.0, torch.float64), Outputs(average, temperature)
    together = outputs.posterior(mean(outputs, logits))
    torch.testing.assert_close(together.sum(dim=-1), torch.ones(20, dtype=torch.float64))
    torch.testing.assert_close(outputs.log_posterior(mean(outputs, logits)), together.log())
    each = [outputs.posterior(outputs.of_one(of_one)) for of_one in logits]
    for of_one, posterior in zip(logits, each, strict=True):
        torch.testing.assert_close(posterior, torch.softmax(of_one / temperature, dim=-1))
    again = torch.stack([outputs.of_posterior(posterior) for posterior in each]).mean(dim=0)
    torch.testing.assert_close(outputs.posterior(again), together)


def test_halves_are_averaged_in_single_precision() -> None:
    logits = torch.tensor([[2.0, 1.0, -3.0]], dtype=torch.bfloat16)
    for temperature in (1.0, 3.0):
        got = Outputs(temperature=temperature).of_one(logits)
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, torch.softmax(logits.float() / temperature, dim=-1))


@pytest.mark.parametrize(
    ("average", "temperature", "message"),
    [
        ("mean", 1.0, "unknown ensemble_average 'mean'; expected one of posterior, log-posterior"),
        ("posterior", 0.0, r"temperature 0\.0: expected a number above 0"),
        ("posterior", -1.0, "temperature -1"),
        ("posterior", float("inf"), "temperature inf"),
        ("posterior", float("nan"), "temperature nan"),
    ],
)
def test_out_of_range(average: str, temperature: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Outputs(average, temperature)


@pytest.mark.skipif(CORPUS is None, reason="ASR_PARALLEL_FSDD does not name the folder of the digits corpus")
@pytest.mark.parametrize("average", AVERAGES)
def test_on_real_speech(tmp_path: Path, average: str) -> None:
    """Networks from random numbers of their own, of all sizes of output, as they are evaluated in training."""
    assert CORPUS is not None
    utterances, recordings = read_lists(Path(CORPUS) / "lists")["train"][::50], Path(CORPUS) / "recordings"
    waves = [join_recordings(u, lambda name: read_audio(recordings / name)) for u in utterances]
    matrices = list(open_extractor("fbank", SAMPLING_RATE)(waves))
    feats, out = tmp_path / "feats", tmp_path / "frames"
    for folder in (feats, out):
        folder.mkdir()
    write_archive(feats, [(u.id, u.speaker, matrix) for u, matrix in zip(utterances, matrices, strict=True)])
    write_json(feats / "kind.json", {"kind": "fbank"})
    # Labels that features tell a little of: how loud a frame is among those of its utterance
    labels = {
        u.id: (matrix.mean(axis=1).argsort().argsort() * 12 // len(matrix)).astype(np.int32)
        for u, matrix in zip(utterances, matrices, strict=True)
    }
    make_frames(feats, labels, 12, out)
    store = FrameStore.open(out)
    rows = store.rows_of(np.arange(len(store.ids)))
    spec = dnn(store.dim, store.context, 1, 24, 12, "relu")
    for scale in (1.0, 3.0, 30.0):
        network = StackedNetwork(spec, 4).initialise(1, 2, 3, 4)
        network.layers.weights[-1].normal_(0, scale, generator=torch.Generator().manual_seed(0))
        score = evaluate_workers(network, np.ones(4, dtype=bool), Outputs(average), store, rows, WorkerGroup(4))
        alone = np.mean([of_one.loss for of_one in score.workers])
        assert np.isfinite(alone) and score.ensemble.loss < alone - 0.05 * min(1, scale)
        assert score.best == int(np.argmin([of_one.loss for of_one in score.workers]))
        sound = np.array([True, False, True, False])
        some = evaluate_workers(network, sound, Outputs(average), store, rows, WorkerGroup(4))
        assert [of_one.loss for of_one in some.workers] == [
            of_one.loss if good else np.inf for of_one, good in zip(score.workers, sound, strict=True)
        ]
        assert some.ensemble.loss <= np.mean([some.workers[0].loss, some.workers[2].loss])
        assert some.fields()["workers_loss"][1] is None
