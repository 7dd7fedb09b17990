"""Import of lhotse manifests: what lhotse can describe is what is read, and what is bad is said."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import AudioSource, CutSet, Recording, RecordingSet, SupervisionSegment, SupervisionSet
from lhotse.audio import audio_backend
from lhotse.cut import MonoCut

from asr_parallel.corpus.audio import read_audio
from asr_parallel.corpus.datadir import Utterance, read_sampling_rate, read_utterances

Program = Callable[..., tuple[int, str]]
RATE = 8000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two recordings of one second, one mono and one of two channels, and three supervisions, as set train."""
    folder = tmp_path / "my data; touch pwned"
    folder.mkdir()
    rng = np.random.default_rng(0)
    soundfile.write(folder / "one.wav", rng.integers(-9999, 9999, RATE).astype(np.int16), RATE)
    soundfile.write(folder / "two 2.flac", rng.integers(-9999, 9999, (RATE, 2)).astype(np.int16), RATE)
    write(folder, recordings(folder), supervisions())
    return folder


def recordings(folder: Path) -> list[Recording]:
    return [
        Recording.from_file(folder / name, recording_id=key) for key, name in (("r1", "one.wav"), ("r2", "two 2.flac"))
    ]


def supervisions() -> list[SupervisionSegment]:
    return [
        SupervisionSegment("u1", "r1", 0.0, 0.5, text="hello  there", speaker="s1"),
        SupervisionSegment("u2", "r1", 0.5, 0.5, text="yes", speaker="s1"),
        SupervisionSegment("u3", "r2", 0.25, 0.75, channel=1, text="né", speaker="s2"),
    ]


def write(folder: Path, of_recordings: list[Recording], of_supervisions: list[SupervisionSegment]) -> None:
    RecordingSet.from_recordings(of_recordings).to_file(folder / "corpus_recordings_train.jsonl.gz")
    SupervisionSet.from_segments(of_supervisions).to_file(folder / "corpus_supervisions_train.jsonl.gz")


def write_cuts(folder: Path, cuts: CutSet) -> None:
    for path in folder.glob("corpus_*"):
        path.unlink()
    cuts.to_file(folder / "corpus_cuts_train.jsonl.gz")


def cuts_of(folder: Path) -> CutSet:
    return CutSet.from_manifests(
        RecordingSet.from_recordings(recordings(folder)), SupervisionSet.from_segments(supervisions())
    )


def imported(program: Program, source: Path, *more: str) -> tuple[int, str]:
    return program("import-lhotse", "--from", source, "--out", source.parent / "E" / "data" / "train", *more)


def utterances(source: Path) -> list[Utterance]:
    return read_utterances(source.parent / "E" / "data" / "train")


def samples(one: Utterance) -> np.ndarray:
    return read_audio(one.path, one.channel, one.start, one.duration)


def test_recordings_and_supervisions(source: Path, program: Program) -> None:
    assert imported(program, source) == (0, "")
    found = [(u.id, u.recording_id, u.channel, u.start, u.duration, u.speaker, u.text) for u in utterances(source)]
    assert found == [
        ("u1", "r1", 0, 0.0, 0.5, "s1", "hello there"),
        ("u2", "r1", 0, 0.5, 0.5, "s1", "yes"),
        ("u3", "r2", 1, 0.25, 0.75, "s2", "né"),
    ]
    both, _ = soundfile.read(source / "two 2.flac", dtype="int16")
    np.testing.assert_array_equal(samples(utterances(source)[-1]), both[2000:, 1])
    assert utterances(source)[0].path == source / "one.wav"  # used where it is
    assert imported(program, source) == (0, "")  # nothing left to do


