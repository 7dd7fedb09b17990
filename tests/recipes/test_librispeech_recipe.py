"""recipes/librispeech/run.sh on a tiny tree in LibriSpeech's layout, tones for speech."""

import gzip
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from swbd import RECIPE, Run, Verbs
from tones import spoken

from asr_parallel.corpus.datadir import read_utterances
from asr_parallel.record.files import read_json

ROOT = RECIPE.parents[2]
LIBRISPEECH = ROOT / "recipes" / "librispeech" / "run.sh"
LOCAL = ROOT / "local" / "librispeech"
PARTS = {  # readers, and utterances of a chapter
    "train-clean-100": ((103, 1034, 1040), 12), "train-clean-360": ((100,), 1), "train-other-500": ((20,), 1),
    "dev-clean": ((1272, 84), 2), "dev-other": ((116,), 3), "test-clean": ((1089,), 3), "test-other": ((1688,), 3),
}  # fmt: skip
SETS = ("dev_clean", "dev_other", "test_clean", "test_other")
ARPA = """\\data\\
ngram 1=6
ngram 2=2

\\1-grams:
-0.6 <s> -0.3
-0.6 </s>
-0.6 YES -0.3
-0.6 NO -0.3
-2.0 ELSEWHERE -0.3
-2.0 <UNK>

\\2-grams:
-0.3 YES NO
-0.4 NO ELSEWHERE

\\end\\
"""
LEXICON = "NO\tN OW1\nYES  Y EH1 S\nYES Y EH0 S\nAH0  AH0\n"  # a word that looks like a phone stays as it is


