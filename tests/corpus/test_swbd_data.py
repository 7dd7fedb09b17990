"""Switchboard and eval2000 trees to data folders, good ones and every kind of bad one."""

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import RecordingSet, SupervisionSet

from asr_parallel.corpus import eval2000, swbd
from asr_parallel.corpus.audio import read_audio
from asr_parallel.corpus.datadir import read_utterances
from asr_parallel.corpus.eval2000 import read_eval2000_stm, utterance_id
from asr_parallel.corpus.transcripts import normalise

Program = Callable[..., tuple[int, str]]
TREES = {
    "--audio": "LDC97S62",
    "--transcripts": "swb_ms98_transcriptions",
    "--eval-audio": "LDC2002S09",
    "--eval-transcripts": "LDC2002T43",
}


@pytest.fixture
def prepare(tree: Path, program: Program) -> Program:
    """Prepare the tree into a folder beside it; by default a single bad thing is too much."""

    def run(*more: str) -> tuple[int, str]:
        where = [part for option, name in TREES.items() for part in (option, tree / name)]
        return program("prepare-swbd", *where, "--out", tree.parent / "E" / "data", *more)

    return run


def _transcripts(tree: Path) -> list[Path]:
    return sorted((tree / "swb_ms98_transcriptions").rglob("*-trans.text"))


def _sounds(tree: Path, below: str = "LDC97S62") -> list[Path]:
    return sorted((tree / below).rglob("*.sph"), key=lambda p: p.name)


def _data(tree: Path, name: str) -> Path:
    return tree.parent / "E" / "data" / name


def test_discs_may_be_links(tree: Path, prepare: Program) -> None:
    assert prepare() == (0, "")
    segments = {name: (_data(tree, name) / "text").read_bytes() for name in ("train", "dev", "eval")}
    for name in TREES.values():
        below = next(path for path in (tree / name).iterdir() if path.is_dir())
        below.rename(tree.parent / f"mounted {name}")
        below.symlink_to(tree.parent / f"mounted {name}")
    shutil.rmtree(_data(tree, "train").parent)
    assert prepare() == (0, "")
    assert {name: (_data(tree, name) / "text").read_bytes() for name in segments} == segments


def test_every_segment_is_there_or_accounted_for(tree: Path, prepare: Program) -> None:
    assert prepare() == (0, "")
    expected, silent = {}, set()
    for path in _transcripts(tree):
        for key, start, end, words in (line.split(maxsplit=3) for line in path.read_text().splitlines()):
            times = f"{int(100 * float(start) + 0.5):06d}-{int(100 * float(end) + 0.5):06d}"
            if normalise(words):
                expected[f"sw0{key[2:6]}-{key[6]}_{times}"] = normalise(words)
            else:
                silent.add(f"{key}: silence only")
    train, dev = read_utterances(_data(tree, "train")), read_utterances(_data(tree, "dev"))
    assert {u.id: u.text for u in train + dev} == expected
    dropped = [(_data(tree, name) / "dropped.txt").read_text().splitlines() for name in ("train", "dev")]
    assert sorted(dropped[0] + dropped[1]) == sorted(silent)
    assert not {u.recording_id for u in train} & {u.recording_id for u in dev}
    for u in train + dev:
        assert u.speaker == u.id[:9] and u.channel == "AB".index(u.id[8])
    words = {word for text in expected.values() for word in text.split()}
    assert {"[laughter]", "[noise]"} & words and "[silence]" not in words


def test_sides_are_read_from_their_channels(tree: Path, prepare: Program) -> None:
    assert prepare() == (0, "")
    for u in read_utterances(_data(tree, "train"))[:5]:
        whole, rate = soundfile.read(u.path, dtype="int16", always_2d=True)
        first = round(u.start * rate)
        samples = read_audio(u.path, u.channel, u.start, u.duration)
        np.testing.assert_array_equal(samples, whole[first : first + len(samples), u.channel])


def test_manifests_are_lhotses(tree: Path, prepare: Program) -> None:
    from lhotse.audio import set_current_audio_backend
    from lhotse.audio.backend import LibsndfileBackend
    from lhotse.qa import validate_recordings_and_supervisions

    assert prepare() == (0, "")
    for name in ("train", "dev", "eval"):
        recordings = RecordingSet.from_file(_data(tree, name) / "recordings.jsonl.gz")
        supervisions = SupervisionSet.from_file(_data(tree, name) / "supervisions.jsonl.gz")
        validate_recordings_and_supervisions(recordings, supervisions)
        set_current_audio_backend(LibsndfileBackend())
        assert next(iter(recordings)).load_audio(channels=1).shape[0] == 1
        set_current_audio_backend("default")