def test_manifests_are_read_once(source: Path, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    for kind in (RecordingSet, SupervisionSet):

        def from_file(path: Path, kind: type = kind, original: Callable[[Path], object] = kind.from_file) -> object:
            read.append(kind.__name__)
            return original(path)

        monkeypatch.setattr(kind, "from_file", from_file)
    assert imported(program, source) == (0, "")
    assert sorted(read) == ["RecordingSet", "SupervisionSet"]


def test_a_set_of_another_name_in_a_folder_of_many(source: Path, program: Program) -> None:
    for path in source.glob("corpus_*"):
        path.rename(path.with_name(path.name.replace("train", "train-clean-5")))
    assert imported(program, source, "--set", "train-clean-5") == (0, "")
    assert len(utterances(source)) == 3
    status, said = imported(program, source, "--set", "test")
    assert status == 1 and "no lhotse manifests of set test" in said


def test_cuts_have_offsets_into_their_recordings(source: Path, program: Program) -> None:
    cuts = cuts_of(source).trim_to_supervisions(keep_overlapping=False).to_eager()
    assert any(cut.start > 0 for cut in cuts)
    write_cuts(source, cuts)
    assert imported(program, source) == (0, "")
    assert [(u.id, u.start, u.duration) for u in utterances(source)] == [
        ("u1", 0.0, 0.5),
        ("u2", 0.5, 0.5),
        ("u3", 0.25, 0.75),
    ]


def test_what_lhotse_has_to_make_is_what_lhotse_loads(source: Path, program: Program) -> None:
    """Resampled recordings, a recording of two files, and a mixed cut: to half a step of 16 bits."""
    one, two = recordings(source)
    split = Recording(
        "r3", [AudioSource("file", [n], str(source / name)) for n, name in ((0, "one.wav"), (1, "one.wav"))],
        RATE, RATE, 1.0,
    ).resample(16000)  # fmt: skip

    def cut(name: str, start: float, of: Recording, channel: int, *spoken: SupervisionSegment) -> MonoCut:
        return MonoCut(name, start, of.duration - 2 * start, channel, list(spoken), recording=of)

    first = cut("c1", 0.25, one.resample(16000), 0, SupervisionSegment("u1", "r1", 0.1, 0.3, text="a", speaker="s"))
    second = cut("c2", 0, split, 1, SupervisionSegment("u2", "r3", 0, 1, channel=1, text="b", speaker="s"))
    third = cut("c3", 0.25, one.resample(16000), 0, SupervisionSegment("u3", "r1", 0.1, 0.3, text="c", speaker="s"))
    mixed = third.mix(cut("noise", 0.25, two.resample(16000), 0), snr=10).with_id("c4")
    write_cuts(source, CutSet.from_cuts([first, second, mixed]))
    assert imported(program, source) == (0, "")
    assert read_sampling_rate(source.parent / "E" / "data" / "train") == 16000
    made = utterances(source)
    with audio_backend("LibsndfileBackend"):
        whole, doubled, noisy = first.recording.load_audio(), split.load_audio(), mixed.load_audio()
    parts = whole[0, round(0.35 * 16000) : round(0.65 * 16000)], doubled[1], noisy[0, 1600:6400]
    for found, expected in zip(made, parts, strict=True):
        np.testing.assert_allclose(samples(found), 32768 * expected.clip(-1, 1 - 2**-15), atol=1.01)
    assert {one.path.parent.name for one in made} == {"audio"}


def test_shar(source: Path, program: Program) -> None:
    shar = source / "train"
    shar.mkdir()
    cuts = cuts_of(source).trim_to_supervisions(keep_overlapping=False)
    with audio_backend("LibsndfileBackend"):
        cuts.to_shar(shar, fields={"recording": "flac"}, shard_size=2)
    one, _ = soundfile.read(source / "one.wav", dtype="int16")
    (source / "one.wav").unlink()
    both, _ = soundfile.read(source / "two 2.flac", dtype="int16")
    assert imported(program, source) == (0, "")
    assert [u.text for u in utterances(source)] == ["hello there", "yes", "né"]
    for found, expected in zip(utterances(source), (one[:4000], one[4000:], both[2000:, 1]), strict=True):
        np.testing.assert_allclose(samples(found), expected, atol=1.01)


def test_relative_paths_begin_at_the_manifest(source: Path, program: Program) -> None:
    moved = recordings(source)
    for one in moved:
        one.sources[0].source = Path(one.sources[0].source).name
    write(source, moved, supervisions())
    assert imported(program, source) == (0, "")
    assert len(utterances(source)) == 3


@pytest.mark.parametrize("kind", ["command", "url"])
def test_commands_and_urls_are_refused(source: Path, program: Program, kind: str) -> None:
    for mixed in (False, True):
        bad = recordings(source)
        bad[0].sources[0].type, bad[0].sources[0].source = kind, f"touch {source / 'pwned'}; cat one.wav"
        write(source, bad, supervisions())
        if mixed:
            cut = MonoCut("c", 0.0, 1.0, 0, supervisions()[:1], recording=recordings(source)[0])
            write_cuts(source, CutSet.from_cuts([cut.mix(MonoCut("n", 0.0, 1.0, 0, recording=bad[0]))]))
        status, said = imported(program, source, "--max-bad-share", "1")
        assert status == 1 and f"of type '{kind}'; expected plain files" in said and "\n" not in said
        assert not (source / "pwned").exists() and not (source.parent / "E" / "data" / "train").exists()


def damage(source: Path, name: str) -> None:
    """Damage the recordings or supervisions of the set in one way."""
    of_recordings, of_supervisions = recordings(source), supervisions()
    if name == "missing file":
        (source / "one.wav").unlink()
    elif name == "another rate":
        of_recordings[0].sampling_rate = 16000
    elif name == "no recording":
        of_recordings = of_recordings[1:]
    elif name == "no speaker":
        of_supervisions[0].speaker = None
    elif name == "no text":
        of_supervisions[0].text = None
    elif name == "past the end":
        of_supervisions[0].duration = 9.0
    elif name == "no such channel":
        of_supervisions[2].channel = 5
    write(source, of_recordings, of_supervisions)


@pytest.mark.parametrize(
    ("name", "says", "left"),
    [
        ("missing file", "one.wav: cannot be read: No such file", 1),
        ("another rate", "one.wav: 8000 Hz; its manifest says 16000", 1),
        ("no recording", "no recording r1 in the manifest", 1),
        ("no speaker", "speaker '': expected one word", 2),
        ("no text", "empty transcript", 2),
        ("past the end", "past the end: 0 to 9 s of a recording of 1 s", 2),
        ("no such channel", "channel 5 of recording r2; expected one of [0, 1]", 2),
    ],
)
def test_bad_utterances_are_counted_and_listed(source: Path, program: Program, name: str, says: str, left: int) -> None:
    damage(source, name)
    status, said = imported(program, source)
    assert status == 1 and says in said and "more than --max-bad-share" in said
    assert not (source.parent / "E" / "data" / "train").exists()
    assert imported(program, source, "--max-bad-share", "1")[0] == 0
    assert len(utterances(source)) == left
    assert says in (source.parent / "E" / "data" / "train" / "dropped.txt").read_text()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"not gzip", "not a manifest that lhotse can read"),
        (gzip.compress(b'{"id": "u1"}\n'), "not a manifest that lhotse can read"),
        (gzip.compress(b'{"id": "u1", \n'), "not a manifest that lhotse can read"),
        (gzip.compress(b"[1, 2]\n"), "not a manifest that lhotse can read"),
    ],
    ids=["no gzip", "one key", "cut off", "a list"],  # the time is in the bytes of gzip, and so would be in a name
)
def test_damaged_manifests(source: Path, program: Program, content: bytes, says: str) -> None:
    (source / "corpus_supervisions_train.jsonl.gz").write_bytes(content)
    status, said = imported(program, source)
    assert status == 1 and says in said and "corpus_supervisions_train" in said and "\n" not in said


