"""Export of a network as an ONNX model, checked by onnxruntime."""

import json
from pathlib import Path

import numpy as np

from asr_parallel.features.cmvn import CmvnStats
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.nnet.dnn_acoustic_model import DnnAcousticModel
from asr_parallel.nnet.ensemble_network import ENSEMBLE_FILE
from asr_parallel.nnet.network import NEVER_CHOSEN, Network
from asr_parallel.nnet.onnx_graph import FEATURES, OUTPUT, SPEAKER_MEAN, SPEAKER_SCALE, input_names, onnx_model
from asr_parallel.record.files import atomic_file
from asr_parallel.record.log import logger
from asr_parallel.record.optional import require

MODEL = "model.onnx"
CHECKED_FRAMES = (1, 50)  # of two made-up utterances
TOLERANCE = 1e-3  # of log-likelihoods, in nats: float32 sums in another order


def export_onnx(source: Path, folder: Path, system: Path | None) -> None:
    """Write model.onnx of the network in `source` into `folder`.

    Args:
        source: folder of a network.
        folder: where to write.
        system: folder of the transition model, whose ids the metadata then map to pdfs.

    Raises:
        ValueError: onnx or onnxruntime are not installed, no network, another system, or outputs that differ.
    """
    require("onnxruntime", "onnx", "checking an exported network")
    if (source / ENSEMBLE_FILE).is_file():
        raise ValueError(f"{source}: an ensemble; expected a network, such as {source / '0'}")
    network = Network.open(source)
    try:
        model = onnx_model(network, _metadata(network, system))
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    with atomic_file(folder / MODEL) as temp:
        temp.write_bytes(model.SerializeToString())
    difference = check_onnx(folder / MODEL, source)
    logger.info("%s: onnxruntime's log-likelihoods differ by %.2g at most", MODEL, difference)


def _metadata(network: Network, system: Path | None) -> dict[str, str]:
    """Return what a decoder needs to know."""
    config = network.feature_config
    found = {
        "model_type": "hybrid-hmm",
        "frame_dim": str(network.spec.frame_dim),
        "num_pdfs": str(network.spec.num_pdfs),
        "left_context": str(network.spec.left_context),
        "right_context": str(network.spec.right_context),
        "features": network.normalisation.kind,
        "feature_settings": json.dumps(config.get("settings", {}), sort_keys=True),
        "sample_rates": json.dumps(config.get("sample_rates", [])),
        "inputs": " ".join(input_names(network)),
    }
    if system is not None:
        transitions = TransitionModel.open(system)
        if transitions.num_pdfs != network.spec.num_pdfs:
            raise ValueError(f"a network of {network.spec.num_pdfs} pdfs; {system} has {transitions.num_pdfs}")
        found["pdf_of_transition_id"] = " ".join(map(str, transitions.pdf_of[1:].tolist()))
    return found


def check_onnx(path: Path, source: Path) -> float:
    """Run a model by onnxruntime on made-up frames, and the network in `source`; return the largest difference.

    Raises:
        ValueError: it exceeds the tolerance.
    """
    session = require("onnxruntime", "onnx", "checking an exported network").InferenceSession(
        path, providers=["CPUExecutionProvider"]
    )
    model = DnnAcousticModel.open(source)
    normalisation, dim = model.network.normalisation, model.network.spec.frame_dim
    allowed = model.log_prior < NEVER_CHOSEN
    random, largest = np.random.default_rng(0), 0.0
    for frames in CHECKED_FRAMES:
        features = random.normal(size=(frames, dim)).astype(np.float32)
        stats = CmvnStats(["x"], np.array([10.0]), random.normal(size=(1, dim)), 10 + random.random((1, dim)))
        shift, scale = (row[0] for row in stats.shift_and_scale(normalisation.norm_vars))
        values = {FEATURES: features, SPEAKER_MEAN: -shift / scale, SPEAKER_SCALE: scale}
        if normalisation.mean is not None:
            shift, scale = -np.array(normalisation.mean, dtype=np.float32), np.float32(1)
        expected = model.log_likelihoods((features * scale + shift) * np.array(normalisation.scale, dtype=np.float32))
        (found,) = session.run([OUTPUT], {name: values[name] for name in input_names(model.network)})
        largest = max(largest, float(np.abs(found - expected)[:, allowed].max()))
    if not largest <= TOLERANCE:
        raise ValueError(f"{path}: log-likelihoods differ by {largest:.3g} from those of {source}")
    return largest
