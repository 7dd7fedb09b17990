"""The jobs of a comparison: what is refused before any of them is run."""

from pathlib import Path

import pytest

from asr_parallel.compare.jobs import Experiment, job_of
from asr_parallel.compare.matrix import Matrix
from asr_parallel.corpus.set_names import parse_sets

NEEDED = ("frames", "tri/graph", "lang", "feats/fbank/dev", "feats/fbank/eval", "data/dev", "data/eval")


@pytest.fixture
def exp(tmp_path: Path) -> Path:
    for folder in NEEDED:
        (tmp_path / "exp" / folder).mkdir(parents=True)
    return tmp_path / "exp"


@pytest.fixture
def matrix(tmp_path: Path) -> Matrix:
    path = tmp_path / "compare.yaml"
    path.write_text("{workers: [1, 2], algorithms: [average, elastic, ensemble], options: {hidden_dim: 8}}")
    return Matrix.read(path)


def test_what_verbs_know_passes(exp: Path, matrix: Matrix) -> None:
    train, decode = ["--channel-tilt", "0.3", "--no-resume", "--verbose"], ["--beam=9", "--nbest", "2"]
    Experiment(exp, train, decode, ["--lmwt-range", "7:9"]).check(matrix)


def test_a_folder_that_is_not_there(exp: Path, matrix: Matrix) -> None:
    (exp / "lang").rmdir()
    with pytest.raises(ValueError, match="lang: is not there; expected"):
        Experiment(exp).check(matrix)


@pytest.mark.parametrize(
    ("verb", "words", "says"),
    [
        ("decode", ["--beem", "9"], "none_1_ng-sgd_s1: decode: unrecognized arguments: --beem 9"),
        ("decode", ["--beam", "wide"], "decode: argument --beam: invalid float value: 'wide'"),
        ("decode", ["--beam", "-1"], "decode: beam -1.0: expected a number above 0"),
        ("decode", ["--max-active"], "decode: argument --max-active: expected one argument"),
        ("decode", ["--mod", "x"], "decode: unrecognized arguments: --mod x"),
        ("decode", ["--help"], "decode: expected no --help"),
        ("score", ["--lmwt", "7:9"], "score: unrecognized arguments: --lmwt 7:9"),
        ("train", ["--chanel-tilt", "1"], "train-dnn: unrecognized arguments: --chanel-tilt 1"),
        ("train", ["--report-frames"], "train-dnn: argument --report-frames: expected one argument"),
        ("train", ["--momentum", "x"], "train-dnn: argument --momentum: invalid float value"),
        ("train", ["--schedule", "newbob"], "elastic_2_ng-sgd_s1: train-dnn: newbob takes epochs back"),
        ("train", ["--combine", "5"], "ensemble_2_ng-sgd_s1: train-dnn: combine 5: the workers of an ensemble"),
        ("train", ["--start", "nowhere"], "train-dnn: start nowhere: is not there"),
        ("train", ["--period", "3"], "--train-options --period: expected among the options of the matrix"),
        ("train", ["--no-overlap"], "--train-options --no-overlap: expected among the options of the matrix"),
        *(
            ("train", [f"--{name}", "2"], f"--train-options --{name}: the comparison says this itself")
            for name in ("frames", "out", "rbm", "evaluate-frames", "processes", "threads")
        ),
        *(
            ("decode", [f"--{name}=2"], f"--decode-options --{name}=2: the comparison says this itself")
            for name in ("graph", "model", "feats", "out", "jobs")
        ),
        *(
            ("score", [f"--{name}", "2"], f"--score-options --{name}: the comparison says this itself")
            for name in ("lang", "data-dev", "data-eval", "decode-dev", "decode-eval")
        ),
    ],
)
def test_options_refused_in_one_line(exp: Path, matrix: Matrix, verb: str, words: list[str], says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        Experiment(exp, **{verb: words}).check(matrix)
    assert len(str(error.value).splitlines()) == 1


def test_every_seed_may_start_from_its_own_rbms(exp: Path, tmp_path: Path) -> None:
    path = tmp_path / "compare.yaml"
    options = "{pretrain: rbm, nonlinearity: sigmoid, hidden_dim: 8}"
    path.write_text(f"{{seeds: [1, 2], rbm: 'rbm_{{seed}}', algorithms: [average], options: {options}}}")
    matrix = Matrix.read(path)
    (exp / "rbm_1").mkdir()
    with pytest.raises(ValueError, match="rbm_2: is not there; expected"):
        Experiment(exp).check(matrix)
    (exp / "rbm_2").mkdir()
    Experiment(exp).check(matrix)
    jobs = [job_of(one, matrix, Experiment(exp), exp / "out", 1) for one in matrix.trainings]
    assert [word for job in jobs for word in job.verbs[0] if "rbm_" in word] == [str(exp / "rbm_1"), str(exp / "rbm_2")]


def test_every_set_is_decoded_and_scored_with_the_weights_of_its_tuning_set(exp: Path, matrix: Matrix) -> None:
    experiment = Experiment(exp, sets=parse_sets("dev_a dev_b test_a:dev_a test_b:dev_b"))
    with pytest.raises(ValueError, match="feats/fbank/dev_a: is not there; expected"):
        experiment.check(matrix)
    for name in experiment.sets:
        for kind in ("feats/fbank", "data"):
            (exp / kind / name).mkdir()
    experiment.check(matrix)
    verbs = experiment.decode_verbs(exp / "dnn", exp / "out", matrix)
    assert [Path(words[words.index("--out") + 1]).name for words in verbs[:4]] == [
        "decode_dev_a", "decode_dev_b", "decode_test_a", "decode_test_b"
    ]  # fmt: skip
    lang, out = str(exp / "lang"), exp / "out"
    assert [list(words) for words in verbs[4:]] == [
        [
            "score", "--lang", lang, "--data-dev", f"{exp}/data/dev_{x}", "--decode-dev", f"{out}/decode_dev_{x}",
            "--data-eval", f"{exp}/data/test_{x}", "--decode-eval", f"{out}/decode_test_{x}",
        ]
        for x in "ab"
    ]  # fmt: skip