def test_mixed_rates_twice_the_same_and_features_alone(source: Path, program: Program) -> None:
    resampled = [recordings(source)[0], recordings(source)[1].resample(16000)]
    write(source, resampled, supervisions())
    status, said = imported(program, source)
    assert status == 1 and "recordings of 2 sampling rates: 8000 Hz (1: r1, ...), 16000 Hz (1: r2, ...)" in said
    assert imported(program, source, "--sampling-rate", "8000", "--max-bad-share", "1")[0] == 0
    assert {u.recording_id for u in utterances(source)} == {"r1"}
    write_cuts(source, CutSet.from_cuts([*cuts_of(source), *(cut.with_id(f"{cut.id}-b") for cut in cuts_of(source))]))
    status, said = imported(program, source)
    assert status == 1 and "utterance u1 is there twice" in said
    first, *others = cuts_of(source).trim_to_supervisions(keep_overlapping=False)
    write_cuts(source, CutSet.from_cuts([*others, first.resample(16000)]))
    status, said = imported(program, source)
    assert status == 1 and "recording r1 is there with other audio, too" in said
    cut = {"id": "c", "start": 0, "duration": 1, "channel": 0, "supervisions": [], "type": "MonoCut"}
    (source / "corpus_cuts_train.jsonl.gz").write_bytes(gzip.compress(json.dumps(cut).encode() + b"\n"))
    status, said = imported(program, source)
    assert status == 1 and "a cut without recording; expected audio, not features alone" in said
