"""recipes/swbd/run.sh on a tree of a minute, tones for speech: every stage alone, then all again with nothing to do."""

import shutil
from pathlib import Path

import pytest
from swbd import MAX_ACTIVE, Run, discs

from asr_parallel.cli.main import main
from asr_parallel.corpus.lexicon import read_lexicon
from asr_parallel.decode.significance import mapsswe, wer_interval
from asr_parallel.record.files import read_json
from asr_parallel.report.comparison import Comparison

# One training diverges: it is shown so, and stops no other
MATRIX = """
workers: [2]
algorithms: {average: {period: 4}, ensemble: {period: 8, relabel_fraction: 0.2}}
optimizers: {sgd: {learning_rate: 0.002}}
options: {hidden_layers: 1, hidden_dim: 16, nonlinearity: relu, minibatch: 32, epochs: 1, combine: 0}
tune: {trials: 2, space: {learning_rate: {log: [0.001, 0.004]}}}
cells:
  - {algorithm: none, workers: [2], optimizer: sgd, label: bad, options: {learning_rate: 1.0e+30, max_change: 0,
     max_change_output: 0, max_param_change: 0}}
  - {algorithm: block-momentum, workers: [1], optimizer: sgd, label: Lookahead, baseline: false,
     options: {period: 5, outer_rate: 0.5, outer_momentum: 0}}
"""


