"""Networks that Kaldi's programs made and trained, and the outputs that Kaldi computes with them."""

from pathlib import Path

import numpy as np
import pytest
from kaldi_golden import GOLDEN, matrices

from asr_parallel.cli.main import main
from asr_parallel.features.archive import write_archive
from asr_parallel.nnet.dnn_acoustic_model import DnnAcousticModel
from asr_parallel.record.files import write_json

NETWORKS = {
    "nnet1": "nnet1/final.nnet",
    "nnet1_relu": "nnet1_relu/final.nnet",
    "nnet3": "nnet3/final.mdl",
    "nnet3 as text": "nnet3/text/final.mdl",
}


@pytest.fixture(scope="module")
def feats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fixtures' features, as apply-cmvn has made them."""
    folder = tmp_path_factory.mktemp("feats")
    write_archive(folder, [(key, key[:2], matrix) for key, matrix in matrices("data/mean.ark").items()])
    write_json(folder / "kind.json", {"kind": "kaldi", "settings": {"cmvn": "mean"}})
    return folder


def imported(network: Path, feats: Path, out: Path, *more: str) -> DnnAcousticModel:
    words = ["import-kaldi-network", "--network", str(network), "--feats", str(feats), "--out", str(out), *more]
    assert main(words) == 0
    return DnnAcousticModel.open(out)


@pytest.mark.parametrize("name", NETWORKS)
def test_log_likelihoods_are_kaldis(tmp_path: Path, feats: Path, name: str) -> None:
    model = imported(GOLDEN / NETWORKS[name], feats, tmp_path / "out")
    archive = model.open_features(feats)
    folder = NETWORKS[name].split("/")[0]
    expected, posteriors = matrices(f"{folder}/likes.ark"), matrices(f"{folder}/posteriors.ark")
    assert archive.ids == list(expected)
    for n, key in enumerate(archive.ids):
        found = model.log_likelihoods(archive[n])
        kaldis = expected[key]
        if folder != "nnet3":  # nnet-forward --no-softmax=true leaves out a constant of each frame
            found, kaldis = (of - of.max(axis=1, keepdims=True) for of in (found, kaldis))
        np.testing.assert_allclose(found, kaldis, atol=1e-3)
        log_posteriors = posteriors[key] if folder == "nnet3" else np.log(posteriors[key])
        found = model.log_likelihoods(archive[n]) + model.network.log_prior
        np.testing.assert_allclose(np.exp(found), np.exp(log_posteriors), atol=1e-4)
        np.testing.assert_allclose(found, log_posteriors, atol=1e-3)


def test_a_network_without_priors_takes_counts(tmp_path: Path, feats: Path) -> None:
    counts = ("--class-counts", str(GOLDEN / "nnet1" / "ali_train_pdf.counts"))
    model = imported(GOLDEN / "nnet3" / "final.raw", feats, tmp_path / "out", *counts)
    archive = model.open_features(feats)
    for n, key in enumerate(archive.ids):
        found = model.log_likelihoods(archive[n]) + model.network.log_prior
        np.testing.assert_allclose(found, matrices("nnet3/posteriors.ark")[key], atol=1e-3)
