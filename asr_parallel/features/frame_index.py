"""Reader and checks of index.json of a frame store."""

from pathlib import Path
from typing import Any

from asr_parallel.features.normalisation import Normalisation
from asr_parallel.record.files import read_json

TYPES = {"context": int, "num_pdfs": int, "normalisation": dict, "feature_config": dict}
TYPES_OF_EACH = {"ids": str, "speakers": str, "sources": str, "frames": int}  # lists, one entry for each utterance


def read_index(path: Path) -> dict[str, Any]:
    """Read and check the index; its normalisation becomes a Normalisation.

    Raises:
        ValueError: a missing key, or a value of the wrong type or out of range.
    """
    index = read_json(path)
    if not isinstance(index, dict):
        raise ValueError(f"{path}: expected an object with keys, not a {type(index).__name__}")
    for key in (*TYPES, *TYPES_OF_EACH):
        if key not in index:
            raise ValueError(f"{path}: no {key!r}; expected an index made by stage 4")
        kind = TYPES.get(key, list)
        if type(index[key]) is not kind:
            raise ValueError(f"{path}: {key} is a {type(index[key]).__name__}; expected a {kind.__name__}")
    for key, kind in TYPES_OF_EACH.items():
        wrong = [value for value in index[key] if type(value) is not kind]
        if wrong:
            raise ValueError(f"{path}: {key} holds {wrong[0]!r}; expected a list of {kind.__name__}")
    lengths = {key: len(index[key]) for key in TYPES_OF_EACH}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{path}: lists of different lengths: {lengths}")
    if index["context"] < 0 or index["num_pdfs"] < 1 or min(index["frames"], default=0) < 1:
        raise ValueError(f"{path}: context below 0, num_pdfs below 1, no utterance, or one without frames")
    ids = set(index["ids"])
    if len(ids) < len(index["ids"]):
        raise ValueError(f"{path}: an utterance id appears twice")
    lost = next((source for source in index["sources"] if source not in ids), None)
    if lost is not None:
        raise ValueError(f"{path}: {lost}, the source of a copy, is not among the ids")
    config = index["feature_config"]
    if type(config.get("kind")) is not str or type(config.get("dim")) is not int:
        raise ValueError(f"{path}: feature_config does not tell the features' kind and dim")
    try:
        normalisation = Normalisation.from_json(index["normalisation"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: normalisation is not one made by stage 4: {error!r}") from error
    return {**index, "normalisation": normalisation}
