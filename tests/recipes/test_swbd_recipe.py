"""recipes/swbd/run.sh on a tree of a minute, tones for speech: every stage alone, then all again with nothing to do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_parallel.cli.main import main
from asr_parallel.corpus.datadir import read_utterances
from asr_parallel.corpus.lexicon import read_lexicon
from asr_parallel.decode.significance import mapsswe, wer_interval
from asr_parallel.features.frames import FrameStore
from asr_parallel.hmm.gmm import DiagGmmSet
from asr_parallel.hmm.gmm_update import MIN_VARIANCE
from asr_parallel.record.files import read_json
from asr_parallel.report.comparison import Comparison
from asr_parallel.testing.tiny_swbd import write_tiny_tree

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "swbd" / "run.sh"
SIZES = {"mono-num-gauss": 80, "tri-leaves": 50, "tri-num-gauss": 100, "hidden-dim": 32, "hidden-layers": 2, "jobs": 2}
SMALL = [word for name, size in SIZES.items() for word in (f"--{name}", str(size))]
KALDI = ["--corpus-format", "kaldi", "--corpus", "my data", "--lexicon", "lexicon.txt"]
TONES = {"yes": (700, 2100, 5200), "no": (400, 1200)}  # Hz of a word's phones; one too high for telephones

# One training diverges: it is shown so, and stops no other
MATRIX = """
workers: [2]
algorithms: {average: {period: 4}, ensemble: {period: 8, relabel_fraction: 0.2}}
optimizers: {sgd: {learning_rate: 0.002}}
options: {hidden_layers: 1, hidden_dim: 16, nonlinearity: relu, minibatch: 32, epochs: 1, combine: 0}
cells:
  - {algorithm: none, workers: [2], optimizer: sgd, label: bad, options: {learning_rate: 1.0e+30, max_change: 0,
     max_change_output: 0, max_param_change: 0}}
"""


def run(*words: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [str(RECIPE), *SMALL, *words], capture_output=True, text=True, timeout=280, env=os.environ | {"PATH": path}
    )


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("a tree; with $(odd) characters")
    write_tiny_tree(root, conversations=4, seconds=40)
    return root


def discs(tree: Path) -> list[str]:
    return [
        *("--audio", str(tree / "LDC97S62"), "--transcripts", str(tree / "swb_ms98_transcriptions")),
        *("--eval-audio", str(tree / "LDC2002S09"), "--eval-transcripts", str(tree / "LDC2002T43")),
    ]


@pytest.fixture(scope="module")
def exp(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    exp = tmp_path_factory.mktemp("exp")
    (exp / "compare.yaml").write_text(MATRIX)
    for stage in (0, 1, 2, 3, 4, 6, 7, 8):
        done = run(*discs(tree), *comparing(exp), "--stage", str(stage), "--stop-stage", str(stage))
        assert done.returncode == (1 if stage == 8 else 0), done.stderr
    assert "1 of 4 trainings failed: none_2_sgd_bad_s1; see" in done.stderr
    return exp


def comparing(exp: Path) -> list[str]:
    return ["--exp", str(exp), "--compare", str(exp / "compare.yaml")]


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
def test_a_second_run_has_nothing_to_do(exp: Path, tree: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in exp.rglob("stage.json")}
    done = run(*discs(tree), *comparing(exp))
    assert done.returncode == 1 and "1 of 4 trainings failed" in done.stderr
    assert ": building" not in done.stderr
    assert {path: path.stat().st_mtime_ns for path in exp.rglob("stage.json")} == before


@pytest.mark.timeout(300)
def test_a_copy_elsewhere_has_nothing_to_do_and_decodes(exp: Path, tree: Path, tmp_path: Path) -> None:
    """A copy of an experiment and its discs, with other times: only the discs' new place is written anew."""
    copy = shutil.copytree(exp, tmp_path / "moved" / "exp", copy_function=shutil.copyfile)
    elsewhere = shutil.copytree(tree, tmp_path / "discs", copy_function=shutil.copyfile)
    gone = {path: path.rename(path.with_name(f"{path.name} gone")) for path in (exp, tree)}
    try:
        done = run(*discs(elsewhere), "--exp", str(copy), "--stop-stage", "7")
        graph, feats = copy / "tri" / "graph", copy / "feats" / "fbank" / "dev"
        words = ["decode", "--graph", graph, "--model", copy / "dnn", "--feats", feats, "--out", copy / "again"]
        assert main([*map(str, words), "--jobs", "1"]) == 0
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
    assert set(cells) == {"none_1_sgd_s1", "average_2_sgd_s1", "none_2_sgd_bad_s1", *ensembles}
    one, average, together = (cells[name] for name in ("none_1_sgd_s1", "average_2_sgd_s1", max(ensembles)))
    assert one.speedup_frames == one.speedup_loss == 1 and one.learning_curve[-1].frames == one.frames
    scored = read_json(out / "average_2_sgd_s1" / "decode_eval" / "scoring" / "wer.json")
    assert (average.wer["eval"].wer, average.wer["eval"].words) == (scored["wer"], scored["words"])
    decoded = {name: out / name / "decode_eval" for name in ("none_1_sgd_s1", "average_2_sgd_s1")}
    interval = wer_interval(decoded[average.name])
    assert (average.wer["eval"].low, average.wer["eval"].high) == (interval.low, interval.high)
    assert average.wer["eval"].p_value == mapsswe(decoded[average.name], decoded[one.name]).p
    assert average.period == 4 and average.bytes_per_worker > 0 and 1 < average.speedup_frames <= 2
    decoded = out / "ensemble_2_sgd_s1_ensemble" / "decode_eval"
    assert read_json(decoded / "stage.json")["inputs"]["model"]["path"].endswith("ensemble_2_sgd_s1/ensemble")
    assert together.wer["eval"].words == scored["words"] and together.measured.label > 0
    failed = cells["none_2_sgd_bad_s1"]
    assert failed.status == "diverged" and "diverged" in failed.error and not failed.wer
    page = (out / "report.html").read_text()
    assert "diverged" in page and "http-equiv" not in page


