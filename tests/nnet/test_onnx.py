"""Networks as ONNX: onnxruntime gives the log-likelihoods of decoding; faults."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from test_export_network import refusal_of, write_folders
from test_kaldi_networks import Negative

from asr_parallel.cli.main import main
from asr_parallel.features.archive import write_archive
from asr_parallel.features.normalisation import Normalisation
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.nnet.architectures.dnn import dnn
from asr_parallel.nnet.architectures.tdnn import TdnnOptions, make_tdnn
from asr_parallel.nnet.choices import NONLINEARITIES
from asr_parallel.nnet.components import Affine, Splice
from asr_parallel.nnet.dnn_acoustic_model import DnnAcousticModel
from asr_parallel.nnet.ensemble_network import save_ensemble
from asr_parallel.nnet.export_onnx import check_onnx
from asr_parallel.nnet.network import Network, log_priors
from asr_parallel.nnet.spec import NetworkSpec
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.record.files import write_json

DIM, NUM_PDFS = 3, 2
SPECS = {name: dnn(DIM, 2, 2, 6, NUM_PDFS, name, pnorm_group=2) for name in NONLINEARITIES}
SPECS["tdnn"] = make_tdnn(TdnnOptions("-2,-1,0,1 -1,3 0", 6), DIM, 4, NUM_PDFS)
NORMALISATIONS = {
    "speaker-mean": Normalisation("fbank", False, (1.0, 0.5, 2.0)),
    "speaker-mean-var": Normalisation("fbank", True, (1.0, 1.0, 1.0)),
    "global-mean": Normalisation("kaldi", False, (1.0, 0.5, 2.0), (0.5, -1.0, 2.0)),
}


def network(spec: NetworkSpec, normalisation: Normalisation) -> Network:
    """Return a network with random parameters and a pdf in three that was never seen."""
    net = StackedNetwork(spec)
    net.parameters.copy_(torch.randn(net.parameters.shape, generator=torch.Generator().manual_seed(0)))
    settings = {"cmvn": "mean"} if normalisation.mean else {"num_filters": DIM}
    config = {"kind": normalisation.kind, "settings": settings, "sample_rates": [8000]}
    return Network(net, log_priors(np.array([1, 3])), normalisation, config)


def export(*words: str | Path) -> int:
    return main(["export-onnx", *map(str, words)])


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("name", SPECS)
def test_onnxruntime_gives_the_log_likelihoods_of_decoding(tmp_path: Path, name: str, normalisation: str) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    made = network(SPECS[name], NORMALISATIONS[normalisation])
    dnn_folder, _ = write_folders(tmp_path, made)
    assert export("--model", dnn_folder, "--out", tmp_path / "onnx") == 0
    random = np.random.default_rng(0)
    feats = tmp_path / "feats"
    feats.mkdir()
    matrices = {f"u{frames}": random.normal(1, 2, (frames, DIM)).astype(np.float32) for frames in (1, 4, 30)}
    write_archive(feats, [(utterance, utterance, matrix) for utterance, matrix in matrices.items()])
    write_json(feats / "kind.json", {"kind": made.normalisation.kind, "settings": made.feature_config["settings"]})
    model = DnnAcousticModel.open(dnn_folder)
    archive = model.open_features(feats)
    session = runtime.InferenceSession(tmp_path / "onnx" / "model.onnx", providers=["CPUExecutionProvider"])
    for u, matrix in enumerate(matrices.values()):
        mean, variance = matrix.mean(axis=0, dtype=np.float64), matrix.var(axis=0, dtype=np.float64)
        if len(matrix) == 1 and normalisation == "speaker-mean-var":
            continue  # no deviation
        values = {"features": matrix, "speaker_mean": mean, "speaker_scale": np.maximum(variance, 1e-20) ** -0.5}
        given = {one.name: values[one.name].astype(np.float32) for one in session.get_inputs()}
        (found,) = session.run(["log_likelihoods"], given)
        np.testing.assert_allclose(found, model.log_likelihoods(archive[u]), rtol=1e-4, atol=1e-4)


def test_metadata_has_what_a_decoder_needs(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    dnn_folder, tri = write_folders(tmp_path, network(SPECS["tdnn"], NORMALISATIONS["speaker-mean-var"]))
    assert export("--model", dnn_folder, "--system", tri, "--out", tmp_path / "onnx") == 0
    session = runtime.InferenceSession(tmp_path / "onnx" / "model.onnx", providers=["CPUExecutionProvider"])
    found = session.get_modelmeta().custom_metadata_map
    pdfs = TransitionModel.open(tri).pdf_of[1:].tolist()
    assert found.pop("pdf_of_transition_id") == " ".join(map(str, pdfs))
    assert json.loads(found.pop("feature_settings")) == {"num_filters": DIM}
    assert found == {
        "model_type": "hybrid-hmm",
        "frame_dim": "3",
        "num_pdfs": "2",
        "left_context": "3",
        "right_context": "4",
        "features": "fbank",
        "sample_rates": "[8000]",
        "inputs": "features speaker_mean speaker_scale",
    }


def test_a_model_of_another_network_is_noticed(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    made = network(SPECS["relu"], NORMALISATIONS["speaker-mean"])
    dnn_folder, _ = write_folders(tmp_path, made)
    assert export("--model", dnn_folder, "--out", tmp_path / "onnx") == 0
    made.net.parameters.mul_(1.01)
    made.save(dnn_folder)
    with pytest.raises(ValueError, match=r"model\.onnx: log-likelihoods differ by .* from those of"):
        check_onnx(tmp_path / "onnx" / "model.onnx", dnn_folder)


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_absent_packages_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    dnn_folder, _ = write_folders(tmp_path, network(SPECS["relu"], NORMALISATIONS["speaker-mean"]))
    if missing == "onnx":
        monkeypatch.setitem(sys.modules, "onnxruntime", sys)  # which is there, and is not asked for anything
    monkeypatch.setitem(sys.modules, missing, None)
    line = refusal_of(capsys, "export-onnx", "--model", dnn_folder, "--out", tmp_path / "onnx")
    assert f"needs the optional package '{missing}': pip install 'asr-parallel[onnx]'" in line


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")

    def refused(made: Network, *more: str | Path) -> str:
        dnn_folder, _ = write_folders(tmp_path, made)
        return refusal_of(capsys, "export-onnx", "--model", dnn_folder, "--out", tmp_path / "onnx", *more)

    plain = NORMALISATIONS["speaker-mean"]
    unknown = NetworkSpec(DIM, 0, (Splice((0,)), Negative(), Affine(NUM_PDFS)))
    assert "component negative: no ONNX operators for it" in refused(network(unknown, plain))
    others = network(dnn(DIM, 0, 1, 4, NUM_PDFS, "relu"), plain)
    assert "no transitions.json" in refused(others, "--system", tmp_path)
    more = network(dnn(DIM, 0, 1, 4, 3, "relu"), plain)
    more = Network(more.net, log_priors(np.ones(3)), plain)
    assert f"a network of 3 pdfs; {tmp_path / 'tri'} has 2" in refused(more, "--system", tmp_path / "tri")
    save_ensemble(tmp_path / "dnn", [0], "posterior", [np.zeros(2, dtype=np.float32)])
    assert "an ensemble; expected a network, such as" in refused(others)
    assert not (tmp_path / "onnx").exists()
