"""The value that a report is made from: to JSON and back, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import made_up
import numpy as np
import pytest

from asr_parallel.report.comparison import Cell, Comparison, Evaluation, WordErrors


@pytest.mark.parametrize("make", [made_up.comparison, made_up.bare, made_up.hostile])
def test_json_and_back(make, tmp_path: Path) -> None:
    comparison = make()
    comparison.save(tmp_path / "comparison.json")
    assert Comparison.open(tmp_path / "comparison.json") == comparison


def test_what_is_not_known_may_be_left_out(tmp_path: Path) -> None:
    cell = {"name": "a", "algorithm": "average", "workers": 2, "optimizer": "sgd", "seed": 1, "status": "missing"}
    value = {"title": "t", "corpus": "c", "created": "", "cells": [cell]}
    (tmp_path / "c.json").write_text(json.dumps(value))
    assert Comparison.open(tmp_path / "c.json").cells == (Cell("a", "average", 2, "sgd", 1, "missing"),)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"workers": 0}, "cells[0]: cell 'a': 0 workers: expected at least 1"),
        ({"status": "over"}, "cells[0].status: Invalid enum value 'over'"),
        ({"name": ""}, "cells[0]: a cell without a name"),
        ({"efficiency": 0}, "cells[0]: cell 'a': efficiency 0.0: expected above 0"),
        ({"speedup_loss": "2"}, "cells[0].speedup_loss: Expected `float | null`, got `str`"),
        ({"colour": 1}, "cells[0]: unknown key 'colour'"),
        ({"measured": {"compute": 1, "computing": 2}}, "cells[0].measured: unknown key 'computing'"),
        (
            {"learning_curve": [{"frames": 2}, {"frames": 1}]},
            "cells[0]: cell 'a': expected a learning_curve in the order of frames",
        ),
        ({"wer": {"eval": {"words": 0}}}, "cells[0].wer[...]: Object missing required field `wer`"),
    ],
)
def test_a_file_that_does_not_fit(changed: dict, message: str, tmp_path: Path) -> None:
    cell = {"name": "a", "algorithm": "average", "workers": 2, "optimizer": "sgd", "seed": 1, "status": "done"}
    path = tmp_path / "comparison.json"
    path.write_text(json.dumps({"title": "", "corpus": "", "created": "", "cells": [cell | changed]}))
    with pytest.raises(ValueError) as error:
        Comparison.open(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
    assert message in str(error.value)


def test_values_that_contradict_themselves() -> None:
    cell = made_up.bare().cells[0]
    with pytest.raises(ValueError, match="2 cells are called 'a'"):
        Comparison("", "", "", (cell, cell))
    with pytest.raises(ValueError, match="without cells"):
        Comparison("", "", "", ())
    with pytest.raises(ValueError, match="margin 0: expected above 0"):
        Comparison("", "", "", (cell,), margin=0)
    with pytest.raises(ValueError, match="expected low <= high"):
        WordErrors(10, 10.0, 1, 0, 0, 12.0, 8.0)
    with pytest.raises(ValueError, match="p value"):
        WordErrors(10, 10.0, 1, 0, 0, p_value=1.5)
    with pytest.raises(ValueError, match="below 0"):
        WordErrors(10, 10.0, -1, 1, 1)


def test_values_of_another_kind_are_not_written(tmp_path: Path) -> None:
    bare = made_up.bare()
    wrong = replace(bare.cells[0], learning_curve=(Evaluation(np.int64(3)),))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"cells\[0\]\.learning_curve\[0\]\.frames: Expected `int`, got `numpy.int64`"):
        replace(bare, cells=(wrong,)).save(tmp_path / "comparison.json")
    assert not list(tmp_path.iterdir())