def write_part(root: Path, part: str, rng: np.random.Generator) -> None:
    readers, utterances = PARTS[part]
    for reader in readers:
        for chapter in (1240, 99):
            folder, lines = root / part / str(reader) / str(chapter), []
            folder.mkdir(parents=True)
            for n in range(utterances):
                words = rng.choice(["YES", "NO"], 4).tolist()
                key = f"{reader}-{chapter}-{n:04d}"
                soundfile.write(folder / f"{key}.flac", spoken(words, 16000, rng), 16000)
                lines.append(f"{key} {' '.join(words)}")
            (folder / f"{reader}-{chapter}.trans.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with LibriSpeech and a lexicon in it."""
    folder, rng = tmp_path_factory.mktemp("open slr"), np.random.default_rng(0)
    for part in PARTS:
        write_part(folder / "LibriSpeech", part, rng)
    (folder / "LibriSpeech" / "SPEAKERS.TXT").write_text("; ID  |SEX| SUBSET | MINUTES | NAME\n")
    (folder / "librispeech-lexicon.txt").write_text(LEXICON)
    return folder


@pytest.mark.timeout(400)
def test_from_its_own_layout_to_error_rates_of_four_sets(run: Run, corpus: Path, tmp_path: Path) -> None:
    exp = tmp_path / "exp"
    arpa = tmp_path / "3-gram.pruned.3e-7.arpa.gz"
    arpa.write_bytes(gzip.compress(ARPA.encode()))
    words = ["--corpus", str(corpus), "--exp", str(exp), "--size", "100", "--epochs", "1", "--arpa", str(arpa)]
    done = run(*words, recipe=LIBRISPEECH)
    assert done.returncode == 0, done.stderr
    train = read_utterances(exp / "data" / "train")
    assert len(train) == 72 and {u.speaker for u in train} == {"103", "1034", "1040"}
    assert {u.speaker for u in read_utterances(exp / "data" / "dev_clean")} == {"1272", "84"}
    lexicon = (exp / "lang" / "lexiconp.txt").read_text().splitlines()
    assert {"NO 1 N OW", "YES 1 Y EH S", "AH0 1 AH"} <= set(lexicon)
    assert sum(line.startswith("YES ") for line in lexicon) == 1
    model = read_json(exp / "lm" / "ppl.json")
    assert model["perplexity"].keys() == set(SETS) and model["left_out"]
    for system in ("mono", "tri", "dnn"):
        scored = {name: exp / system / f"decode_{name}" / "scoring" for name in SETS}
        weights = {name: read_json(path / "wer.json")["lmwt"] for name, path in scored.items()}
        assert weights["test_clean"] == weights["dev_clean"] and weights["test_other"] == weights["dev_other"]
        tuned = {name: read_json(path / "stage.json")["inputs"].get("dev") for name, path in scored.items()}
        assert tuned["dev_clean"] is None and tuned["dev_other"] is None
        assert all(f"decode_dev_{kind}" in tuned[f"test_{kind}"]["path"] for kind in ("clean", "other"))
        assert min(weights.values()) >= 7  # of Kaldi's range
    head = "| system | " + " | ".join(f"{name} WER %" for name in SETS)
    assert head in (exp / "results.md").read_text()
    again = run(*words, recipe=LIBRISPEECH)
    assert again.returncode == 0 and ": building" not in again.stderr, again.stderr


@pytest.mark.parametrize(
    ("size", "parts", "sets"),
    [
        ("mini", ["train-clean-5"], ["dev-clean-2"]),
        ("100", ["train-clean-100"], ["dev-clean", "dev-other", "test-clean", "test-other"]),
        (
            "960",
            ["train-clean-100", "train-clean-360", "train-other-500"],
            ["dev-clean", "dev-other", "test-clean", "test-other"],
        ),
    ],
)
def test_sizes(dry_run: Verbs, size: str, parts: list[str], sets: list[str]) -> None:
    called = dry_run("--corpus", "d", "--size", size, "--stop-stage", "0", recipe=LIBRISPEECH)
    found = [[b for a, b in pairwise(words) if a == "--part"] for words in called]
    assert [of for of in found if of] == [parts, *([one] for one in sets)]


def test_lexicon_and_language_model_from_files(dry_run: Verbs, tmp_path: Path) -> None:
    arpa = tmp_path / "3-gram.pruned.3e-7.arpa.gz"
    arpa.touch()
    words = ["--corpus", "d", "--lexicon", "mine.txt", "--arpa", str(arpa), "--stage", "1", "--stop-stage", "1"]
    called = dry_run(*words, "--stress", "true", recipe=LIBRISPEECH)
    assert [words[0] for words in called] == ["lang", "lm"]
    assert "mine.txt" in called[0] and str(arpa) in called[1]


def prepare(corpus: Path, part: str, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(LOCAL / "librispeech_data.py"), "--corpus", str(corpus), "--part", part]
    return subprocess.run([*command, "--out", str(out)], capture_output=True, text=True, timeout=60)


def test_the_corpus_may_be_named_by_its_own_folder(corpus: Path, tmp_path: Path) -> None:
    assert prepare(corpus / "LibriSpeech", "dev-other", tmp_path / "out").returncode == 0
    assert (tmp_path / "out" / "utt2spk").read_text().splitlines()[0] == "116-1240-0000 116"
    assert "LibriSpeech/dev-other/116/1240/116-1240-0000.flac" in (tmp_path / "out" / "wav.scp").read_text()


@pytest.mark.parametrize(
    ("trans", "message"),
    [
        (None, "expected READER/CHAPTER/READER-CHAPTER.trans.txt in it, found none"),
        ("116-7-0000 YES\n", "1-2.trans.txt: line 1: '116-7-0000': expected an utterance of 1-2"),
        ("1-2-0 YES\n1-2-0 NO\n", "two utterances are called 1-2-0"),
        ("\n", "no utterance to write"),
    ],
)
def test_another_layout_is_refused_in_one_line(tmp_path: Path, trans: str | None, message: str) -> None:
    folder = tmp_path / "LibriSpeech" / "dev-clean" / "1" / "2"
    folder.mkdir(parents=True)
    if trans is not None:
        (folder / "1-2.trans.txt").write_text(trans)
    done = prepare(tmp_path, "dev-clean", tmp_path / "out")
    assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1
    done = prepare(tmp_path, "dev-other", tmp_path / "out")
    assert done.returncode == 1 and "no part dev-other of LibriSpeech; found dev-clean" in done.stderr


def test_a_lexicon_that_is_not_there(tmp_path: Path) -> None:
    command = [sys.executable, str(LOCAL / "librispeech_lexicon.py"), "--lexicon", "nowhere"]
    done = subprocess.run([*command, "--out", str(tmp_path / "l")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "nowhere: no such lexicon" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--corpus is needed: the folder that has LibriSpeech/dev-clean"),
        (["--corpus", "d", "--size", "5"], "--size must be mini, 100, 460 or 960, not '5'"),
        (["--corpus", "d", "--stress", "no"], "--stress must be true or false, not 'no'"),
    ],
)
def test_options_that_do_not_fit(run: Run, words: list[str], message: str) -> None:
    done = run(*words, recipe=LIBRISPEECH)
    assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1
