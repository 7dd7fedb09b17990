"""Options of recipes/swbd/run.sh: passed on to verbs, and refused; and other people's data."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from swbd import RECIPE, Run, Verbs, discs, run_really
from tones import TONES, spoken

from asr_parallel.corpus.datadir import read_utterances
from asr_parallel.features.frames import FrameStore
from asr_parallel.hmm.gmm import DiagGmmSet
from asr_parallel.hmm.gmm_update import MIN_VARIANCE

KALDI = ["--corpus-format", "kaldi", "--corpus", "my data", "--lexicon", "lexicon.txt"]


@pytest.mark.parametrize("stage", [1, 2, 3, 4, 6, 7])  # 5 has nothing to do
def test_a_stage_without_its_input_says_which_is_missing(run: Run, tmp_path: Path, tree: Path, stage: int) -> None:
    done = (run_really if stage == 1 else run)(
        *discs(tree), "--exp", str(tmp_path / "exp"), "--stage", str(stage), "--stop-stage", str(stage)
    )
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if "error:" in line]
    assert len(errors) == 1 and "does not exist; run the stage that makes it first" in errors[0]
    assert not (tmp_path / "exp").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--audio", "somewhere"], "--audio, --transcripts, --eval-audio and --eval-transcripts go together"),
        (["--corpus-format", "kaldi"], "--corpus-format kaldi needs --corpus DIR and --lexicon FILE"),
        (["--corpus-format", "zip"], "--corpus-format must be ldc, kaldi or lhotse, not 'zip'"),
        (["--corpus", "somewhere"], "--corpus goes with --corpus-format kaldi"),
        (["--no-such", "1"], "unknown option --no-such"),
        (["--sampling-rate", "16000"], "--sampling-rate is an option of import-kaldi, which has no part in this run"),
        (["--algorithm", "gradient", "--period", "3"], "period 3 is of no use to algorithm gradient"),
        (["--train-set", "train_nodup"], "--train-set goes with --corpus-format kaldi and lhotse"),
        (["--sets", "dev eval:other"], "eval:other: the tuning set 'other' is not among the sets"),
        (["--sets", "dev_clean"], "--corpus-format ldc has the sets dev and eval, not 'dev_clean'"),
        (["--pretrain", "dbn"], "--pretrain must be none or rbm, not 'dbn'"),
        (["--pretrain", "rbm", "--nonlinearity", "relu"], "--pretrain rbm begins sigmoids, not --nonlinearity relu"),
    ],
)
def test_options_that_do_not_fit_together(run: Run, words: list[str], message: str) -> None:
    done = run(*words)
    assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1


def write_tones(folder: Path, utterances: int, rate: int, seed: int) -> None:
    """A Kaldi data directory in which every phone is a tone, with digital silence around the words."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    lines: dict[str, list[str]] = {"wav.scp": [], "text": [], "utt2spk": []}
    for n in range(utterances):
        words = rng.choice(list(TONES), 4).tolist()
        soundfile.write(folder / f"{n}.wav", spoken(words, rate, rng), rate)
        lines["wav.scp"].append(f"s{n % 2}-{n} {folder / f'{n}.wav'}")
        lines["text"].append(f"s{n % 2}-{n} {' '.join(words)}")
        lines["utt2spk"].append(f"s{n % 2}-{n} s{n % 2}")
    for name, rows in lines.items():
        (folder / name).write_text("\n".join(rows) + "\n")


@pytest.mark.timeout(400)
def test_kaldi_data_directories_of_16_khz(run: Run, tmp_path: Path) -> None:
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


@pytest.mark.parametrize("more", [[], ["--stage", "8"], ["--stop-stage", "8"], ["--compare", "mine.yaml"]])
@pytest.mark.parametrize("data", ["synthetic", "discs", "kaldi"])
def test_many_more_trainings_on_own_data_only_when_asked_for(
    dry_run: Verbs, tmp_path: Path, data: str, more: list[str]
) -> None:
    verbs = [
        words[0]
        for words in dry_run(*{"synthetic": [], "discs": discs(tmp_path), "kaldi": KALDI}[data], *more, pass_on=False)
    ]
    assert ("compare" in verbs) == (data == "synthetic" or bool(more))
    assert ("train-dnn" in verbs) == ("--stage" not in more)