@pytest.fixture(scope="module")
def exp(run: Run, tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    exp = tmp_path_factory.mktemp("exp")
    (exp / "compare.yaml").write_text(MATRIX)
    for stage in (0, 1, 2, 3, 4, 6, 7, 8):
        done = run(*discs(tree), *comparing(exp), "--stage", str(stage), "--stop-stage", str(stage))
        assert done.returncode == (1 if stage == 8 else 0), done.stderr
    assert "1 of 5 trainings failed: none_2_sgd_bad_s1; see" in done.stderr
    return exp


def comparing(exp: Path) -> list[str]:
    return ["--exp", str(exp), "--compare", str(exp / "compare.yaml"), "--margin", "3"]


@pytest.mark.timeout(600)
def test_every_system_gets_its_word_error_rate(exp: Path) -> None:
    for system in ("mono", "tri", "dnn"):
        for decoded in ("decode_dev", "decode_eval"):
            line = (exp / system / decoded / "best_wer").read_text()
            assert line.startswith("%WER ") and f"{system}/{decoded}" in line
        scored = read_json(exp / system / "decode_eval" / "scoring" / "wer.json")
        assert scored["words"] > 100
        # a tone a letter is easy; a system that has learnt nothing gets 100 % or more
        assert scored["wer"] < 60
    results = (exp / "results.md").read_text()
    assert all(f"| {system} |" in results for system in ("mono", "tri", "dnn"))


@pytest.mark.timeout(300)
def test_a_second_run_has_nothing_to_do(run: Run, exp: Path, tree: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in exp.rglob("stage.json")}
    done = run(*discs(tree), *comparing(exp))
    assert done.returncode == 1 and "1 of 5 trainings failed" in done.stderr
    assert ": building" not in done.stderr
    assert {path: path.stat().st_mtime_ns for path in exp.rglob("stage.json")} == before


@pytest.mark.timeout(300)
def test_a_copy_elsewhere_has_nothing_to_do_and_decodes(run: Run, exp: Path, tree: Path, tmp_path: Path) -> None:
    """A copy of an experiment and its discs, with other times: only the discs' new place is written anew."""
    copy = shutil.copytree(exp, tmp_path / "moved" / "exp", copy_function=shutil.copyfile)
    elsewhere = shutil.copytree(tree, tmp_path / "discs", copy_function=shutil.copyfile)
    gone = {path: path.rename(path.with_name(f"{path.name} gone")) for path in (exp, tree)}
    try:
        done = run(*discs(elsewhere), "--exp", str(copy), "--stop-stage", "7")
        graph, feats = copy / "tri" / "graph", copy / "feats" / "fbank" / "dev"
        words = ["decode", "--graph", graph, "--model", copy / "dnn", "--feats", feats, "--out", copy / "again"]
        assert main([*map(str, words), "--max-active", str(MAX_ACTIVE), "--jobs", "1"]) == 0
    finally:
        for path, aside in gone.items():
            aside.rename(path)
    assert done.returncode == 0, done.stderr
    built = [line.split()[-2].rstrip(":") for line in done.stderr.splitlines() if line.endswith(": building")]
    assert built == [f"{copy}/data/{name}" for name in ("train", "dev", "eval")]
    assert (copy / "again" / "1best.txt").read_bytes() == (exp / "dnn" / "decode_dev" / "1best.txt").read_bytes()


def test_a_dry_run_lists_what_it_would_train(exp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--exp", str(exp), "--matrix", str(exp / "compare.yaml"), "--out", str(exp / "dry"), "--dry-run"]
    assert main(["compare", *words]) == 0
    said = capsys.readouterr().out.splitlines()
    rows = {words[1].strip(): words[2:6] for line in said if len(words := line.split("|")) == 7}
    ensemble, average = (rows[f"{name}_2_sgd_s1"] for name in ("ensemble", "average"))
    assert int(average[1].replace(",", "")) > 1000
    decoded = sum(read_json(exp / "dnn" / f"decode_{of}" / "decode.json")["cpu_seconds"] for of in ("dev", "eval"))
    assert float(average[3]) == round(decoded / 3600, 3) and float(ensemble[3]) == round(2 * decoded / 3600, 3)
    assert f"Decoding as of {exp}/dnn, with its options." in said
    assert not list((exp / "dry").glob("*_s1*"))


def test_two_algorithms_side_by_side(exp: Path) -> None:
    out = exp / "compare"
    found = Comparison.open(out / "comparison.json")
    cells = {cell.name: cell for cell in found.cells}
    ensembles = {"ensemble_2_sgd_s1", "ensemble_2_sgd_s1_ensemble"}
    lone = "block-momentum_1_sgd_Lookahead"
    assert set(cells) == {"none_1_sgd_s1", "average_2_sgd_s1", "none_2_sgd_bad_s1", f"{lone}_s1", *ensembles}
    one, average, together = (cells[name] for name in ("none_1_sgd_s1", "average_2_sgd_s1", max(ensembles)))
    assert found.sets == ("eval", "dev")
    assert found.margin == 3 and "3 % of the single worker's WER" in (out / "RESULTS.md").read_text()
    assert one.speedup_frames == one.speedup_loss == 1 and one.learning_curve[-1].frames == one.frames
    scored = read_json(out / "average_2_sgd_s1" / "decode_eval" / "scoring" / "wer.json")
    assert (average.wer["eval"].wer, average.wer["eval"].words) == (scored["wer"], scored["words"])
    decoded = {name: out / name / "decode_eval" for name in ("none_1_sgd_s1", "average_2_sgd_s1")}
    interval = wer_interval(decoded[average.name])
    assert (average.wer["eval"].low, average.wer["eval"].high) == (interval.low, interval.high)
    assert average.wer["eval"].p_value == mapsswe(decoded[average.name], decoded[one.name]).p
    assert average.syncs >= average.frames_per_worker // (4 * 32) > 0 and 0 <= average.cut_share < 1
    assert average.period == 4 and average.bytes_per_worker > 0 and 1 < average.speedup_frames <= 2
    decoded = out / "ensemble_2_sgd_s1_ensemble" / "decode_eval"
    assert read_json(decoded / "stage.json")["inputs"]["model"]["path"].endswith("ensemble_2_sgd_s1/ensemble")
    assert together.wer["eval"].words == scored["words"] and together.measured.label > 0
    failed = cells["none_2_sgd_bad_s1"]
    assert failed.status == "diverged" and "diverged" in failed.error and not failed.wer
    moved = cells[f"{lone}_s1"]
    assert moved.moved and moved.wer["eval"].p_value is not None and moved.bytes_per_worker is None
    assert moved.syncs >= moved.frames // (5 * 32) > 0 and 0.5 < moved.speedup_frames <= 1
    assert found.tuning is not None
    chosen = {one.name: one.trials[one.best] for one in found.tuning.contestants}
    assert set(chosen) == {"none_1_sgd", "average_2_sgd", "ensemble_2_sgd", lone}  # the rate of the bad one is its own
    assert f"--learning-rate {chosen['average_2_sgd'].values['learning_rate']} " in average.command
    assert "## Tuning" in (out / "RESULTS.md").read_text() and (out / "trials.csv").is_file()
    page = (out / "report.html").read_text()
    assert "diverged" in page and "http-equiv" not in page


@pytest.mark.timeout(300)
def test_a_network_begins_as_rbms(run: Run, exp: Path, tree: Path) -> None:
    names = ["--exp", str(exp), "--rbm", "stack", "--dnn", "dnn_rbm"]
    begun = [*names, "--pretrain", "rbm", "--epochs", "1", "--rbm-epochs", "2"]
    done = run(*discs(tree), *begun, "--stage", "5", "--stop-stage", "6")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (exp / "stack").iterdir()} == {"1", "2", "curves.png"}
    assert read_json(exp / "stack" / "1" / "stage.json")["options"]["epochs"] == 2
    made = read_json(exp / "dnn_rbm" / "stage.json")
    assert (made["options"]["pretrain"], made["options"]["nonlinearity"]) == ("rbm", "sigmoid")
    assert made["options"]["learning_rate"] == 0.032  # the recipe's for these
    assert made["inputs"]["rbm 2"]["path"] == f"{exp}/stack/2"
    done = run(*discs(tree), "--exp", str(exp), "--stage", "5", "--stop-stage", "5")
    assert done.returncode == 0 and "nothing to do with --pretrain none" in done.stderr


@pytest.mark.timeout(300)
def test_a_lost_stage_is_made_again_alone(run: Run, exp: Path, tree: Path) -> None:
    shutil.rmtree(exp / "frames")
    done = run(*discs(tree), "--exp", str(exp), "--stage", "4", "--stop-stage", "6")
    assert done.returncode == 0, done.stderr
    assert [line.split(")", 1)[1].strip() for line in done.stderr.splitlines() if line.endswith(": building")] == [
        f"{exp}/frames: building"
    ]


@pytest.mark.timeout(120)
def test_pronunciation_probabilities_come_from_the_alignment(exp: Path, tree: Path, tmp_path: Path) -> None:
    dictionary = str(tree / "swb_ms98_transcriptions" / "sw-ms98-dict.text")
    words = ["lang", "--data", str(exp / "data" / "train"), "--dictionary", dictionary, "--out", str(tmp_path / "lang")]
    assert main([*words, "--pron-probs", str(exp / "tri"), str(exp / "lang")]) == 0
    estimated = read_lexicon(tmp_path / "lang" / "lexiconp.txt")
    assert estimated.keys() == read_lexicon(exp / "lang" / "lexiconp.txt").keys()
    assert all(max(probability for probability, _ in variants) == 1.0 for variants in estimated.values())
    assert any(probability < 1.0 for variants in estimated.values() for probability, _ in variants)
