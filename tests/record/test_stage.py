"""Stages run when something they depend on changed, and only then."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from asr_parallel.record.environment import environment
from asr_parallel.record.files import read_json
from asr_parallel.record.stage import check_inputs_unchanged, fingerprint, run_stage


def build_counter(calls: list[Path]) -> Any:
    def build(folder: Path) -> None:
        calls.append(folder)
        (folder / "result").write_text(str(len(calls)))

    return build


def test_a_stage_runs_once_for_the_same_inputs_and_options(tmp_path: Path) -> None:
    (tmp_path / "input").write_text("a")
    calls: list[Path] = []
    arguments: dict[str, Any] = {"number": 1, "inputs": {"input": tmp_path / "input"}, "options": {"seed": 1}}
    assert run_stage(tmp_path / "out", build_counter(calls), **arguments)
    assert not run_stage(tmp_path / "out", build_counter(calls), **arguments)
    assert len(calls) == 1

    (tmp_path / "input").write_text("b")
    assert run_stage(tmp_path / "out", build_counter(calls), **arguments)
    assert run_stage(tmp_path / "out", build_counter(calls), **(arguments | {"options": {"seed": 2}}))
    assert len(calls) == 3
    record = read_json(tmp_path / "out" / "stage.json")
    assert record["options"] == {"seed": 2} and record["stage"] == 1
    assert record["environment"]["packages"]["torch"]


def test_a_change_travels_down_a_chain_of_stages(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    calls: list[Path] = []
    run_stage(first, build_counter([]), number=0, inputs={}, options={"hours": 1})
    run_stage(second, build_counter(calls), number=1, inputs={"first": first}, options={})
    before = fingerprint(second)
    run_stage(first, build_counter([]), number=0, inputs={}, options={"hours": 2})
    assert run_stage(second, build_counter(calls), number=1, inputs={"first": first}, options={})
    assert fingerprint(second) != before


def test_a_folder_whose_inputs_were_made_anew_is_refused(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    run_stage(first, build_counter([]), number=2, inputs={}, options={"hours": 1})
    run_stage(second, build_counter([]), number=4, inputs={"features": first}, options={})
    check_inputs_unchanged(second)
    run_stage(first, build_counter([]), number=2, inputs={}, options={"hours": 2})
    with pytest.raises(ValueError, match=r"second: its features, .*first, have changed since; run stage 4 again"):
        check_inputs_unchanged(second)
    shutil.rmtree(first)
    check_inputs_unchanged(second)
    check_inputs_unchanged(tmp_path)  # no stage's folder


def test_a_missing_input_is_named_before_anything_is_built(tmp_path: Path) -> None:
    calls: list[Path] = []
    with pytest.raises(ValueError, match="frames: does not exist; run the stage that makes it"):
        run_stage(
            tmp_path / "out",
            build_counter(calls),
            number=6,
            inputs={"frames": tmp_path / "frames"},
            options={},
        )
    assert not calls and not (tmp_path / "out").exists()


def test_a_failing_stage_keeps_the_older_result(tmp_path: Path) -> None:
    run_stage(tmp_path / "out", build_counter([]), number=1, inputs={}, options={"a": 1})

    def fail(folder: Path) -> None:
        (folder / "half").write_text("")
        raise ValueError("bad input")

    with pytest.raises(ValueError, match="bad input"):
        run_stage(tmp_path / "out", fail, number=1, inputs={}, options={"a": 2})
    assert (tmp_path / "out" / "result").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_of_data_is_known_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a").write_text("1")
    before = fingerprint(tmp_path / "data")
    (tmp_path / "data" / "b").write_text("2")
    assert fingerprint(tmp_path / "data") != before


def test_a_folder_that_no_stage_has_made_is_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "photos").mkdir(parents=True)
    with pytest.raises(ValueError, match="no stage has made it"):
        run_stage(out, build_counter([]), number=0, inputs={}, options={})
    assert (out / "photos").is_dir()
    (out / "photos").rmdir()
    assert run_stage(out, build_counter([]), number=0, inputs={}, options={})
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="no stage has made it"):
        run_stage(tmp_path / "file", build_counter([]), number=0, inputs={}, options={})


def test_a_machine_without_git_has_a_record_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert environment()["revision"] is None
