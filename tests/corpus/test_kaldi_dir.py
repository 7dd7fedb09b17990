"""Import of Kaldi data directories: plain files only, and every kind of bad line."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_parallel.corpus.audio import read_audio
from asr_parallel.corpus.datadir import read_sampling_rate, read_utterances
from asr_parallel.corpus.kaldi_dir import import_kaldi_directory
from asr_parallel.decode.edit_distance import Counts, total
from asr_parallel.decode.hypotheses import WordTime
from asr_parallel.decode.reference import Reference
from asr_parallel.record.log import logger

Program = Callable[..., tuple[int, str]]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two recordings of one second, one mono and one of two channels, three utterances."""
    folder = tmp_path / "my data; touch pwned"
    folder.mkdir()
    rng = np.random.default_rng(0)
    soundfile.write(folder / "one.wav", rng.integers(-99, 99, 8000).astype(np.int16), 8000)
    soundfile.write(folder / "two 2.flac", rng.integers(-99, 99, (8000, 2)).astype(np.int16), 8000)
    (folder / "wav.scp").write_text(f"r1 {folder / 'one.wav'}\nr2 two 2.flac\n")
    (folder / "segments").write_text("u1 r1 0.0 0.5\nu2 r1 0.5 -1\nu3 r2 0.25 1.2 B\n")
    (folder / "text").write_text("u1 hello  there\nu2 yes\nu3 né\n", encoding="utf-8")
    (folder / "utt2spk").write_text("u1 s1\nu2 s1\nu3\ts2\n")
    return folder


def _import(program: Program, source: Path, *more: str) -> tuple[int, str]:
    return program("import-kaldi", "--from", source, "--out", source.parent / "E" / "data" / "train", *more)


def test_segments_channels_and_relative_paths(source: Path, program: Program) -> None:
    (source / "stm").write_text("r1 A s1 0 1 hello\nr2 B s2 0 1 né\n")
    assert _import(program, source) == (0, "")
    data = source.parent / "E" / "data" / "train"
    found = [(u.id, u.recording_id, u.channel, u.start, u.duration, u.speaker, u.text) for u in read_utterances(data)]
    assert found == [
        ("u1", "r1", 0, 0.0, 0.5, "s1", "hello there"),
        ("u2", "r1", 0, 0.5, 0.5, "s1", "yes"),
        ("u3", "r2", 1, 0.25, 0.75, "s2", "né"),
    ]
    assert (data / "ref.stm").read_text() == "r1 A s1 0 1 hello\nr2 B s2 0 1 né\n"
    last = read_utterances(data)[-1]
    both, _ = soundfile.read(source / "two 2.flac", dtype="int16")
    np.testing.assert_array_equal(read_audio(last.path, last.channel, last.start, last.duration), both[2000:, 1])
    assert (data / "dropped.txt").read_text() == ""


def test_without_segments_a_recording_is_an_utterance(source: Path, program: Program) -> None:
    (source / "segments").unlink()
    (source / "wav.scp").write_text(f"u1 {source / 'one.wav'}\n")
    (source / "text").write_text("u1 hello\n")
    assert _import(program, source) == (0, "")
    [u] = read_utterances(source.parent / "E" / "data" / "train")
    assert (u.id, u.recording_id, u.start, u.duration) == ("u1", "u1", 0.0, 1.0)


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\xa0", "\u3000"])
def test_invisible_separators_cut_no_transcript(source: Path, program: Program, separator: str) -> None:
    lines = f"\ufeffu1 hello{separator}there\r\nu2 yes\r\nu3 n\u00e9\r\n"
    (source / "text").write_bytes(lines.encode())
    assert _import(program, source) == (0, "")
    data = source.parent / "E" / "data" / "train"
    assert [u.text for u in read_utterances(data)] == ["hello there", "yes", "n\u00e9"]
    assert (data / "text").read_bytes() == "u1 hello there\nu2 yes\nu3 n\u00e9\n".encode()


def test_marks_of_sentences_are_no_words(source: Path, program: Program) -> None:
    (source / "text").write_text("u1 <s> hello there </s>\nu2 <S> yes\nu3 no <s>\n")
    assert _import(program, source) == (0, "")
    utterances = read_utterances(source.parent / "E" / "data" / "train")
    assert [u.text for u in utterances] == ["hello there", "yes", "no"]