def test_a_damaged_data_folder(tree: Path, prepare: Program) -> None:
    assert prepare() == (0, "")
    manifest = _data(tree, "dev") / "supervisions.jsonl.gz"
    whole = manifest.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"no gzip", gzip.compress(b'{"a": 1}\n')):
        manifest.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"supervisions\.jsonl\.gz: damaged \(.*\); run stage 0 again"):
            read_utterances(manifest.parent)


def test_speakers_of_conv_tab(tree: Path, prepare: Program) -> None:
    number = _transcripts(tree)[0].name[2:6]
    folder = tree / "LDC97S62" / "tables"
    folder.mkdir()
    (folder / "conv.tab").write_text(f'{number}, 101, 1018, "1052", x\nnonsense\n')
    assert prepare() == (0, "")
    utterances = read_utterances(_data(tree, "train")) + read_utterances(_data(tree, "dev"))
    theirs = {u.speaker: u.id for u in utterances if u.recording_id == f"sw0{number}"}
    assert theirs.keys() == {"sw1018", "sw1052"}
    assert theirs["sw1018"].startswith(f"sw1018-0{number}-A_")


def test_evaluation_follows_the_stm(tree: Path, prepare: Program) -> None:
    stm = next((tree / "LDC2002T43").rglob("*.stm"))
    stm.write_text(stm.read_text().replace("sw_4390 A sw_4390_A ", "sw_4390 A sw_4390_A1 ", 1))  # a second person
    _, segments = read_eval2000_stm(stm)
    assert prepare() == (0, "")
    folder = _data(tree, "eval")
    ignored = {s.id for s in segments if "IGNORE_TIME_SEGMENT_IN_SCORING" in s.text}
    utterances = read_utterances(folder)
    assert ignored and {u.id for u in utterances} == {s.id for s in segments} - ignored
    _, kept = read_eval2000_stm(folder / "ref.stm")
    assert kept == segments
    assert all(u.channel == "AB".index(u.id[8]) and u.speaker == u.id[:9] for u in utterances)
    by_id = {s.id: s for s in segments}
    for u in utterances:
        assert u.text == u.text.lower() and "(" not in u.text and "<" not in u.text
        assert u.start == pytest.approx(max(0.0, by_id[u.id].start - 0.1))
    assert (folder / "glm").read_bytes() == next((tree / "LDC2002T43").rglob("*.glm")).read_bytes()


def test_gaps_of_the_stm_are_no_utterances(tree: Path, prepare: Program) -> None:
    assert prepare() == (0, "")
    before = (_data(tree, "eval") / "text").read_text()
    stm = next((tree / "LDC2002T43").rglob("*.stm"))
    gap = "en_4156 A inter_segment_gap 0.00 0.01 <O,,,> IGNORE_TIME_SEGMENT_IN_SCORING"
    stm.write_text(stm.read_text() + gap + "\n")
    assert prepare() == (0, "")
    assert (_data(tree, "eval") / "text").read_text() == before
    assert (_data(tree, "eval") / "ref.stm").read_text().splitlines()[-1] == gap


def test_an_empty_transcript_stays_in_the_evaluation_set(tree: Path, prepare: Program) -> None:
    stm = next((tree / "LDC2002T43").rglob("*.stm"))
    _, segments = read_eval2000_stm(stm)
    [first, *_] = [s for s in segments if s.text and "IGNORE" not in s.text]
    lines = [" ".join(line.split()) for line in stm.read_text().splitlines()]
    lines[lines.index(first.line)] = first.line.removesuffix(first.text)
    stm.write_text("\n".join(lines) + "\n")
    assert prepare() == (0, "")
    assert {u.id: u.text for u in read_utterances(_data(tree, "eval"))}[first.id] == ""
    assert any(s.id == first.id and not s.text for s in read_eval2000_stm(_data(tree, "eval") / "ref.stm")[1])


