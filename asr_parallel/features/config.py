"""The settings of features: written by stage 2, kept by the frame store and the network, checked when decoding.

kind.json of a feature archive names the kind of features; archives of stage 2 also tell its settings and the sampling
rates of the audio. A network's feature_config is that and

    dim           dimensions of one frame
    options       the options of the stage that made the training features; {} when no stage has made them
    fingerprint   of the archive of training features
"""

from pathlib import Path
from typing import Any

from asr_parallel.features.archive import FeatureArchive
from asr_parallel.record.files import read_json, write_json
from asr_parallel.record.stage import RECORD, fingerprint

KIND_FILE = "kind.json"


def read_kind(folder: Path) -> dict[str, Any]:
    """Return kind.json of the feature archive `folder`: {"kind", and from stage 2 "settings" and "sample_rates" (Hz)}.

    Raises:
        ValueError: there is none, or it does not name a kind.
    """
    if not (folder / KIND_FILE).is_file():
        raise ValueError(f"{folder}: no {KIND_FILE}; expected features made by stage 2")
    described = read_json(folder / KIND_FILE)
    if not isinstance(described, dict) or not isinstance(described.get("kind"), str):
        raise ValueError(f"{folder / KIND_FILE}: does not name the kind of features")
    return described


def feature_config(folder: Path, archive: FeatureArchive) -> dict[str, Any]:
    """Return the settings that the opened archive in `folder` was made with; ValueError when it has no kind."""
    made = read_json(folder / RECORD)["options"] if (folder / RECORD).is_file() else {}
    return {**read_kind(folder), "dim": archive.dim, "options": made, "fingerprint": fingerprint(folder)}


def copy_kind(feats: Path, folder: Path) -> None:
    """Keep kind.json of the archive `feats`, if it has one, in the folder of a model trained on it."""
    if (feats / KIND_FILE).is_file():
        write_json(folder / KIND_FILE, read_kind(feats))


def check_features(trained_on: dict[str, Any], folder: Path) -> None:
    """Refuse the archive `folder` when a model trained on other features is to be used on it.

    Engines and perturbed copies may differ, the kind, its settings and the sampling rates may not: mel filters reach
    up to half the sampling rate. What either side does not tell is not compared.

    Raises:
        ValueError: the features are others, or not from stage 2.
    """
    here = read_kind(folder)
    for key in ("kind", "settings", "sample_rates"):
        if key not in here or key not in trained_on:
            continue
        rates = key == "sample_rates"
        if not set(here[key]) <= set(trained_on[key]) if rates else here[key] != trained_on[key]:
            raise ValueError(f"{folder}: features with {key} {here[key]}; the model was trained on {trained_on[key]}")