@pytest.mark.parametrize("value", ["touch pwned; cat one.wav |", "| tee pwned", "-", "", "fifo", "/dev/zero"])
def test_a_pipe_is_refused_and_never_run(source: Path, program: Program, value: str) -> None:
    os.mkfifo(source / "fifo")
    (source / "wav.scp").write_text(f"r1 {source / 'one.wav'}\nr2 {value}\n")
    status, error = _import(program, source)
    assert status == 1 and "r2:" in error and "is not a plain file; commands from data files are never run" in error
    assert not (source / "pwned").exists() and not Path("pwned").exists()
    assert not (source.parent / "E").exists() or not any(source.parent.joinpath("E").rglob("train"))


def _replace(file: str, old: str, new: str) -> Callable[[Path], object]:
    return lambda folder: (folder / file).write_text((folder / file).read_text().replace(old, new))


BAD = {
    "reversed": (_replace("segments", "0.0 0.5", "0.5 0.0"), "u1: reversed or empty"),
    "negative": (_replace("segments", "0.0 0.5", "-2 0.5"), "u1: times -2 to 0.5 s are not two times"),
    "past the end": (_replace("segments", "0.0 0.5", "0.0 2.5"), "u1: past the end"),
    "no number": (_replace("segments", "0.0 0.5", "0.0 x"), "u1: segments: '0.0' to 'x' are not two times"),
    "fields": (_replace("segments", "0.0 0.5", "0.0"), "u1: segments: expected 'utt rec start end [channel]'"),
    "recording": (_replace("segments", "u1 r1", "u1 r9"), "u1: its recording r9 is not in wav.scp"),
    "no segment": (_replace("segments", "u1 r1 0.0 0.5\n", ""), "u1: has a text, but no sound"),
    "channel": (_replace("segments", " B", " 7"), "u3: segments: no channel '7' in a recording of 2"),
    "stereo": (_replace("segments", " B", ""), "u3: the recording has 2 channels, and segments does not say which"),
    "no text": (_replace("text", "u1 hello  there\n", ""), "u1: no line in text"),
    "empty text": (_replace("text", "u1 hello  there", "u1 "), "u1: empty transcript"),
    "no speaker": (_replace("utt2spk", "u1 s1\n", ""), "u1: no speaker in utt2spk"),
    "two speakers": (_replace("utt2spk", "u1 s1", "u1 s1 s2"), "u1: utt2spk: 's1 s2' is not one word"),
    "no file": (lambda folder: (folder / "two 2.flac").unlink(), "u3: "),
    "not sound": (lambda folder: (folder / "two 2.flac").write_text("la la"), "u3: "),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_utterances_are_dropped_up_to_a_limit(source: Path, program: Program, kind: str) -> None:
    damage, reason = BAD[kind]
    damage(source)
    status, error = _import(program, source)
    assert status == 1 and "1 of 3 utterances are bad, more than --max-bad-share 0.05 allows" in error
    assert reason in error
    assert _import(program, source, "--max-bad-share", "0.4") == (0, "")
    data = source.parent / "E" / "data" / "train"
    assert len(read_utterances(data)) == 2
    [line] = (data / "dropped.txt").read_text().splitlines()
    assert line.startswith(reason)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("text", b"u1 a\nu1 b\n", "text: line 2: duplicate id u1"),
        ("segments", b"u1 r1 0 1\nu1 r1 0 1\n", "segments: line 2: duplicate id u1"),
        ("text", b"u1 caf\xe9\n", "text: line 1 is not valid UTF-8"),
        ("text", b"", "none of 3 utterances is usable; the first: u1: no line in text"),
        ("utt2spk", None, "no utt2spk; expected a Kaldi data directory"),
        ("wav.scp", None, "no wav.scp; expected a Kaldi data directory"),
    ],
)
def test_bad_files(source: Path, program: Program, file: str, content: bytes | None, message: str) -> None:
    (source / file).unlink()
    if content is not None:
        (source / file).write_bytes(content)
    status, error = _import(program, source)
    assert status == 1 and message in error


STM = "call 1 s1 0 0.5 <o,f0> hello there\ncall 1 s1 0.5 1 <NA> yes\nr2 2 s2 0.25 1 <> né\n"


@pytest.fixture
def source_with_stm(source: Path) -> Path:
    """The same, scored by an stm that calls r1 "call" and its channel 1."""
    (source / "stm").write_text(f";; a comment\n{STM}", encoding="utf-8")
    (source / "reco2file_and_channel").write_text("r1 call A\nr2 r2 A\n")
    return source


