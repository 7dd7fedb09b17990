"""Description of features: written by stage 2, stored in the frame store and the network, checked in decoding.

kind.json of a feature archive has the kind of features and, from stage 2, its settings and the sampling rates of the
audio. Kaldi's features are of the kind "kaldi", and their settings say how cmvn.scp was applied. The feature_config of
a network has these and

    dim           dimension of one frame
    options       the options of the stage that made the training features; {} without a stage
    fingerprint   of the archive of training features
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asr_parallel.features.archive import FeatureArchive
from asr_parallel.record.files import read_json, write_json
from asr_parallel.record.stage import RECORD, fingerprint

KIND_FILE = "kind.json"


def read_kind(folder: Path) -> dict[str, Any]:
    """Return kind.json of the feature archive `folder`: {"kind", and from stage 2 "settings" and "sample_rates" (Hz)}.

    Raises:
        ValueError: no such file, or one without a kind.
    """
    if not (folder / KIND_FILE).is_file():
        raise ValueError(f"{folder}: no {KIND_FILE}; expected features made by stage 2")
    described = read_json(folder / KIND_FILE)
    if not isinstance(described, dict) or not isinstance(described.get("kind"), str):
        raise ValueError(f"{folder / KIND_FILE}: does not name the kind of features")
    return described


def feature_config(folder: Path, archive: FeatureArchive) -> dict[str, Any]:
    """Return the feature_config of the open archive in `folder`; ValueError if it has no kind."""
    made = read_json(folder / RECORD)["options"] if (folder / RECORD).is_file() else {}
    return {**read_kind(folder), "dim": archive.dim, "options": made, "fingerprint": fingerprint(folder)}


def is_normalised(folder: Path) -> bool:
    """Tell whether the features of the archive `folder` were normalised before it was made (imported ones may be)."""
    return cmvn_of(read_kind(folder)) != "none"


def cmvn_of(config: Mapping[str, Any]) -> str:
    """Return how cmvn.scp normalised Kaldi's features before they were imported: none, mean or mean-var.

    Args:
        config: contents of kind.json, or the feature_config.
    """
    found: str = config.get("settings", {}).get("cmvn", "none")
    return found


def copy_kind(feats: Path, folder: Path) -> None:
    """Copy kind.json of the archive `feats`, if it has one, to the folder of a model trained on it."""
    if (feats / KIND_FILE).is_file():
        write_json(folder / KIND_FILE, read_kind(feats))


def check_features(trained_on: dict[str, Any], folder: Path) -> None:
    """Check that the archive `folder` has the features that a model was trained on.

    Backends and perturbed copies may differ. The kind, its settings and the sampling rates may not: mel filters extend
    to half the sampling rate. Entries that one side lacks are not compared.

    Raises:
        ValueError: the features differ, or are not from stage 2.
    """
    here = read_kind(folder)
    for key in ("kind", "settings", "sample_rates"):
        if key not in here or key not in trained_on:
            continue
        rates = key == "sample_rates"
        if not set(here[key]) <= set(trained_on[key]) if rates else here[key] != trained_on[key]:
            raise ValueError(f"{folder}: features with {key} {here[key]}; the model was trained on {trained_on[key]}")
