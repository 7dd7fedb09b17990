"""recipes/an4/run.sh on a tiny tree in CMU's layout, tones for speech."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from swbd import RECIPE, Run, Verbs
from tones import spoken

from asr_parallel.corpus.audio import read_audio
from asr_parallel.corpus.datadir import read_utterances
from asr_parallel.record.files import read_json

ROOT = RECIPE.parents[2]
AN4 = ROOT / "recipes" / "an4" / "run.sh"
PROGRAM = ROOT / "local" / "an4" / "an4_data.py"
SPEAKERS = {"train": ("fash", "fbbh", "mblb", "mjda"), "test": ("fcaw", "miry")}
FOLDER = {"train": "an4_clstk", "test": "an4test_clstk"}


@pytest.fixture
def an4(tmp_path: Path) -> Path:
    """An AN4 of six speakers, SPHERE files; train's transcripts have sentence marks and test's have not, as CMU's."""
    root, rng = tmp_path / "an4 of CMU", np.random.default_rng(0)
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "an4.dic").write_text("NO\tN OW\nYES  Y EH S\nYES(2)  Y EH S\n")
    for part, speakers in SPEAKERS.items():
        files, transcripts = [], []
        for speaker in speakers:
            for n in range(12 if part == "train" else 2):
                words = rng.choice(["YES", "NO"], 4).tolist()
                name = f"an{250 + n}-{speaker}-b"
                path = root / "wav" / FOLDER[part] / speaker / f"{name}.sph"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, spoken(words, 16000, rng), 16000, format="NIST", subtype="PCM_16")
                files.append(f"{FOLDER[part]}/{speaker}/{name}")
                text = " ".join(words)
                transcripts.append(f"<s> {text} </s> ({name})" if part == "train" else f"{text} ({name})")
        (root / "etc" / f"an4_{part}.fileids").write_text("\n".join(files) + "\n")
        (root / "etc" / f"an4_{part}.transcription").write_text("\n".join(transcripts) + "\n")
    return root


@pytest.mark.timeout(400)
def test_from_cmus_layout_to_error_rates(run: Run, an4: Path, tmp_path: Path) -> None:
    exp = tmp_path / "exp"
    words = ["--corpus", str(an4), "--exp", str(exp), "--dev-speakers", "1", "--tri-leaves", "20", "--epochs", "1"]
    done = run(*words, recipe=AN4)
    assert done.returncode == 0, done.stderr
    sets = {name: read_utterances(exp / "data" / name) for name in ("train", "dev", "test")}
    assert {name: {u.speaker for u in of} for name, of in sets.items()} == {
        "train": {"fash", "fbbh", "mjda"}, "dev": {"mblb"}, "test": {"fcaw", "miry"}
    }  # fmt: skip
    said = (an4 / "etc" / "an4_train.transcription").read_text().splitlines()[0]
    assert f"<s> {sets['train'][0].text} </s> (an250-fash-b)" == said and sets["train"][0].id == "fash-an250-b"
    assert "YES 1 Y EH S" in (exp / "lang" / "lexiconp.txt").read_text()
    for system in ("mono", "tri", "dnn"):
        dev, test = (read_json(exp / system / f"decode_{name}" / "scoring" / "wer.json") for name in ("dev", "test"))
        assert (dev["words"], test["words"]) == (48, 16) and (dev["lmwt"], dev["wip"]) == (test["lmwt"], test["wip"])
    assert "| system | dev WER % | test WER % |" in (exp / "results.md").read_text()
    again = run(*words, recipe=AN4)
    assert again.returncode == 0 and ": building" not in again.stderr, again.stderr