def test_recordings_have_the_names_of_reco2file_and_channel(source_with_stm: Path, program: Program) -> None:
    assert _import(program, source_with_stm) == (0, "")
    data = source_with_stm.parent / "E" / "data" / "train"
    reference = Reference.open(data)
    recognized = {
        "u1": [WordTime("hello", 0.1, 0.1)],
        "u2": [WordTime("yes", 0.1, 0.1)],
        "u3": [WordTime("né", 0.1, 0.1)],
    }
    assert [(w.recording, w.channel, w.start) for w in reference.ctm(recognized)] == [
        ("call", "A", 0.1), ("call", "A", 0.6), ("r2", "B", 0.35)
    ]  # fmt: skip
    assert total(s.counts for s in reference.score(recognized)) == Counts(correct=3, dele=1)


def test_odd_parentheses_are_said(
    source_with_stm: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logger, "propagate", True)
    for text, said in ((STM.replace("hello", "(hello)"), False), (STM.replace("hello", "(hello"), True)):
        (source_with_stm / "stm").write_text(text, encoding="utf-8")
        caplog.clear()
        import_kaldi_directory(source_with_stm, tmp_path / f"data {said}")
        assert ("1 segments, first in line 1: expected '(optional words)'" in caplog.text) is said


def test_segments_of_dropped_recordings_are_not_scored(source_with_stm: Path, program: Program) -> None:
    (source_with_stm / "two 2.flac").write_text("la la")
    assert _import(program, source_with_stm, "--max-bad-share", "0.4") == (0, "")
    kept = (source_with_stm.parent / "E" / "data" / "train" / "ref.stm").read_text(encoding="utf-8")
    assert kept == ";; a comment\n" + "".join(STM.splitlines(keepends=True)[:2])


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("stm", "r2 2", "r2 1", "stm: line 4: no utterance is of recording r2, channel A; expected those of the data"),
        ("stm", "call 1 s1 0 ", "other 1 s1 0 ", "stm: line 2: no utterance is of recording other, channel A"),
        ("stm", "r2 2 s2 0.25 1 <> né\n", "", "stm: no segment of recording r2, channel B, of utterance u3"),
        ("stm", "<NA> yes", "<NA> { yes / yeah", "stm: line 3: a { without its }"),
        ("stm", "0.5 1 <NA>", "0.5 x <NA>", "stm: line 3: expected 'recording channel speaker start end"),
        ("reco2file_and_channel", "r1 call A", "r1 call", "reco2file_and_channel: line 1: expected 'recording file ch"),
        ("reco2file_and_channel", "r2 r2", "r1 r1", "reco2file_and_channel: line 2: expected .*a second line of r1"),
        (
            "reco2file_and_channel",
            "r1 call A\nr2 r2 A",
            "r1 r2 B",
            "reco2file_and_channel: r1 and r2 have the same file",
        ),
        ("glm", "", "[UH] [UM]\n", "glm: line 1: expected"),
        ("glm", "", "[A'S] => [{A'S / A IS]\n", "glm: line 1: a { without its }"),
    ],
)
def test_what_scoring_needs_is_checked_on_import(
    source_with_stm: Path, program: Program, file: str, old: str, new: str, message: str
) -> None:
    path = source_with_stm / file
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    path.write_text(text.replace(old, new, 1) if old else new, encoding="utf-8")
    status, error = _import(program, source_with_stm)
    assert status == 1 and re.search(message.replace("{", "[{]").replace("}", "[}]"), error), error
    assert not (source_with_stm.parent / "E" / "data" / "train").exists()


@pytest.mark.parametrize("line", ["u2", "u2 ", "u2\t"])
def test_an_empty_transcript_stays_in_a_test_set(source: Path, program: Program, line: str) -> None:
    _replace("text", "u2 yes", line)(source)
    for name, words, kept in (
        ("eval", (), True),
        ("dev", (), True),
        ("train", (), False),
        ("train", ("--empty-transcripts", "keep"), True),
        ("eval", ("--empty-transcripts", "drop"), False),
    ):
        out = source.parent / "E" / "data" / name
        command = ["import-kaldi", "--from", source, "--out", out, "--max-bad-share", "0.4", *words]
        assert program(*command) == (0, "")
        texts = {u.id: u.text for u in read_utterances(out)}
        assert texts == {"u1": "hello there", "u3": "né"} | ({"u2": ""} if kept else {})
        assert (out / "dropped.txt").read_text() == ("" if kept else "u2: empty transcript\n")
        assert ("u2 \n" in (out / "text").read_text(encoding="utf-8")) == kept


