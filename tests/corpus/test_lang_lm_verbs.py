"""The verbs lang and lm on a small data folder."""

import gzip
import json
from pathlib import Path

import pytest
from lhotse import AudioSource, Recording, SupervisionSegment

from asr_parallel.cli.main import main
from asr_parallel.corpus.arpa import read_arpa
from asr_parallel.corpus.datadir import write_data
from asr_parallel.hmm.lang import Lang

DIGITS = str(Path(__file__).parents[2] / "local" / "digits" / "lexicon.txt")


def make_data(folder, texts):
    source = AudioSource(type="file", channels=[0], source="absent.wav")
    audio = Recording("rec", [source], sampling_rate=8000, num_samples=800_000, duration=100.0)
    supervisions = [
        SupervisionSegment(f"spk-{n}", "rec", 2.0 * n, 1.0, channel=0, text=text, speaker="spk")
        for n, text in enumerate(texts)
    ]
    write_data(folder, [audio], supervisions)


@pytest.fixture
def exp(tmp_path):
    exp = tmp_path / "an exp; with $signs"
    make_data(exp / "data" / "train", ["one two [laughter]", "two two oh one"])
    make_data(exp / "data" / "dev", ["two one", "nine oh"])
    return exp


def lang(exp, *source):
    return main(["lang", "--data", str(exp / "data" / "train"), *source, "--out", str(exp / "lang")])


def lm(exp, *options):
    train, dev = (str(exp / "data" / name) for name in ("train", "dev"))
    command = ["lm", "--data", train, "--lang", str(exp / "lang"), "--eval", dev, "--out", str(exp / "lm")]
    return main([*command, *options])


def test_digits_with_words_outside_the_lexicon(exp):
    assert lang(exp, "--lexicon", DIGITS) == 0
    assert (exp / "lang" / "oov_words.txt").read_text() == "oh 1\n"
    opened = Lang.open(exp / "lang")
    assert opened.word_ids("oh one") == [opened.oov_id, opened.words["one"]]
    assert "lau" in opened.phones  # the text has laughter
    assert json.loads((exp / "lang" / "stage.json").read_text())["stage"] == 1


def test_trigram_has_unk_where_the_text_has_unknown_words(exp):
    assert lang(exp, "--lexicon", DIGITS) == 0
    assert lm(exp) == 0
    model = read_arpa(exp / "lm" / "lm.arpa")
    assert model.order == 3
    assert set(model.words) == {*Lang.open(exp / "lang").lexicon, "<s>", "</s>"}
    report = json.loads((exp / "lm" / "ppl.json").read_text())["perplexity"]["dev"]
    assert (report["sentences"], report["words"], report["oovs"]) == (2, 4, 1)
    assert report["perplexity"] > 1


def test_empty_transcripts_are_no_sentences(exp):
    assert lang(exp, "--lexicon", DIGITS) == 0
    assert lm(exp) == 0
    arpa, report = ((exp / "lm" / name).read_text() for name in ("lm.arpa", "ppl.json"))
    make_data(exp / "data" / "train", ["one two [laughter]", "", "two two oh one", ""])
    make_data(exp / "data" / "dev", ["", "two one", "nine oh", ""])
    assert lm(exp) == 0
    assert (exp / "lm" / "lm.arpa").read_text() == arpa
    assert (exp / "lm" / "ppl.json").read_text() == report


def test_order_0_is_a_loop_over_all_speech_words(exp):
    assert lang(exp, "--lexicon", DIGITS) == 0
    assert lm(exp, "--order", "0") == 0
    assert len(read_arpa(exp / "lm" / "lm.arpa").words) == 12
    report = json.loads((exp / "lm" / "ppl.json").read_text())["perplexity"]["dev"]
    assert report["perplexity"] == pytest.approx(11.0)


def test_dictionary_in_upper_case(exp, tmp_path):
    (tmp_path / "dict.text").write_text("# comment\nONE W AH N\nTWO T UW\nOH OW\n")
    assert lang(exp, "--dictionary", str(tmp_path / "dict.text")) == 0
    assert Lang.open(exp / "lang").lexicon.keys() == {"one", "two", "oh", "[laughter]", "<unk>"}


@pytest.mark.parametrize(
    ("option", "content", "message"),
    [
        ("--lexicon", None, "no such lexicon"),
        ("--lexicon", "one w ah n\ntwo\n", "line 2: the word 'two' has no phones"),
        ("--dictionary", "ONE\n", "line 1: the word 'one' has no phones"),
        ("--lexicon", "ONE w ah n\n", "none of the text's words"),
    ],
)
def test_bad_lexicons_leave_nothing_behind(exp, tmp_path, capsys, option, content, message):
    if content:
        (tmp_path / "lexicon").write_text(content)
    assert lang(exp, option, str(tmp_path / "lexicon")) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert message in error
    assert sorted(path.name for path in exp.iterdir()) == ["data"]


ARPA = """\\data\\
ngram 1=6
ngram 2=2

\\1-grams:
-99\t<s>\t-0.5
-1\t</s>
-0.5\tone\t-0.25
-0.75\ttwo\t-inf
-1\tyes\t-0.5
-2\t<UNK>

\\2-grams:
-0.125\t<s> two
-0.25\tyes one

\\end\\
"""


def lm_of_own(exp, arpa, *options):
    command = ["lm", "--arpa", str(arpa), "--lang", str(exp / "lang"), "--eval", str(exp / "data" / "dev")]
    return main([*command, "--out", str(exp / "lm"), *options])


def test_a_model_made_elsewhere(exp, tmp_path):
    (tmp_path / "own.arpa.gz").write_bytes(gzip.compress(ARPA.encode()))
    assert lang(exp, "--lexicon", DIGITS) == 0
    assert lm_of_own(exp, tmp_path / "own.arpa.gz") == 0
    report = json.loads((exp / "lm" / "ppl.json").read_text())
    assert (report["order"], report["ngrams"]) == (2, [5, 1])
    assert report["left_out"] == {
        "n-grams left out with a word outside the lexicon": 2,
        "numbers below -99 (backoff), raised to it": 1,
        "n-grams with <UNK>, taken for <unk>": 1,
    }
    dev = report["perplexity"]["dev"]  # "two one", "nine oh": nine and oh are OOVs
    assert (dev["words"], dev["oovs"]) == (4, 2)
    assert dev["log10_prob"] == pytest.approx(-0.125 + (-99 - 0.5) + (-0.25 - 1) + -1)
    assert set(read_arpa(exp / "lm" / "lm.arpa").words) == {"<s>", "</s>", "one", "two", "<unk>"}


def test_a_model_made_elsewhere_that_cannot_be_used(exp, tmp_path, capsys):
    assert lang(exp, "--lexicon", DIGITS) == 0
    (tmp_path / "upper.arpa").write_text(ARPA.replace("one", "ONE").replace("two", "TWO"))
    (tmp_path / "good.arpa").write_text(ARPA)
    for arpa, options, message in (
        ("upper.arpa", [], "2 of them are there with another letter case"),
        ("none.arpa", [], "no such language model"),
        ("good.arpa", ["--order", "3"], "--order and --min-count go with --data"),
    ):
        assert lm_of_own(exp, tmp_path / arpa, *options) == 1
        assert message in capsys.readouterr().err.splitlines()[-1]
        assert sorted(path.name for path in exp.iterdir()) == ["data", "lang"]


def test_lm_before_lang_names_what_is_missing(exp, capsys):
    assert lm(exp) == 1
    assert "lang: does not exist; run the stage that makes it first" in capsys.readouterr().err
