"""Connected digits: lists, joining, data folders, and bad input."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_parallel.cli.main import main
from asr_parallel.corpus.audio import read_audio
from asr_parallel.corpus.datadir import read_utterances
from asr_parallel.corpus.digit_lists import DigitUtterance, generate_lists, read_lists
from asr_parallel.corpus.digits import TEST_SPEAKERS, find_recordings, join_recordings, prepare_digits
from asr_parallel.corpus.split import leave_speaker_out

Program = Callable[..., tuple[int, str]]
SHIPPED_LISTS = Path(__file__).parents[2] / "recipes" / "digits" / "lists"


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    folder = tmp_path / "lists"
    folder.mkdir()
    for stem, line, text in (
        ("train", "ann-a0 ann 100 1_ann_0.wav 0 2_ann_0.wav 50", "one two"),
        ("dev", "ann-d0 ann 10 3_ann_1.wav 20", "three"),
        ("test", "bob-t0 bob 10 0_bob_1.wav 20", "zero"),
    ):
        (folder / f"{stem}.list").write_text(line + "\n")
        (folder / f"{stem}.text").write_text(f"{line.split()[0]} {text}\n")
    return folder


def test_joining_keeps_recordings_and_fills_pauses_with_noise() -> None:
    utterance = DigitUtterance("u1", "ann", ("1_ann_0.wav", "2_ann_0.wav"), (100, 0, 50))
    sounds = {"1_ann_0.wav": np.full(300, 7.0), "2_ann_0.wav": np.full(200, -9.0)}
    samples = join_recordings(utterance, sounds.__getitem__)
    assert samples.dtype == np.int16 and len(samples) == 800 + 300 + 200 + 400
    np.testing.assert_array_equal(samples[800:1300], [7] * 300 + [-9] * 200)
    pauses = np.concatenate([samples[:800], samples[1300:]])
    assert 4 < pauses.std() < 6
    np.testing.assert_array_equal(samples, join_recordings(utterance, sounds.__getitem__))
    other = DigitUtterance("u2", "ann", utterance.recordings, utterance.gaps_ms)
    assert (join_recordings(other, sounds.__getitem__) != samples).any()


def test_from_lists_to_data_folders(digit_corpus: Path, lists: Path, tmp_path: Path, program: Program) -> None:
    out = tmp_path / "E of $HOME"
    assert program("prepare-digits", "--corpus", digit_corpus, "--lists", lists, "--out", out) == (0, "")
    [utterance] = read_utterances(out / "data" / "train")
    assert (utterance.id, utterance.speaker, utterance.text) == ("ann-a0", "ann", "one two")
    samples = read_audio(utterance.path, utterance.channel, utterance.start, utterance.duration)
    first = read_audio(digit_corpus / "recordings" / "1_ann_0.wav")
    np.testing.assert_array_equal(samples[800 : 800 + len(first)], first)
    assert utterance.path.parent == out / "corpus" / "train"
    assert (out / "data" / "eval" / "text").read_text() == "bob-t0 zero\n"
    assert not any(p.name == "pwned" for p in [*tmp_path.iterdir(), *Path.cwd().iterdir()])


def test_generated_lists_hold_speakers_and_recordings_apart(digit_corpus: Path) -> None:
    names = find_recordings(digit_corpus)
    sets = generate_lists(names, ["bob"], seed=1)
    assert sets == generate_lists(names, ["bob"], seed=1) != generate_lists(names, ["bob"], seed=2)
    used = {name: [r for u in utterances for r in u.recordings] for name, utterances in sets.items()}
    assert {r for r in used["eval"]} == {n for n in names if "_bob_" in n}
    assert sorted(used["train"]) == sorted(3 * [n for n in names if n.endswith("_ann_5.wav")])
    assert not set(used["train"]) & set(used["dev"])
    ids = [u.id for utterances in sets.values() for u in utterances]
    assert len(ids) == len(set(ids))


def test_leaving_a_speaker_out(digit_corpus: Path, lists: Path, tmp_path: Path) -> None:
    with (lists / "train.list").open("a") as file, (lists / "train.text").open("a") as text:
        file.write("bob-a0 bob 10 4_bob_0.wav 10\n")
        text.write("bob-a0 four\n")
    prepare_digits(digit_corpus, lists, tmp_path / "E")
    leave = ["leave-speaker-out", "--data", str(tmp_path / "E" / "data"), "--speaker"]
    assert main([*leave, "bob", "--out", str(tmp_path / "F")]) == 0
    assert [u.id for u in read_utterances(tmp_path / "F" / "train")] == ["ann-a0"]
    assert {u.speaker for u in read_utterances(tmp_path / "F" / "dev")} == {"ann"}
    [left_out] = read_utterances(tmp_path / "F" / "eval")
    assert left_out.id == "bob-a0" and left_out.path.is_file()
    with pytest.raises(ValueError, match="cannot leave out speaker 'eve'; its speakers: ann, bob"):
        leave_speaker_out(tmp_path / "E" / "data", "eve", tmp_path / "G")


def _write(path: Path, rate: int = 8000, channels: int = 1, length: int = 800) -> None:
    soundfile.write(path, np.zeros((length, channels), np.int16), rate)


BAD_AUDIO = {
    "truncated": (lambda p: p.write_bytes(p.read_bytes()[:-100]), "truncated"),
    "unreadable": (lambda p: p.write_bytes(b"not sound at all" * 10), "not a readable sound file"),
    "empty file": (lambda p: p.write_bytes(b""), "empty file"),
    "zero length": (lambda p: _write(p, length=0), "holds no sample"),
    "16 kHz": (lambda p: _write(p, rate=16000), "sampled at 16000 Hz; expected 8000 Hz"),
    "stereo": (lambda p: _write(p, channels=2), "has 2 channel(s); expected 1"),
    "missing": (lambda p: p.unlink(), "cannot be read: No such file"),
}


@pytest.mark.parametrize("kind", BAD_AUDIO)
def test_bad_audio_is_skipped_up_to_a_limit(
    digit_corpus: Path, lists: Path, tmp_path: Path, program: Program, kind: str
) -> None:
    damage, reason = BAD_AUDIO[kind]
    damage(digit_corpus / "recordings" / "2_ann_0.wav")
    for end in (".list", ".text"):  # three utterances, one of them bad
        with (lists / f"train{end}").open("a") as file:
            for n in (1, 2):
                file.write(f"ann-a{n} ann 100 1_ann_{n}.wav 0\n" if end == ".list" else f"ann-a{n} one\n")
    arguments = ("prepare-digits", "--corpus", digit_corpus, "--lists", lists, "--out", tmp_path / "E")
    status, error = program(*arguments)
    assert status == 1
    assert "1 of 3 utterances are bad, more than --max-bad-share 0.05 allows; the first: ann-a0" in error
    assert reason in error and "2_ann_0.wav" in error
    assert not (tmp_path / "E").exists() or not list((tmp_path / "E").iterdir())
    assert program(*arguments, "--max-bad-share", "0.4") == (0, "")
    assert [u.id for u in read_utterances(tmp_path / "E" / "data" / "train")] == ["ann-a1", "ann-a2"]
    [line] = (tmp_path / "E" / "data" / "train" / "dropped.txt").read_text().splitlines()
    assert line.startswith("ann-a0: ") and reason in line


def test_without_a_corpus_it_says_how_to_get_it(tmp_path: Path, program: Program) -> None:
    status, error = program("prepare-digits", "--out", tmp_path / "E")
    assert status == 1 and "Jakobovski/free-spoken-digit-dataset" in error
    status, error = program("prepare-digits", "--corpus", tmp_path / "nowhere", "--out", tmp_path / "E")
    assert status == 1 and "nowhere: no such folder" in error
    status, error = program("prepare-digits", "--corpus", tmp_path, "--out", tmp_path / "E")
    assert status == 1 and "expected recordings/DIGIT_SPEAKER_INDEX.wav in it, found none" in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("train.list", b"ann-a0 ann 100 1_ann_0.wav\n", "line 1: expected 'UTT-ID SPEAKER GAP REC GAP"),
        ("train.list", b"../x ann 1 1_ann_0.wav 1\n", "'../x' is not a plain file name"),
        ("train.list", b"x ann 1 ../1_ann_0.wav 1\n", "'../1_ann_0.wav' is not a plain file name"),
        ("train.list", b"x ann 1 one.wav 1\n", "is not named DIGIT_SPEAKER_INDEX.wav"),
        ("train.list", 2 * b"ann-a0 ann 1 1_ann_0.wav 0 2_ann_0.wav 1\n", "utterance id ann-a0 appears twice"),
        ("train.text", b"ann-a0 one three\n", "line 1: the words of ann-a0 do not fit its list"),
        ("train.text", b"", "no line for utterance ann-a0"),
        ("dev.text", b"ann-d0 thr\xe9\xe9\n", "line 1 is not valid UTF-8"),
    ],
)
def test_bad_lists(
    digit_corpus: Path, lists: Path, tmp_path: Path, program: Program, file: str, content: bytes, message: str
) -> None:
    (lists / file).write_bytes(content)
    status, error = program("prepare-digits", "--corpus", digit_corpus, "--lists", lists, "--out", tmp_path / "E")
    assert status == 1 and message in error and file in error
    assert not (tmp_path / "E").exists()


def test_a_missing_list(lists: Path) -> None:
    (lists / "test.text").unlink()
    with pytest.raises(ValueError, match=r"no test.text; expected lists"):
        read_lists(lists)


FULL_DISK = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
from asr_parallel.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
KILLED = """
import os, signal, sys
import asr_parallel.corpus.digits as digits
from asr_parallel.cli.main import main
digits.write_dropped = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
main(sys.argv[1:])
"""


def test_a_full_disk_and_a_kill_leave_nothing_half_written(
    digit_corpus: Path, lists: Path, tmp_path: Path, program: Program
) -> None:
    out = tmp_path / "E"
    arguments = ["prepare-digits", "--corpus", str(digit_corpus), "--lists", str(lists), "--out", str(out)]
    environ = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", FULL_DISK, *arguments], capture_output=True, text=True, env=environ)
    assert done.returncode == 1, done.stderr
    assert "File too large" in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert not out.exists()
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True, env=environ)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (out / "corpus").exists() and not (out / "data").exists()
    assert program(*arguments) == (0, "")
    assert sorted(p.name for p in out.iterdir()) == ["corpus", "data"]


def test_the_shipped_lists_use_every_recording_of_the_corpus_as_published() -> None:
    sets = read_lists(SHIPPED_LISTS)
    assert {name: len(utterances) for name, utterances in sets.items()} == {"train": 1095, "dev": 44, "eval": 203}
    used = {name: [r for u in utterances for r in u.recordings] for name, utterances in sets.items()}
    speakers = {name: {u.speaker for u in utterances} for name, utterances in sets.items()}
    assert speakers["eval"] == set(TEST_SPEAKERS) and speakers["train"] == speakers["dev"]
    assert not speakers["eval"] & speakers["train"] and not set(used["dev"]) & set(used["train"])
    expected = {
        f"{digit}_{s}_{n}.wav" for s in set().union(*speakers.values()) for digit in range(10) for n in range(50)
    }
    assert set().union(*used.values()) == expected


@pytest.mark.skipif("ASR_PARALLEL_FSDD" not in os.environ, reason="ASR_PARALLEL_FSDD names no corpus of real digits")
def test_the_real_corpus(tmp_path: Path) -> None:
    corpus = Path(os.environ["ASR_PARALLEL_FSDD"])
    prepare_digits(corpus, SHIPPED_LISTS, tmp_path, max_bad_share=0.0)
    counts = {}
    for name in ("train", "dev", "eval"):
        utterances = read_utterances(tmp_path / "data" / name)
        words = sum(len(u.text.split()) for u in utterances)
        counts[name] = (len(utterances), words, len({u.speaker for u in utterances}))
    assert counts == {"train": (1095, 5400, 4), "dev": (44, 200, 4), "eval": (203, 1000, 2)}