def test_a_test_set_without_any_word_is_refused(source: Path, program: Program) -> None:
    (source / "text").write_text("u1\nu2\nu3\n")
    status, error = program("import-kaldi", "--from", source, "--out", source.parent / "E" / "data" / "eval")
    assert status == 1 and "text: all 3 transcripts are empty" in error


def test_another_sampling_rate_and_no_directory(source: Path, program: Program) -> None:
    status, error = _import(program, source, "--sampling-rate", "16000")
    assert status == 1 and "sampled at 8000 Hz; expected 16000 Hz" in error
    status, error = program("import-kaldi", "--from", source / "none", "--out", source.parent / "E")
    assert status == 1 and "none: no such folder; expected a Kaldi data directory" in error
    for share in ("nan", "-1", "2"):
        words = ("import-kaldi", "--from", source, "--out", source.parent / "E", "--max-bad-share", share)
        status, error = program(*words)
        assert status == 1 and "expected a number of at least 0 and at most 1" in error
    for option in (["--sampling-rate", "16k"], ["--max-bad-share", "5%"]):
        with pytest.raises(SystemExit):
            program("import-kaldi", "--from", source, "--out", source.parent / "E", *option)


def _resample(path: Path, rate: int) -> None:
    samples, _ = soundfile.read(path, dtype="int16")
    soundfile.write(path, samples.repeat(rate // 8000, axis=0), rate)


def test_the_sampling_rate_is_that_of_the_data(source: Path, program: Program) -> None:
    data = source.parent / "E" / "data"
    for name in ("one.wav", "two 2.flac"):
        _resample(source / name, 16000)
    assert _import(program, source) == (0, "")
    assert read_sampling_rate(data / "train") == 16000
    assert [u.duration for u in read_utterances(data / "train")] == [0.5, 0.5, 0.75]
    like = ["import-kaldi", "--from", source, "--out", data / "eval", "--like", data / "train"]
    assert program(*like) == (0, "")
    for name in ("one.wav", "two 2.flac"):
        _resample(source / name, 8000)
    status, error = program(*like, "--max-bad-share", "0.1")
    assert status == 1 and f"recordings at 8000 Hz, those of {data / 'train'} at 16000 Hz" in error
    assert program(*like, "--sampling-rate", "8000") == (0, "")


def test_several_sampling_rates_in_one_directory(source: Path, program: Program) -> None:
    _resample(source / "two 2.flac", 16000)
    status, error = _import(program, source)
    assert status == 1 and "recordings of 2 sampling rates: 8000 Hz (1: r1, ...), 16000 Hz (1: r2, ...)" in error
    assert "--sampling-rate HZ" in error
    assert _import(program, source, "--sampling-rate", "8000", "--max-bad-share", "0.5") == (0, "")
    data = source.parent / "E" / "data" / "train"
    assert [u.id for u in read_utterances(data)] == ["u1", "u2"]
    assert "sampled at 16000 Hz; expected 8000 Hz" in (data / "dropped.txt").read_text()


@pytest.mark.parametrize(
    ("kind", "subtype"), [("FLAC", "PCM_16"), ("OGG", "OPUS"), ("AIFF", "PCM_16"), ("W64", "GSM610")]
)
def test_a_truncated_file_is_named_and_dropped(source: Path, program: Program, kind: str, subtype: str) -> None:
    noise = np.random.default_rng(1).integers(-999, 999, 16000).astype(np.int16)
    damaged = source / "three"
    soundfile.write(damaged, noise, 8000, format=kind, subtype=subtype)
    damaged.write_bytes(damaged.read_bytes()[:-400])
    for name, line in (
        ("wav.scp", f"r3 {damaged}\n"),
        ("segments", "u4 r3 0 2\n"),
        ("utt2spk", "u4 s1\n"),
        ("text", "u4 a\n"),
    ):
        (source / name).write_text((source / name).read_text() + line)
    status, error = _import(program, source)
    assert status == 1 and "1 of 4 utterances are bad" in error and f"u4: {damaged}: truncated" in error
    assert _import(program, source, "--max-bad-share", "0.3") == (0, "")
    data = source.parent / "E" / "data" / "train"
    assert [u.id for u in read_utterances(data)] == ["u1", "u2", "u3"]
    assert (data / "dropped.txt").read_text().startswith(f"u4: {damaged}: truncated")
