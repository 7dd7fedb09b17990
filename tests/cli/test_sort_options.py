"""sort-options: which verb gets an option of a recipe."""

import re
from pathlib import Path

import pytest

from asr_parallel.cli.sort_options import DESTINATIONS
from asr_parallel.record.options import names
from asr_parallel.record.program import VERBS, build_parser, main

COMMON = Path(__file__).parents[2] / "recipes" / "common.sh"


def sorted_words(capsys: pytest.CaptureFixture[str], own: dict[str, str], words: str) -> list[tuple[str, ...]]:
    given = [word for item in own.items() for word in ("--own", "=".join(item))]
    assert main(["sort-options", *given, "--", *words.split()]) == 0
    return [tuple(line.split("\t")) for line in capsys.readouterr().out.splitlines()]


def test_recipes_have_an_array_for_every_destination() -> None:
    assert set(re.findall(r"(\w+)_opts=\(\)", COMMON.read_text())) == set(DESTINATIONS)


@pytest.mark.parametrize("name", DESTINATIONS)
def test_what_is_fixed_or_shared_is_an_option_of_the_verb(name: str) -> None:
    import importlib

    destination = DESTINATIONS[name]
    groups = importlib.import_module(VERBS[destination.verb][0]).option_groups()
    known = frozenset().union(*(names(group) for group in groups))
    assert destination.fixed <= known and destination.shared <= known


def test_a_prefix_names_the_verb(capsys: pytest.CaptureFixture[str]) -> None:
    own = {"mono": "", "tri": "", "rbm": "", "dnn": ""}
    found = sorted_words(capsys, own, "--mono-num-gauss 9 --tri-num-gauss 8 --rbm-epochs 7 --epochs 6 --workers 2")
    assert found == [
        ("mono", "--num-gauss=9"), ("tri", "--num-gauss=8"), ("rbm", "--epochs=7"), ("rbm", "--workers=2"),
        ("dnn", "--epochs=6"), ("dnn", "--workers=2"),
    ]  # fmt: skip


def test_every_set_is_said_with_the_one_that_chooses_its_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sort-options", "--own", "dnn=", "--sets", "a b c:b d", "--", "--epochs", "3"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "dnn\t--epochs=3",
        "sets\ta:a",
        "sets\tb:b",
        "sets\tc:b",
        "sets\td:a",
    ]
    assert main(["sort-options", "--sets", "a b:c"]) == 1
    assert "the tuning set 'c' is not among the sets" in capsys.readouterr().err


def test_a_device_is_that_of_training_and_decoding(capsys: pytest.CaptureFixture[str]) -> None:
    found = sorted_words(capsys, {"rbm": "", "dnn": "", "decode": "", "score": ""}, "--device cuda")
    assert found == [(name, "--device=cuda") for name in ("rbm", "dnn", "decode")]


def test_values_may_look_like_flags_and_the_last_counts(capsys: pytest.CaptureFixture[str]) -> None:
    found = sorted_words(capsys, {"score": "", "frames": "--norm-vars"}, "--word-ins-penalties -1,0 --norm-vars false")
    assert found == [("score", "--word-ins-penalties=-1,0"), ("frames", "--no-norm-vars")]


@pytest.mark.parametrize(
    ("own", "words", "message"),
    [
        ("dnn=", "--no-such 1", "unknown option --no-such"),
        ("dnn=", "--beam 9", "--beam is an option of decode, which has no part in this run"),
        ("dnn=", "--learning-rate fast", "--learning-rate: invalid float value: 'fast'"),
        ("dnn=", "--learning-rate -1", "learning_rate -1.0: expected a number above 0"),
        ("dnn=--algorithm gradient", "--period 3", "period 3 is of no use to algorithm gradient"),
        ("dnn=--epochs 0", "", "epochs 0: expected a whole number of at least 1"),
        ("decode=", "--min-active 9000", "expected min_active < max_active, got 9000 and 7000"),
        ("train_fbank=", "--train-fbank-warp-factors 0.9", "expected different numbers with 1.0 among them"),
        ("train_fbank=", "--train-fbank-warp-factors 1.0,x", "expected numbers with commas between, got '1.0,x'"),
        ("feats=", "--warp-factors 0.9,1.0", "unknown option --warp-factors"),
        ("feats=", "--kind fbank", "unknown option --kind"),  # recipes say it themselves
        ("feats=", "--max-bad-share 2", "max_bad_share 2.0: expected a number of at least 0 and at most 1"),
        ("score=", "--score-units letter", "--score-units: invalid choice: 'letter'"),
        ("import_kaldi=", "--sampling-rate 16k", "--sampling-rate: invalid int value: '16k'"),
        ("rbm=", "--rbm-epochs many", "--epochs: invalid int value: 'many'"),
        ("frames=", "--norm-vars 1", "--norm-vars must be true or false, not '1'"),
    ],
)
def test_bad_options_are_one_line(capsys: pytest.CaptureFixture[str], own: str, words: str, message: str) -> None:
    assert main(["sort-options", "--own", own, "--", *words.split()]) == 1
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and not said.out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        build_parser(verb).parse_args([verb, "--help"])
    assert exit_.value.code == 0 and verb in capsys.readouterr().out
