"""Stages run when something they depend on changed, and only then."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from asr_parallel.record import environment as environment_module
from asr_parallel.record.environment import environment
from asr_parallel.record.files import read_json, write_json
from asr_parallel.record.stage import check_inputs_unchanged, fingerprint, original_path, run_stage


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


def test_files_in_linked_folders_count(tmp_path: Path) -> None:
    discs = tmp_path / "discs"
    for folder in (discs, tmp_path / "mnt"):
        folder.mkdir()
    (discs / "disc 1").symlink_to("../mnt")
    (tmp_path / "mnt" / "ring").symlink_to("..")
    (tmp_path / "mnt" / "a.wav").write_bytes(b"sound")
    before = fingerprint(discs)
    (tmp_path / "mnt" / "a.wav").write_bytes(b"noise")
    assert fingerprint(discs) != before


def test_times_and_dot_files_do_not_count_and_contents_do(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "text").write_text("one word")
    before = fingerprint(data)
    (data / ".text.lock").write_text("")
    os.utime(data / "text", (1, 1))
    assert fingerprint(data) == before == fingerprint(shutil.copytree(data, tmp_path / "copy"))
    (data / "text").write_text("two word")
    os.utime(data / "text", (1, 1))
    assert fingerprint(data) != before


def test_a_moved_or_copied_experiment_is_up_to_date_and_unchanged(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "elsewhere" / "new"

    def make(exp: Path, hours: int = 1) -> list[bool]:
        first, second = exp / "feats" / "first", exp / "second"
        return [
            run_stage(first, build_counter([]), number=2, inputs={}, options={"hours": hours}),
            run_stage(second, build_counter([]), number=4, inputs={"features": first}, options={}),
        ]

    assert make(old) == [True, True]
    shutil.copytree(old, new, copy_function=shutil.copyfile)
    assert make(new) == [False, False]
    make(old, hours=2)  # whose stages do not concern the copy
    check_inputs_unchanged(new / "second")
    make(new, hours=3)
    run_stage(new / "feats" / "first", build_counter([]), number=2, inputs={}, options={"hours": 4})
    moved = new.rename(tmp_path / "moved")
    with pytest.raises(ValueError, match=r"moved/second: its features, .*moved/feats/first, have changed since"):
        check_inputs_unchanged(moved / "second")


def test_what_holds_paths_is_made_again_elsewhere_and_what_was_made_of_it_stays(tmp_path: Path) -> None:
    discs, data, feats = tmp_path / "discs", tmp_path / "exp" / "data", tmp_path / "exp" / "feats"
    discs.mkdir()
    (discs / "a.wav").write_bytes(b"sound")

    def make(exp: Path, discs: Path) -> list[bool]:
        data, feats = exp / "data", exp / "feats"
        return [
            run_stage(data, build_counter([]), number=0, inputs={"discs": discs}, options={}, places=[discs]),
            run_stage(feats, build_counter([]), number=2, inputs={"data": data}, options={}),
        ]

    assert make(data.parent, discs) == [True, True]
    mounted = discs.rename(tmp_path / "mounted elsewhere")
    assert make(data.parent, mounted) == [True, False]
    moved = (tmp_path / "exp").rename(tmp_path / "moved")
    assert make(moved, mounted) == [False, False]
    inside = mounted.rename(moved / "discs")
    assert make(moved, inside) == [True, False]
    assert make(moved.rename(feats.parent), feats.parent / "discs") == [False, False]


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


@pytest.mark.parametrize("record", ["{}", "[]", "1", '{"fingerprint": null}', '{"fingerprint": '])
def test_a_damaged_record_is_named(tmp_path: Path, record: str) -> None:
    run_stage(tmp_path / "out", build_counter([]), number=1, inputs={}, options={})
    (tmp_path / "out" / "stage.json").write_text(record)
    for read in (
        lambda: run_stage(tmp_path / "out", build_counter([]), number=1, inputs={}, options={}),
        lambda: run_stage(tmp_path / "next", build_counter([]), number=2, inputs={"out": tmp_path / "out"}, options={}),
        lambda: check_inputs_unchanged(tmp_path / "out"),
    ):
        with pytest.raises(ValueError, match=r"out/stage\.json: "):
            read()
    assert (tmp_path / "out" / "result").is_file()


def test_folders_of_the_version_before_are_made_again(tmp_path: Path) -> None:
    """Their record had the path of each input as it was given, and neither places nor the folder's own path."""
    feats, frames = tmp_path / "feats", tmp_path / "frames"
    feats.mkdir()
    (feats / "result").write_text("1")
    before = {"stage": 2, "options": {}, "seconds": 1.0, "environment": {}}
    write_json(feats / "stage.json", {**before, "fingerprint": "0" * 64, "inputs": {}})
    frames.mkdir()
    inputs = {"features": {"path": str(feats), "fingerprint": "0" * 64}}
    write_json(frames / "stage.json", {**before, "fingerprint": "1" * 64, "inputs": inputs})
    check_inputs_unchanged(frames)
    assert original_path(frames) is None
    assert run_stage(feats, build_counter([]), number=2, inputs={}, options={})
    with pytest.raises(ValueError, match=r"its features, .*feats, have changed since"):
        check_inputs_unchanged(frames)
    assert run_stage(frames, build_counter([]), number=4, inputs={"features": feats}, options={})
    check_inputs_unchanged(frames)


def test_a_machine_without_git_has_a_record_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(environment_module, "git_revision", environment_module.git_revision.__wrapped__)
    assert environment()["revision"] is None
