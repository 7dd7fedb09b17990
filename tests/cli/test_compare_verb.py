"""asr-parallel compare: what it refuses before anything is measured, listed or run."""

from pathlib import Path

import pytest

from asr_parallel.cli.main import main


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
@pytest.mark.parametrize(
    ("option", "words", "says"),
    [
        ("decode", "--beem 9", "none_1_ng-sgd_s1: decode: unrecognized arguments: --beem 9"),
        ("decode", "--out elsewhere", "--decode-options --out: the comparison says this itself"),
        ("score", "--lmwt 9", "none_1_ng-sgd_s1: score: unrecognized arguments: --lmwt 9"),
        ("train", "--mask-filter 9", "none_1_ng-sgd_s1: train-dnn: unrecognized arguments: --mask-filter 9"),
        ("train", "--threads 9", "--train-options --threads: the comparison says this itself"),
    ],
)
def test_options_of_verbs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, words: str, says: str, dry: list[str]
) -> None:
    (tmp_path / "compare.yaml").write_text("{workers: [2], algorithms: [average]}")
    folders = ["--exp", str(tmp_path / "exp"), "--out", str(tmp_path / "out")]
    given = ["--matrix", str(tmp_path / "compare.yaml"), f"--{option}-options={words}", *dry]
    assert main(["compare", *folders, *given]) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(said) == 1 and says in said[0]
    assert not (tmp_path / "out").exists()