def prepare(corpus: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROGRAM), "--corpus", str(corpus), "--out", str(out), *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("order", ["big", "little"])
def test_audio_without_a_header(an4: Path, tmp_path: Path, order: str) -> None:
    expected = {}
    for path in sorted(an4.rglob("*.sph")):
        samples, _ = soundfile.read(path, dtype="int16")
        path.with_suffix(".raw").write_bytes(samples.astype(">i2" if order == "big" else "<i2").tobytes())
        expected[path.stem] = samples
        path.unlink()
    done = prepare(an4, tmp_path / "out", "--dev-speakers", "1")
    assert done.returncode == 1 and "samples without a header; say --byte-order big or little" in done.stderr
    done = prepare(an4, tmp_path / "out", "--dev-speakers", "1", "--byte-order", order)
    assert done.returncode == 0, done.stderr
    key, file = (tmp_path / "out" / "test" / "wav.scp").read_text().splitlines()[0].split(" ", 1)
    assert key == "fcaw-an250-b" and np.array_equal(read_audio(Path(file)), expected["an250-fcaw-b"])


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("an4_train.fileids", None, "an4_train.fileids: no such file; expected CMU's AN4"),
        ("an4_test.transcription", None, "an4_test.transcription: no such file; expected CMU's AN4"),
        ("an4_test.transcription", "YES NO\n", "line 1: expected 'WORDS (FILE)', got 'YES NO'"),
        ("an4_test.transcription", "YES (an1-fcaw-b)\n", "an4_test.fileids: line 1: 'an250-fcaw-b': has no transcript"),
        ("an4_test.fileids", "an4test_clstk/x\n", "line 1: 'x': expected a name such as an251-fash-b"),
        ("an4_test.fileids", "an4test_clstk/fcaw/an250-fcaw-b\n" * 2, "two utterances are called fcaw-an250-b"),
    ],
)
def test_lists_that_do_not_fit_are_refused_in_one_line(
    an4: Path, tmp_path: Path, file: str, text: str | None, message: str
) -> None:
    if text is None:
        (an4 / "etc" / file).unlink()
    else:
        (an4 / "etc" / file).write_text(text)
    done = prepare(an4, tmp_path / "out", "--dev-speakers", "1")
    assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("speakers", ["0", "4"])
def test_some_speakers_must_be_left_to_train(an4: Path, tmp_path: Path, speakers: str) -> None:
    done = prepare(an4, tmp_path / "out", "--dev-speakers", speakers)
    assert done.returncode == 1 and f"--dev-speakers {speakers}: expected 1 to 3" in done.stderr


@pytest.mark.timeout(120)
def test_a_lost_recording_is_left_out(run: Run, an4: Path, tmp_path: Path) -> None:
    next(iter(sorted(an4.rglob("*fash*.sph")))).unlink()
    words = ["--corpus", str(an4), "--exp", str(tmp_path / "exp"), "--dev-speakers", "1", "--stop-stage", "0"]
    done = run(*words, "--max-bad-share", "0.1", recipe=AN4)
    assert done.returncode == 0, done.stderr
    assert "fash-an250-b" in (tmp_path / "exp" / "data" / "train" / "dropped.txt").read_text()
    shutil.rmtree(tmp_path / "exp")
    assert run(*words, "--max-bad-share", "0", recipe=AN4).returncode == 1


def test_kaldi_data_directories_have_their_own_set_names(dry_run: Verbs) -> None:
    called = dry_run("--corpus", "d", "--corpus-format", "kaldi", "--stop-stage", "1", recipe=AN4)
    assert [words[2] for words in called if words[0] == "import-kaldi"] == ["d/train", "d/dev", "d/eval"]
    (lang,) = [words for words in called if words[0] == "lang"]
    assert lang[lang.index("--lexicon") + 1] == "d/lexicon.txt"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--corpus is needed: the folder an4"),
        (["--corpus", "d", "--sets", "dev eval"], "--corpus-format cmu has the sets dev and test, not 'eval'"),
        (["--corpus-format", "kaldi"], "--corpus-format kaldi needs --corpus DIR"),
        (["--corpus", "d", "--corpus-format", "zip"], "--corpus-format must be cmu, kaldi or lhotse, not 'zip'"),
    ],
)
def test_options_that_do_not_fit(run: Run, words: list[str], message: str) -> None:
    done = run(*words, recipe=AN4)
    assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1