@pytest.mark.parametrize("suffix", [".stm", ".glm"])
def test_scoring_files_of_the_evaluation_are_checked(tree: Path, prepare: Program, suffix: str) -> None:
    path = next((tree / "LDC2002T43").rglob(f"*{suffix}"))
    more = "en_4156 A x 0.00 0.01 <O,,,> { yes / yeah" if suffix == ".stm" else "[YEAH] => [{YES / YEAH]"
    path.write_text(path.read_text() + more + "\n")
    status, error = prepare()
    number = len(path.read_text().splitlines())
    assert status == 1 and f"{path.name}: line {number}: a {{ without its }}" in error


def test_ids_of_the_evaluation_are_truncated_decimals() -> None:
    assert utterance_id("en_4156", "A", "301.85", "302.48") == "en_4156-A_030185-030248"
    assert utterance_id("en_4156", "A", "0.29", "1.159") == "en_4156-A_000029-000115"
    with pytest.raises(ValueError, match="not two times in seconds"):
        utterance_id("en_4156", "A", "x", "1")


def _edit_line(path: Path, edit: Callable[[list[str]], list[str]], line: int = 1) -> None:
    lines = path.read_text().splitlines()
    lines[line] = " ".join(edit(lines[line].split(maxsplit=3)))
    path.write_text("\n".join(lines) + "\n")


BAD_LINES = {
    "reversed": (lambda f: [f[0], f[2], f[1], f[3]], "reversed or empty"),
    "past the end": (lambda f: [f[0], f[1], "9999.0", f[3]], "past the end"),
    "overlapping": (lambda f: [f[0], "0.0", f[2], f[3]], "before the one before it ends"),
    "no words": (lambda f: f[:3], "found no words"),
    "no time": (lambda f: [f[0], "soon", f[2], f[3]], "'soon' is no time in seconds"),
    "not a number": (lambda f: [f[0], "nan", f[2], f[3]], "are not two times of a recording"),
    "duplicate id": (lambda f: [f[0][:-1] + "1", *f[1:]], "duplicate id"),
}


@pytest.mark.parametrize("kind", BAD_LINES)
def test_a_bad_segment_is_dropped_up_to_a_limit(tree: Path, prepare: Program, kind: str) -> None:
    edit, reason = BAD_LINES[kind]
    path = _transcripts(tree)[-1]
    _edit_line(path, edit)
    status, error = prepare("--max-bad-share", "0")
    assert status == 1 and reason in error and f"{path.name}: line 2" in error and "--max-bad-share 0 allows" in error
    assert not list((tree.parent / "E").rglob("*"))[1:]
    assert prepare("--max-bad-share", "0.5") == (0, "")
    [line] = [x for x in (_data(tree, "train") / "dropped.txt").read_text().splitlines() if "silence only" not in x]
    assert reason in line


def _rewrite(path: Path, rate: int = 8000, channels: int = 2, length: int | None = None) -> None:
    samples, _ = soundfile.read(path, dtype="int16")
    soundfile.write(path, samples[:length, :channels], rate, format="NIST", subtype="ULAW")


def _shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"-s6 mu-law", b"-s26 mu-law,embedded-shorten-v2.00"))


BAD_SOUNDS = {
    "truncated": (lambda p: p.write_bytes(p.read_bytes()[:-5000]), "truncated"),
    "unreadable": (lambda p: p.write_bytes(b"noise" * 999), "not a readable sound file"),
    "empty file": (lambda p: p.write_bytes(b""), "empty file"),
    "zero length": (lambda p: _rewrite(p, length=0), "holds no sample"),
    "16 kHz": (lambda p: _rewrite(p, rate=16000), "sampled at 16000 Hz; expected 8000 Hz"),
    "one channel": (lambda p: _rewrite(p, channels=1), "has 1 channel(s); expected 2"),
    "shortened": (_shorten, "sph2pipe"),
    "missing": (lambda p: p.unlink(), ".sph"),
}


@pytest.mark.parametrize("below", ["LDC97S62", "LDC2002S09"])
@pytest.mark.parametrize("kind", BAD_SOUNDS)
def test_a_bad_sound_file_is_left_out_up_to_a_limit(tree: Path, prepare: Program, kind: str, below: str) -> None:
    damage, reason = BAD_SOUNDS[kind]
    path = _sounds(tree, below)[0]
    damage(path)
    status, error = prepare()
    assert status == 1 and reason in error and path.stem in error and "--max-bad-share 0.05 allows" in error
    assert prepare("--max-bad-share", "0.6") == (0, "")
    name = "train" if below == "LDC97S62" else "eval"
    assert path.stem not in {u.recording_id for u in read_utterances(_data(tree, name))}
    assert any(reason in x for x in (_data(tree, name) / "dropped.txt").read_text().splitlines())
    if name == "eval":
        assert path.stem not in (_data(tree, name) / "ref.stm").read_text()


