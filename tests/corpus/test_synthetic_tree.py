"""The synthetic tree has the LDC's layout: names, headers, tiling segments, ids that agree."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_parallel.corpus.synthetic.corpus import write_corpus
from asr_parallel.testing.tiny_swbd import write_tiny_tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus with a space")
    write_tiny_tree(root, seed=3)
    return root


def _sides(tree: Path) -> list[Path]:
    return sorted(tree.glob("swb_ms98_transcriptions/*/*/*-trans.text"))


def test_every_file_of_the_layout_is_there(tree: Path) -> None:
    numbers = sorted(path.stem for path in tree.glob("LDC97S62/swb1_d[1-4]/data/sw0*.sph"))
    assert numbers[0] == "sw02001" and len(numbers) == 2
    table = (tree / "LDC97S62/docs/swb1_all.dvd.tbl").read_text().split()
    assert [Path(name).stem for name in table[1::2]] == numbers
    for number in numbers:
        folder = tree / "swb_ms98_transcriptions" / number[3:5] / number[3:]
        names = {f"sw{number[3:]}{side}-ms98-a-{kind}.text" for side in "AB" for kind in ("trans", "word")}
        assert {path.name for path in folder.iterdir()} == names
    assert (tree / "swb_ms98_transcriptions/sw-ms98-dict.text").is_file()
    assert "SYNTHETIC" in (tree / "swb_ms98_transcriptions/AAREADME.text").read_text()
    english = tree / "LDC2002S09/hub5e_00/english"
    assert {path.name for path in english.iterdir()} == {"sw_4390.sph", "en_4156.sph", "hub5e_00.pem"}
    reference = tree / "LDC2002T43/reference"
    assert {path.name for path in reference.glob("english/*")} == {"sw_4390.txt", "en_4156.txt"}


def test_audio_is_two_channel_mu_law_with_the_real_header(tree: Path) -> None:
    for path in tree.rglob("*.sph"):
        info = soundfile.info(path)
        assert (info.channels, info.samplerate, info.subtype, info.format) == (2, 8000, "ULAW", "NIST")
        header = path.read_bytes()[:1024]
        assert header.startswith(b"NIST_1A\n   1024\n")
        assert b"sample_coding -s6 mu-law\n" in header
        assert f"sample_count -i {info.frames}\n".encode() in header
        assert path.stat().st_size == 1024 + 2 * info.frames
        samples, _ = soundfile.read(path)
        assert np.all(np.std(samples, axis=0) > 1e-3)  # neither side is dead
        assert not np.array_equal(samples[:, 0], samples[:, 1])


def test_segments_tile_each_side_and_words_tile_their_segments(tree: Path) -> None:
    for path in _sides(tree):
        audio = next(tree.rglob(f"sw0{path.name[2:6]}.sph"))
        segments = [line.split() for line in path.read_text().splitlines()]
        assert float(segments[0][1]) == 0.0
        assert float(segments[-1][2]) == pytest.approx(soundfile.info(audio).duration)
        for before, after in itertools.pairwise(segments):
            assert before[2] == after[1] and before[0] < after[0]
        words = [line.split() for line in Path(str(path).replace("-trans", "-word")).read_text().splitlines()]
        for key, start, end, *said in segments:
            own = [word for word in words if word[0] == key]
            assert own[0][1] == start and own[-1][2] == end
            assert all(a[2] == b[1] for a, b in itertools.pairwise(own))
            recognized = [token for token in said if token not in ("[silence]", "<b_aside>", "<e_aside>")]
            assert [word[3] for word in own if word[3] != "[silence]"] == recognized


def test_every_token_kind_occurs_and_one_side_has_no_silence(tree: Path) -> None:
    texts = {path.name: path.read_text() for path in _sides(tree)}
    everything = "".join(texts.values())
    for kind in (
        r" \[laughter\]",
        r" \[noise\]",
        r" \[vocalized-noise\]",
        r" \[laughter-[a-z']+\]",
        r" [a-z]+\[[a-z]+\]-",
        r" -\[[a-z]+\][a-z]+",
        r" \[[a-z']+/[a-z']+\]",
        r" \{[a-z]+\}",
        r" [a-z]+_1",
        r" <b_aside> .* <e_aside>",
    ):
        assert re.search(kind, everything), kind
    assert [name for name, text in texts.items() if not re.search(r"^\S+ \S+ \S+ \[silence\]$", text, re.M)]


def test_evaluation_files_agree_with_each_other(tree: Path) -> None:
    pem = [line.split() for line in _lines(tree / "LDC2002S09/hub5e_00/english/hub5e_00.pem")]
    stm = [line.split() for line in _lines(tree / "LDC2002T43/reference/hub5e00.english.000405.stm")]
    assert [(p[0], p[1], p[3], p[4]) for p in pem] == [(s[0], s[1], s[3], s[4]) for s in stm]
    txt = {
        (path.stem, line.split()[2][0], *line.split()[:2])
        for path in tree.glob("LDC2002T43/reference/english/*.txt")
        for line in path.read_text().splitlines()
        if line and not line.startswith("#")
    }
    assert txt == {(s[0], s[1], s[3], s[4]) for s in stm}
    assert sum("IGNORE_TIME_SEGMENT_IN_SCORING" in s for s in stm) == 1
    assert any(s[2].endswith("_A1") for s in stm)
    assert all(re.fullmatch(r"<O,(sw|en),[MF],(sw|en)-[MF]>", s[5]) and len(s) > 6 for s in stm)


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if not line.startswith(";;")]


def test_same_seed_same_bytes_other_seed_other_words(tree: Path, tmp_path: Path) -> None:
    write_tiny_tree(tmp_path / "same", seed=3)
    write_tiny_tree(tmp_path / "other", seed=4)
    files = sorted(path.relative_to(tree) for path in tree.rglob("*") if path.is_file())
    assert all((tree / file).read_bytes() == (tmp_path / "same" / file).read_bytes() for file in files)
    side = "swb_ms98_transcriptions/20/2001/sw2001A-ms98-a-trans.text"
    assert (tree / side).read_text() != (tmp_path / "other" / side).read_text()


def test_bad_amounts_are_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        write_corpus(tmp_path, hours=0, speech="tones")
    with pytest.raises(ValueError, match="more than 0"):
        write_corpus(tmp_path, eval_hours=float("nan"), speech="tones")
    with pytest.raises(ValueError, match="seed is -1; expected 0 or more"):
        write_corpus(tmp_path, seed=-1, speech="tones")
    with pytest.raises(ValueError, match="too many"):
        write_corpus(tmp_path, hours=1000, speech="tones")
    with pytest.raises(ValueError, match="expected one of espeak, tones"):
        write_corpus(tmp_path, speech="opera")  # type: ignore[arg-type]
