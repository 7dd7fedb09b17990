"""Speech from eSpeak NG. The library is loaded only in processes started for it, here too."""

import re
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_parallel.cli.main import main
from asr_parallel.corpus.synthetic.corpus import write_corpus
from asr_parallel.corpus.synthetic.espeak_library import PhonemeEvent, plain, word_spans
from asr_parallel.corpus.synthetic.pronunciation import PHONES, pronounce, to_phones

espeak = pytest.mark.skipif(
    not any((Path(folder) / "espeakng_loader").is_dir() for folder in sys.path), reason="needs the extra 'synth'"
)


def _events(*events: tuple[str, int, int]) -> list[PhonemeEvent]:
    return [PhonemeEvent(*event) for event in events]


def test_words_last_until_the_next_phoneme() -> None:
    events = _events(("h", 0, 0), ("'aI", 10, 0), ("j", 30, 3), ("u:", 40, 3), ("_:", 60, 6))
    assert word_spans([0, 3], [2, 3], events, 80) == [(0, 30), (30, 60)]


def test_words_said_as_one_share_their_time_by_letters() -> None:
    events = _events(("V", 100, 0), ("v", 120, 0), ("D", 130, 0), ("@", 140, 0), ("k", 150, 7), ("_", 190, 9))
    assert word_spans([0, 3, 7], [2, 3, 3], events, 200) == [(100, 120), (120, 150), (150, 190)]


def test_phonemes_become_phones() -> None:
    assert [plain(name) for name in ("'aI", "_:", ",oU", "i;", "u:", "'3:")] == ["aI", "", "oU", "i", "u:", "3:"]
    assert to_phones(["w", "0", "t#", "3"]) == ("w", "aa", "dx", "er")
    assert to_phones(["f", "A@", "r-", "I"]) == ("f", "aa", "r", "ih")  # a linking r is not said twice
    assert to_phones(["3:", "r", "i"]) == ("er", "iy")
    with pytest.raises(ValueError, match=r"'q7' .* has no phone"):
        to_phones(["q7"])
    assert all(re.fullmatch(r"[a-z]{1,2}( [a-z]{1,2})?", phones) for phones in PHONES.values())


@espeak
def test_pronunciations_within_sentences() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        found = pool.submit(pronounce, ["the", "a", "water", "xylem"], [["i", "see", "a", "cat"]] * 3).result()
    assert found["a"] == [("ax",)]  # not the letter's name
    assert found["water"] == [("w", "ao", "dx", "er")]
    assert set(found) == {"the", "a", "water", "xylem"}


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("spoken")
    _write(root, jobs=2)
    yield root


def _write(root: Path, jobs: int) -> None:
    amounts = dict(hours=24 / 3600, eval_hours=16 / 3600, conversations=2, eval_files=2)
    write_corpus(root, seed=5, jobs=jobs, speech="espeak", **amounts)  # type: ignore[arg-type]


@espeak
def test_the_number_of_processes_changes_nothing_and_the_library_stays_out(spoken: Path, tmp_path: Path) -> None:
    _write(tmp_path, jobs=1)
    files = sorted(path.relative_to(spoken) for path in spoken.rglob("*") if path.is_file())
    assert len(files) > 10
    assert all((spoken / file).read_bytes() == (tmp_path / file).read_bytes() for file in files)
    maps = Path("/proc/self/maps")  # Linux's list of what is loaded here
    assert not maps.exists() or "libespeak-ng" not in maps.read_text()


@espeak
def test_words_are_where_the_transcript_says(spoken: Path) -> None:
    loudness = {True: [], False: []}  # type: dict[bool, list[float]]
    for path in sorted(spoken.glob("swb_ms98_transcriptions/*/*/*-word.text")):
        samples, rate = soundfile.read(next(spoken.rglob(f"sw0{path.name[2:6]}.sph")))
        side = samples[:, "AB".index(path.name[6])]
        for line in path.read_text().splitlines():
            _, start, end, token = line.split()
            if token.startswith("[") and token != "[silence]":
                continue
            stretch = side[int(float(start) * rate) : int(float(end) * rate)]
            if len(stretch) > 0.1 * rate:
                loudness[token == "[silence]"].append(float(np.mean(stretch**2)))
    assert np.median(loudness[False]) > 3 * np.median(loudness[True])


@espeak
def test_every_transcribed_word_is_in_the_dictionary_but_for_coinages(spoken: Path) -> None:
    lines = (spoken / "swb_ms98_transcriptions/sw-ms98-dict.text").read_text().splitlines()
    known = {line.split()[0] for line in lines if not line.startswith("#")}
    for path in spoken.glob("swb_ms98_transcriptions/*/*/*-trans.text"):
        for line in path.read_text().splitlines():
            for token in line.split()[3:]:
                word = re.sub(r"^\[laughter-(.*)\]$", r"\1", token)
                assert word in known or re.fullmatch(r"\[[a-z-]+\]|\{.*\}|<[be]_aside>", word), token


def test_the_verb_writes_once_and_reports_bad_amounts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "it's here"
    words = ["synthesize", "--out", str(out), "--hours", "0.01", "--eval-hours", "0.01", "--speech", "tones"]
    assert main(words) == 0
    made = (out / "synthetic.json").stat().st_mtime_ns
    assert main([*words, "--jobs", "7"]) == 0  # the number of processes is no reason to make it again
    assert (out / "synthetic.json").stat().st_mtime_ns == made
    assert main([*words[:4], "-1"]) == 1
    assert "hours -1.0: expected a number above 0" in capsys.readouterr().err


def test_without_the_package_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    assert main(["synthesize", "--out", str(tmp_path / "c")]) == 1
    assert "pip install 'asr-parallel[synth]'" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()
