"""The table of results."""

import pytest

from asr_parallel.cli.main import main
from asr_parallel.record.files import read_json, write_json
from asr_parallel.report.results import results_markdown, stage_seconds, system_results


def scored(exp, system, name, wer, sclite=None, subsets=None):
    figures = {"wer": wer, "errors": 84, "words": 1000, "ins": 9, "del": 2, "sub": 73}
    record = figures | {"lmwt": 9, "wip": 0.5, "scorer": "asr-parallel", "rules": "plain", "subsets": subsets or {}}
    record["sclite"] = None if sclite is None else figures | sclite
    write_json(exp / system / f"decode_{name}" / "scoring" / "wer.json", record)


@pytest.fixture
def exp(tmp_path):
    exp = tmp_path / "exp"
    for system, wer in (("tri", 7.0), ("dnn", 5.25), ("mono", 8.4), ("dnn_k4", 5.5)):
        scored(exp, system, "dev", wer + 1, sclite={})
        scored(exp, system, "eval", wer, sclite={} if system != "tri" else {"sub": 72})
    for path, number, seconds in (("lang", 1, 1.5), ("lm", 1, 2.0), ("mono/decode_dev/scoring", 7, 3.0)):
        write_json(exp / path / "stage.json", {"stage": number, "seconds": seconds})
    return exp


def test_systems_come_in_the_order_of_training(exp):
    assert [system.name for system in system_results(exp)] == ["mono", "tri", "dnn", "dnn_k4"]


def test_seconds_are_summed_by_stage(exp):
    write_json(exp / ".lm.old" / "stage.json", {"stage": 1, "seconds": 9.0})  # of a run that was killed
    (exp / "lm").rename(exp.parent / "on a larger disk")
    (exp / "lm").symlink_to("../on a larger disk")
    assert stage_seconds(exp) == {1: 3.5, 7: 3.0}


def test_markdown(exp):
    lines = results_markdown(exp).splitlines()
    assert lines[0] == f"# Word error rates in {exp}"
    assert "| mono | 9.40 | 8.40 | 9, 0.5 | asr-parallel plain, same by sclite |" in lines
    assert "| tri | 8.00 | 7.00 | 9, 0.5 | asr-parallel plain, sclite differs |" in lines
    assert "| 1 lexicon and language model | 3.5 |" in lines
    assert "| all | 6.5 |" in lines
    assert "synthetic" not in "\n".join(lines)


def test_synthetic_corpora_are_called_so_in_every_row(exp):
    write_json(exp / "corpus" / "synthetic.json", {})
    scored(exp, "mono", "eval", 30.0, subsets={"swbd": {"wer": 25.0, "errors": 5, "words": 20}})
    lines = results_markdown(exp).splitlines()
    assert "(synthetic speech)" in lines[0]
    rows = [line for line in lines if line.startswith(("| mono", "| tri", "| dnn"))]
    assert len(rows) == 5
    assert all("synthetic" in row for row in rows)
    assert "| mono, synthetic, swbd | 25.00 | 5 | 20 |" in rows


def test_rates_of_characters_stand_beside_those_of_words(exp):
    for name, cer in (("dev", 3.5), ("eval", 2.25)):
        write_json(exp / "dnn" / f"decode_{name}" / "scoring" / "cer.json", {"cer": cer})
    lines = results_markdown(exp).splitlines()
    assert lines[0] == f"# Word and character error rates in {exp}"
    assert "| system | dev WER % | eval WER % | dev CER % | eval CER % | LM weight, word penalty | scorer |" in lines
    assert "| dnn | 6.25 | 5.25 | 3.50 | 2.25 | 9, 0.5 | asr-parallel plain, same by sclite |" in lines
    assert "| tri | 8.00 | 7.00 |  |  | 9, 0.5 | asr-parallel plain, sclite differs |" in lines


def test_verb_prints_and_keeps_the_table(exp, capsys):
    assert main(["results", "--exp", str(exp)]) == 0
    assert capsys.readouterr().out == (exp / "results.md").read_text()


def test_nothing_scored_yet(tmp_path, capsys):
    assert main(["results", "--exp", str(tmp_path)]) == 1
    assert "no system was scored yet" in capsys.readouterr().err


def test_sets_have_any_names_and_their_own_weights(tmp_path):
    for name, wer, lmwt in (("dev_clean", 5.0, 9), ("dev_other", 9.0, 11), ("test_clean", 6.0, 9)):
        scored(tmp_path, "dnn", name, wer, subsets={"men": {"wer": 1.0, "errors": 1, "words": 100}})
        path = tmp_path / "dnn" / f"decode_{name}" / "scoring" / "wer.json"
        write_json(path, read_json(path) | {"lmwt": lmwt})
    scored(tmp_path, "tri", "test_clean", 8.0)
    lines = results_markdown(tmp_path).splitlines()
    assert lines[2].startswith("| system | dev_clean WER % | dev_other WER % | test_clean WER % | LM weight")
    assert "| tri |  |  | 8.00 | 9, 0.5 | asr-parallel plain |" in lines
    assert any(
        line.startswith("| dnn | 5.00 | 9.00 | 6.00 | 9, 0.5 (dev_clean test_clean); 11, 0.5 (dev_other) |")
        for line in lines
    )
    assert [line for line in lines if line.startswith("| part of")] == [
        f"| part of {name} | WER % | errors | words |" for name in ("dev_clean", "dev_other", "test_clean")
    ]