@pytest.mark.timeout(300)
def test_a_network_begins_as_rbms(exp: Path, tree: Path) -> None:
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
def test_a_lost_stage_is_made_again_alone(exp: Path, tree: Path) -> None:
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


@pytest.mark.parametrize("stage", [1, 2, 3, 4, 6, 7])  # 5 has nothing to do
def test_a_stage_without_its_input_says_which_is_missing(tmp_path: Path, tree: Path, stage: int) -> None:
    done = run(*discs(tree), "--exp", str(tmp_path / "exp"), "--stage", str(stage), "--stop-stage", str(stage))
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if "error:" in line]
    assert len(errors) == 1 and "does not exist; run the stage that makes it first" in errors[0]
    assert not (tmp_path / "exp").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--audio", "somewhere"], "--audio, --transcripts, --eval-audio and --eval-transcripts go together"),
        (["--corpus-format", "kaldi"], "--corpus-format kaldi needs --corpus DIR and --lexicon FILE"),
        (["--corpus-format", "zip"], "--corpus-format must be ldc or kaldi, not 'zip'"),
        (["--corpus", "somewhere"], "--corpus goes with --corpus-format kaldi"),
        (["--no-such", "1"], "unknown option --no-such"),
        (["--sampling-rate", "16000"], "--sampling-rate is an option of import-kaldi, which has no part in this run"),
        (["--algorithm", "gradient", "--period", "3"], "period 3 is of no use to algorithm gradient"),
        (["--pretrain", "dbn"], "--pretrain must be none or rbm, not 'dbn'"),
        (["--pretrain", "rbm", "--nonlinearity", "relu"], "--pretrain rbm begins sigmoids, not --nonlinearity relu"),
    ],
)
def test_options_that_do_not_fit_together(words: list[str], message: str) -> None:
    done = run(*words)
    assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1


