"""Pretraining on features of real speech."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from asr_parallel.corpus.audio import read_audio
from asr_parallel.corpus.digit_lists import read_lists
from asr_parallel.corpus.digits import SAMPLING_RATE, join_recordings
from asr_parallel.features.archive import write_archive
from asr_parallel.features.extractors import open_extractor
from asr_parallel.features.frame_writer import make_frames
from asr_parallel.features.frames import FrameStore
from asr_parallel.pretraining.rbm_metrics import Stack
from asr_parallel.pretraining.rbm_options import PretrainOptions
from asr_parallel.pretraining.rbm_trainer import LayerTrainer
from asr_parallel.record.files import write_json

CORPUS = os.environ.get("ASR_PARALLEL_FSDD")
pytestmark = pytest.mark.skipif(
    CORPUS is None, reason="ASR_PARALLEL_FSDD does not name the folder of the digits corpus"
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FrameStore:
    """Some utterances of every training speaker; what their labels are does not matter."""
    assert CORPUS is not None
    feats, out = tmp_path_factory.mktemp("feats"), tmp_path_factory.mktemp("frames")
    utterances = read_lists(Path(CORPUS) / "lists")["train"][::8]
    recordings = Path(CORPUS) / "recordings"
    waves = [join_recordings(u, lambda name: read_audio(recordings / name)) for u in utterances]
    matrices = list(open_extractor("fbank", SAMPLING_RATE)(waves))
    write_archive(feats, [(u.id, u.speaker, matrix) for u, matrix in zip(utterances, matrices, strict=True)])
    write_json(feats / "kind.json", {"kind": "fbank"})
    labels = {u.id: np.zeros(len(matrix), dtype=np.int32) for u, matrix in zip(utterances, matrices, strict=True)}
    make_frames(feats, labels, 1, out)
    return FrameStore.open(out)


@pytest.mark.parametrize("workers", [1, 4])
def test_two_layers_reconstruct_real_features(store: FrameStore, tmp_path: Path, workers: int) -> None:
    options = PretrainOptions(layers=2, hidden_dim=128, epochs=2, workers=workers, period=4, precision="float32")
    first = LayerTrainer(store, options, Stack([]), tmp_path / "1").run(20_000, 10**9)
    LayerTrainer(store, options, Stack([first]), tmp_path / "2").run(20_000, 10**9)
    lines = [[json.loads(line) for line in (tmp_path / n / "train.jsonl").read_text().splitlines()] for n in "12"]
    errors = [[line["reconstruction_error"] for line in layer] for layer in lines]
    assert errors[0][-1] < 0.6  # of a variance of 1
    assert errors[1][-1] < 0.5 * errors[1][0] or errors[1][-1] < 0.05
    gap = lines[0][-1]["free_energy_gap"]
    assert abs(gap) < 0.2 * abs(lines[0][-1]["free_energy_train"])
    assert all(0.01 < layer[-1]["mean_activation"] < 0.99 and not layer[-1]["guard_struck"] for layer in lines)