def test_what_the_errors_advise_reaches_every_verb(dry_run: Verbs, tmp_path: Path) -> None:
    options = {"--sampling-rate": "16000", "--max-bad-share": "0.2", "--dither": "0.5"}
    called = dry_run(*KALDI, *(word for pair in options.items() for word in pair), "--stop-stage", "2")
    for verb, times, names in (("import-kaldi", 3, list(options)[:2]), ("make-features", 6, list(options)[1:])):
        calls = [words for words in called if words[0] == verb]
        assert len(calls) == times
        assert all(f"{name}={options[name]}" in words for words in calls for name in names)
    called = dry_run(*discs(tmp_path), "--max-bad-share", "0.2", "--stop-stage", "0")
    assert called[0][0] == "prepare-swbd" and called[0][-1] == "--max-bad-share=0.2"


@pytest.mark.parametrize("recipe", ["swbd", "digits"])
def test_options_of_score_reach_it(dry_run: Verbs, recipe: str) -> None:
    words = ["--lmwt-range", "5:25", "--score-units", "char", "--stage", "7", "--stop-stage", "8"]
    called = dry_run(*words, recipe=RECIPE.parents[1] / recipe / "run.sh")
    given = ["--lmwt-range=5:25", "--score-units=char"]
    assert [words[-2:] for words in called if words[0] == "score"] == [given] * 3
    assert f"--score-options={' '.join(given)}" in called[-1]


def test_sets_have_any_names(dry_run: Verbs, tmp_path: Path) -> None:
    sets = "dev_a dev_b test_a:dev_a test_b:dev_b"
    called = dry_run(*KALDI, "--train-set", "train_nodup", "--sets", sets, "--stop-stage", "8")
    of = {verb: [words for words in called if words[0] == verb] for verb in ("import-kaldi", "make-features", "score")}
    names = ["train", "dev_a", "dev_b", "test_a", "test_b"]
    assert [words[words.index("--from") + 1] for words in of["import-kaldi"]] == [
        f"my data/{name}" for name in ("train_nodup", *names[1:])
    ]
    assert of["import-kaldi"][0][of["import-kaldi"][0].index("--out") + 1] == f"{tmp_path}/exp/data/train"
    assert len(of["make-features"]) == 10 and len(of["score"]) == 3 * 2
    folder = f"{tmp_path}/exp"
    assert of["score"][-1] == [
        "score", "--lang", f"{folder}/lang", "--data-dev", f"{folder}/data/dev_b", "--decode-dev",
        f"{folder}/dnn/decode_dev_b", "--data-eval", f"{folder}/data/test_b", "--decode-eval",
        f"{folder}/dnn/decode_test_b",
    ]  # fmt: skip
    (model,) = [words for words in called if words[0] == "lm"]
    assert [word for word in model if word.startswith(f"{folder}/data/")][1:] == [
        f"{folder}/data/{name}" for name in names[1:]
    ]
    assert called[-1][0] == "compare" and called[-1][called[-1].index("--sets") + 1] == sets


def test_options_reach_the_verbs_that_have_them(dry_run: Verbs, tmp_path: Path) -> None:
    words = "--hidden-dim 64 --workers 4 --ema 0.9 --rbm-epochs 5 --tri-leaves 30 --norm-vars true --beam 9 --epochs 7"
    config = tmp_path / "c.yaml"
    config.write_text("precision: float32\ntrain_fbank_warp_factors: 0.9,1.0\nepochs: 3\n")
    more = ["--pretrain", "rbm", "--config", str(config), "--stage", "2", "--stop-stage", "7"]
    called = {" ".join(words[:3]): words for words in dry_run(*words.split(), *more)}
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


def test_lhotses_sets_have_any_names(dry_run: Verbs) -> None:
    words = ["--corpus-format", "lhotse", "--corpus", "manifests", "--lexicon", "lexicon.txt", "--stop-stage", "0"]
    called = dry_run(*words, "--train-set", "train-clean-5", "--sets", "dev-clean-2")
    assert [words[words.index("--set") + 1] for words in called] == ["train-clean-5", "dev-clean-2"]