def write_tones(folder: Path, utterances: int, rate: int, seed: int) -> None:
    """A Kaldi data directory in which every phone is a tone, with digital silence around the words."""
    rng = np.random.default_rng(seed)
    t = np.arange(rate // 10) / rate
    say = {word: np.concatenate([3000 * np.sin(2 * np.pi * f * t) for f in of]) for word, of in TONES.items()}
    folder.mkdir(parents=True)
    lines: dict[str, list[str]] = {"wav.scp": [], "text": [], "utt2spk": []}
    for n in range(utterances):
        words = rng.choice(list(TONES), 4).tolist()
        spoken = np.concatenate([say[word] for word in words])
        sound = np.pad(spoken + rng.normal(0, 100, len(spoken)), rate // 5).astype(np.int16)
        soundfile.write(folder / f"{n}.wav", sound, rate)
        lines["wav.scp"].append(f"s{n % 2}-{n} {folder / f'{n}.wav'}")
        lines["text"].append(f"s{n % 2}-{n} {' '.join(words)}")
        lines["utt2spk"].append(f"s{n % 2}-{n} s{n % 2}")
    for name, rows in lines.items():
        (folder / name).write_text("\n".join(rows) + "\n")


@pytest.mark.timeout(400)
def test_kaldi_data_directories_of_16_khz(tmp_path: Path) -> None:
    corpus, exp, lexicon = tmp_path / "my data", tmp_path / "exp", tmp_path / "lexicon.txt"
    for name, utterances in (("train", 30), ("dev", 2), ("eval", 2)):
        write_tones(corpus / name, utterances, 16000, utterances)
    lexicon.write_text("yes y eh s\nno n ow\n")
    words = ["--corpus-format", "kaldi", "--corpus", str(corpus), "--lexicon", str(lexicon), "--exp", str(exp)]
    done = run(*words, "--mono-num-gauss", "30", "--tri-leaves", "20", "--tri-num-gauss", "40", "--stop-stage", "4")
    assert done.returncode == 0, done.stderr
    assert [u.text for u in read_utterances(exp / "data" / "eval")] == [
        line.split(" ", 1)[1] for line in (corpus / "eval" / "text").read_text().splitlines()
    ]
    assert "yes 1 y eh s" in (exp / "lang" / "lexiconp.txt").read_text()
    frames = FrameStore.open(exp / "frames")
    assert len(frames.ids) == 30 and frames.feature_config["sample_rates"] == [16000]
    assert frames.feature_config["options"]["dither"] == 1.0
    for system in ("mono", "tri"):  # digital silence around the words, and no Gaussian without a variance
        assert DiagGmmSet.open(exp / system).variances.min() > 2 * MIN_VARIANCE
    shutil.rmtree(corpus / "eval")
    write_tones(corpus / "eval", 2, 8000, seed=3)
    done = run(*words, "--stop-stage", "0")
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if "error:" in line]
    assert len(errors) == 1 and "eval: recordings at 8000 Hz, those of" in errors[0] and "at 16000 Hz" in errors[0]


def dry_run(tmp_path: Path, *words: str, recipe: Path = RECIPE, pass_on: bool = True) -> list[list[str]]:
    """The verbs that the recipe would call, with their options; without `pass_on`, those that it knows itself."""
    pretend = tmp_path / "pretend.sh"
    pretend.write_text(
        ("" if pass_on else "asr-parallel() { :; }\n") + "exec() { shift; (IFS='|'; echo \"$*\"); }\n"
    )  # how recipes call verbs
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"BASH_ENV": str(pretend), "PATH": path}
    command = [str(recipe), "--exp", str(tmp_path / "exp"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr
    return [line.split("|") for line in done.stdout.splitlines() if "|" in line]


@pytest.mark.parametrize("more", [[], ["--stage", "8"], ["--stop-stage", "8"], ["--compare", "mine.yaml"]])
@pytest.mark.parametrize("data", ["synthetic", "discs", "kaldi"])
def test_many_more_trainings_on_own_data_only_when_asked_for(tmp_path: Path, data: str, more: list[str]) -> None:
    verbs = [
        words[0]
        for words in dry_run(
            tmp_path, *{"synthetic": [], "discs": discs(tmp_path), "kaldi": KALDI}[data], *more, pass_on=False
        )
    ]
    assert ("compare" in verbs) == (data == "synthetic" or bool(more))
    assert ("train-dnn" in verbs) == ("--stage" not in more)


def test_what_the_errors_advise_reaches_every_verb(tmp_path: Path) -> None:
    options = {"--sampling-rate": "16000", "--max-bad-share": "0.2", "--dither": "0.5"}
    called = dry_run(tmp_path, *KALDI, *(word for pair in options.items() for word in pair), "--stop-stage", "2")
    for verb, times, names in (("import-kaldi", 3, list(options)[:2]), ("make-features", 6, list(options)[1:])):
        calls = [words for words in called if words[0] == verb]
        assert len(calls) == times
        assert all(f"{name}={options[name]}" in words for words in calls for name in names)
    called = dry_run(tmp_path, *discs(tmp_path), "--max-bad-share", "0.2", "--stop-stage", "0")
    assert called[0][0] == "prepare-swbd" and called[0][-1] == "--max-bad-share=0.2"


@pytest.mark.parametrize("recipe", ["swbd", "digits"])
def test_options_of_score_reach_it(tmp_path: Path, recipe: str) -> None:
    words = ["--lmwt-range", "5:25", "--score-units", "char", "--stage", "7", "--stop-stage", "8"]
    called = dry_run(tmp_path, *words, recipe=RECIPE.parents[1] / recipe / "run.sh")
    given = ["--lmwt-range=5:25", "--score-units=char"]
    assert [words[-2:] for words in called if words[0] == "score"] == [given] * 3
    assert f"--score-options={' '.join(given)}" in called[-1]


def test_options_reach_the_verbs_that_have_them(tmp_path: Path) -> None:
    words = "--hidden-dim 64 --workers 4 --ema 0.9 --rbm-epochs 5 --tri-leaves 30 --norm-vars true --beam 9 --epochs 7"
    config = tmp_path / "c.yaml"
    config.write_text("precision: float32\ntrain_fbank_warp_factors: 0.9,1.0\nepochs: 3\n")
    more = ["--pretrain", "rbm", "--config", str(config), "--stage", "2", "--stop-stage", "7"]
    called = {" ".join(words[:3]): words for words in dry_run(tmp_path, *words.split(), *more)}
    verbs = {words[0]: set(words) for words in called.values()}
    assert verbs["pretrain-rbm"] >= {"64", "--workers=4", "--epochs=5", "--precision=float32"}
    assert verbs["train-dnn"] >= {"--workers=4", "--ema=0.9", "--precision=float32"}
    assert called[f"train-dnn --frames {tmp_path}/exp/frames"][-1] != "--epochs=3"  # the command line counts
    assert "--ema=0.9" not in verbs["pretrain-rbm"] and "--tri-leaves" not in " ".join(verbs["train-tri"])
    assert (
        "--leaves=30" in verbs["train-tri"] and "--norm-vars" in verbs["make-frames"] and "--beam=9" in verbs["decode"]
    )
    warped = [words for words in called.values() if "--warp-factors=0.9,1.0" in words]
    assert len(warped) == 1 and f"{tmp_path}/exp/data/train" in warped[0] and "fbank" in warped[0]
