"""The benchmark beside Kaldi's programs: what it does before, between and after them."""

import sys
from pathlib import Path

import numpy as np
import pytest

from asr_parallel.hmm.kaldi.object_reader import ObjectReader
from asr_parallel.nnet.architectures.dnn import dnn
from asr_parallel.nnet.kaldi.nnet3_reader import read_nnet3
from asr_parallel.nnet.kaldi.parts import Linear

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)


def make_program(root: Path, name: str, script: str) -> None:
    path = root / "src" / "bin" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_features_and_posteriors_have_the_same_utterances_and_frames(tmp_path: Path) -> None:
    from kaldi_data import FRAMES, write_features

    write_features(tmp_path, "few", 2, 3)
    keys = [line.split()[0] for line in (tmp_path / "few.scp").read_text().splitlines()]
    lines = [line.split() for line in (tmp_path / "few.post").read_text().splitlines()]
    assert keys == [words[0] for words in lines] == ["u0000", "u0001"]
    for words in lines:
        frames = np.array(words[1:]).reshape(FRAMES, 4)  # [ pdf 1 ]
        assert set(frames[:, 0]) == {"["} and set(frames[:, 2]) == {"1"} and set(frames[:, 1]) == {"0", "1", "2"}


def test_the_exported_network_is_an_untrained_one_of_the_sizes_wanted(tmp_path: Path) -> None:
    from kaldi_data import write_network

    write_network(tmp_path, dnn(40, 5, 1, 8, 3, "relu-renorm"), "nnet3")
    read = read_nnet3(ObjectReader(tmp_path / "final.raw"))
    shapes = [part.weight.shape for part in read.parts if isinstance(part, Linear)]
    assert read.frame_dim == 40 and shapes[-2:] == [(8, 440), (3, 8)]


def test_a_program_is_found_and_what_it_starts_is_counted(tmp_path: Path) -> None:
    from kaldi_programs import Kaldi

    make_program(tmp_path, "works", 'echo "$MKL_NUM_THREADS" > "$1"')
    make_program(tmp_path, "fails", "echo no such file >&2; exit 3")
    kaldi = Kaldi(tmp_path)
    assert kaldi.seconds("works", str(tmp_path / "out")) >= 0
    assert (tmp_path / "out").read_text() == "1\n"
    with pytest.raises(ValueError, match="fails: ended with 3, expected 0: no such file"):
        kaldi.run("fails")
    with pytest.raises(ValueError, match="no program nnet3-of-nobody"):
        kaldi.run("nnet3-of-nobody")


def test_the_cost_of_few_frames_is_taken_off_that_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    from kaldi import of_kaldi
    from kaldi_programs import Kaldi

    monkeypatch.setattr(Kaldi, "seconds", lambda self, name, words: {"few": 1.5, "many": 3.5}[words])
    turn = of_kaldi(Kaldi(Path()), ["train", "few"], ["train", "many"], 100)
    assert turn() == 50.0
    with pytest.raises(ValueError, match="took no time"):
        of_kaldi(Kaldi(Path()), ["train", "many"], ["train", "few"], 100)()


def test_contestants_take_turns_and_ratios_are_those_of_each_turn() -> None:
    from kaldi import rows, speeds

    order: list[str] = []

    def contestant(name: str, values: list[float]):  # type: ignore[no-untyped-def]
        def turn() -> float:
            order.append(name)
            return values.pop(0)

        return turn

    found = speeds({"theirs": contestant("t", [100, 200, 100]), "ours": contestant("o", [150, 600, 200])}, 3)
    assert "".join(order) == "tototo"
    assert rows(found) == ["| theirs | 100 | 1 |", "| ours | 200 | 2.00 (1.50 to 3.00) |"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--only", "nnet2"], "--only nnet2: expected of nnet3"),
        (["--only", "decoding"], "expected --graph, --model and --feats"),
        (["--only", "nnet3"], "no program nnet3-copy"),
    ],
)
def test_a_mistake_is_told_in_a_line(
    words: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import kaldi

    monkeypatch.setattr(sys, "argv", ["kaldi.py", str(tmp_path), *words])
    monkeypatch.setattr("os.sched_setaffinity", lambda *_: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit) as ended:
        kaldi.main()
    message = capsys.readouterr().err
    assert ended.value.code == 2 and expected in message and message.count("\n") == 1