def test_a_side_without_transcript(tree: Path, prepare: Program) -> None:
    path = _transcripts(tree)[-1]
    path.unlink()
    status, error = prepare()
    assert status == 1 and f"no transcript {path.name}" in error and "of 6 sides are bad" in error
    assert prepare("--max-bad-share", "0.2") == (0, "")
    assert f"no transcript {path.name}" in (_data(tree, "train") / "dropped.txt").read_text()


def test_a_conversation_without_any_transcript_is_accounted_for(tree: Path, prepare: Program) -> None:
    lost = _transcripts(tree)[-2:]
    assert lost[0].name[:6] == lost[1].name[:6]
    for path in lost:
        path.unlink()
    assert prepare("--max-bad-share", "0.5") == (0, "")
    dropped = (_data(tree, "train") / "dropped.txt").read_text()
    assert all(f"no transcript {path.name}" in dropped for path in lost)


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "empty transcript"), (b"sw1 0 1 caf\xe9\n", "line 1 is not valid UTF-8")]
)
def test_an_unusable_transcript(tree: Path, prepare: Program, content: bytes, reason: str) -> None:
    path = _transcripts(tree)[-1]
    path.write_bytes(content)
    status, error = prepare()
    assert status == 1 and reason in error and str(path.name) in error


@pytest.mark.parametrize("option", TREES)
def test_a_missing_or_wrong_tree(tree: Path, prepare: Program, option: str) -> None:
    folder = tree / TREES[option]
    shutil.rmtree(folder)
    status, error = prepare()
    assert status == 1 and f"{TREES[option]}: no such folder" in error
    folder.mkdir()
    (folder / "holiday.jpg").write_text("no corpus")
    status, error = prepare()
    assert status == 1 and f"{TREES[option]}: wrong tree: expected" in error


def test_pem_and_stm_must_agree(tree: Path, prepare: Program) -> None:
    pem = next((tree / "LDC2002S09").rglob("*.pem"))
    lines = pem.read_text().splitlines()
    pem.write_text("\n".join(lines[:-1]) + "\n")
    status, error = prepare()
    assert status == 1 and "do not hold the same segments: 1 differ, sw_4390-B_" in error
    pem.write_text("\n".join([*lines, lines[-1]]) + "\n")
    status, error = prepare()
    assert status == 1 and "duplicate utterance id sw_4390-B_" in error
    pem.write_text("\n".join([*lines, "en_4156 A"]) + "\n")
    status, error = prepare()
    assert status == 1 and "expected 'file A|B speaker start end', got 'en_4156 A'" in error


def test_two_copies_of_a_conversation(tree: Path, prepare: Program) -> None:
    path = _sounds(tree)[0]
    (tree / "LDC97S62" / "copy").mkdir()
    shutil.copy(path, tree / "LDC97S62" / "copy")
    status, error = prepare()
    assert status == 1 and "are there; expected one of them" in error


def test_an_unchanged_corpus_is_not_read_again(tree: Path, prepare: Program) -> None:
    assert prepare() == (0, "")
    before = (_data(tree, "train") / "stage.json").read_bytes()
    assert prepare() == (0, "")
    assert (_data(tree, "train") / "stage.json").read_bytes() == before
    manifest = gzip.decompress((_data(tree, "train") / "recordings.jsonl.gz").read_bytes()).splitlines()
    assert all(".partial" not in json.loads(line)["sources"][0]["source"] for line in manifest)


def test_a_full_size_corpus_of_other_counts_than_the_released_one_is_warned_of(
    prepare: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert swbd.REAL_CONVERSATIONS == (2435, 2438) and (eval2000.REAL_FILES, eval2000.REAL_UTTERANCES) == (40, 4459)
    monkeypatch.setattr(swbd, "FULL_SIZE_CONVERSATIONS", 1)
    monkeypatch.setattr(eval2000, "REAL_FILES", 1)
    warnings: list[str] = []
    monkeypatch.setattr(swbd.logger, "warning", lambda text, *values: warnings.append(text % values))
    assert prepare()[0] == 0
    assert any("conversations; LDC97S62 has 2438 (some pressings 2435)" in line for line in warnings)
    assert any("the released set has 1 and 4459" in line for line in warnings)
