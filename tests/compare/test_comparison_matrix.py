"""The YAML file of a comparison: what it asks for, and what is refused before anything runs."""

import textwrap
from pathlib import Path

import pytest

from asr_parallel.cli.main import build_parser
from asr_parallel.compare.jobs import Experiment, job_of
from asr_parallel.compare.matrix import Matrix
from asr_parallel.compare.matrix_training import Training, single_worker_of
from asr_parallel.training.train_options import read_options

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


def read(folder: Path, text: str) -> Matrix:
    (folder / "compare.yaml").write_text(text)
    return Matrix.read(folder / "compare.yaml")


def test_the_product_has_one_single_worker_for_each_optimizer_and_seed(tmp_path: Path) -> None:
    matrix = read(
        tmp_path,
        "{workers: [1, 2, 4], seeds: [1, 2], algorithms: [average, gradient], optimizers: [sgd, ng-sgd], title: t}",
    )
    single = [training for training in matrix.trainings if training.workers == 1]
    assert {(one.optimizer, one.seed) for one in single} == {(o, s) for o in ("sgd", "ng-sgd") for s in (1, 2)}
    assert all(one.algorithm == "none" for one in single) and len(single) == 4
    assert len(matrix.trainings) == 4 + 2 * 2 * 2 * 2
    assert len({training.name for training in matrix.trainings}) == len(matrix.trainings)
    assert matrix.title == "t"


def test_options_from_the_general_to_the_particular(tmp_path: Path) -> None:
    matrix = read(
        tmp_path,
        """
        workers: [2]
        options: {hidden-dim: 32, learning_rate: 0.1, period: 8}
        optimizers: {sgd: {learning_rate: 0.2}}
        algorithms: {average: {period: 4}}
        cells: [{algorithm: average, workers: [4], optimizer: sgd, label: every one, options: {period: 1}}]
        """,
    )
    found = {(one.workers, one.label): dict(one.options) for one in matrix.trainings}
    common = {"hidden_dim": 32, "learning_rate": 0.2}
    assert found == {
        (1, ""): common,
        (2, ""): common | {"period": 4},
        (4, "every one"): common | {"period": 1},
    }


def test_a_label_may_have_a_single_worker_of_its_own(tmp_path: Path) -> None:
    cell = "{algorithm: average, workers: [1, 2], label: deep, options: {hidden_layers: 5}}"
    matrix = read(tmp_path, f"{{options: {{period: 3}}, cells: [{cell}]}}")
    found = {(one.algorithm, one.workers, one.label): dict(one.options) for one in matrix.trainings}
    assert found == {
        ("none", 1, "deep"): {"hidden_layers": 5},  # and no other one, with which nothing would be compared
        ("average", 2, "deep"): {"period": 3, "hidden_layers": 5},
    }


def test_the_command_line_gives_the_options_that_were_checked() -> None:
    training = Training("average", 2, "sgd", 3, "", (("hidden_dim", 16), ("overlap", True), ("learning_rate", 0.5)))
    parser = build_parser("train-dnn")
    args = parser.parse_args(["train-dnn", "--frames", "f", "--out", "o", *training.words()])
    expected = training.training_options
    assert read_options(vars(args)) == expected


def test_every_seed_of_a_label_has_a_single_worker_of_it_if_one_has(tmp_path: Path) -> None:
    cell = "{algorithm: average, workers: [W], seeds: [S], label: deep, options: {hidden_layers: 5, period: 3}}"
    cells = [cell.replace("W", w).replace("S", s) for w, s in (("1", "1"), ("8", "1, 2"))]
    names = [one.name for one in read(tmp_path, f"cells: [{', '.join(cells)}]").trainings]
    alone = [f"none_1_ng-sgd_deep_s{seed}" for seed in (1, 2)]
    assert sorted(names) == sorted([*alone, "average_8_ng-sgd_deep_s1", "average_8_ng-sgd_deep_s2"])


def test_options_of_decoding(tmp_path: Path) -> None:
    matrix = read(tmp_path, "{workers: [1], algorithms: [average], decode: {lattice_beam: 6, nbest: 3}}")
    assert matrix.decode == ("--lattice-beam", "6", "--nbest", "3")
    job = job_of(matrix.trainings[0], matrix, Experiment(tmp_path, decode=["--beam", "9"]), tmp_path / "out", 100)
    decodes = [verb for verb in job.verbs if verb[0] == "decode"]
    assert len(decodes) == 2 and all(verb[-6:] == (*matrix.decode, "--beam", "9") for verb in decodes)
    assert not any("--device" in verb for verb in decodes)


def test_what_trains_on_a_device_decodes_on_it(tmp_path: Path) -> None:
    matrix = read(tmp_path, "{workers: [2], algorithms: [ensemble], options: {device: cpu}}")
    job = job_of(matrix.trainings[1], matrix, Experiment(tmp_path), tmp_path / "out", 100)
    decodes = [verb for verb in job.verbs if verb[0] == "decode"]
    assert len(decodes) == 4 and all(verb[-2:] == ("--device", "cpu") for verb in decodes)


def test_numbers_that_yaml_takes_for_words(tmp_path: Path) -> None:
    matrix = read(tmp_path, "{workers: [1], algorithms: [average], options: {learning_rate: 1e-3}}")
    assert matrix.trainings[0].training_options.schedule.learning_rate == 0.001


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{workers: [2], algorithms: [averge]}", "averge"),
        ("{workers: [0], algorithms: [average]}", "at least 1"),
        ("{workers: [2], algorithms: [average], seed: [1]}", "'seed'"),
        ("{workers: [2], algorithms: [average], options: {hiden_dim: 3}}", "hiden_dim"),
        ("{workers: [2], algorithms: [average], options: {pseudo_weight: 3}}", "pseudo_weight"),
        ("{workers: [3], algorithms: [average], processes: 2}", "do not divide"),
        ("{workers: [2]}", "nothing to compare"),
        ("[1, 2]", "expected a mapping"),
        ("{workers: [2", "not YAML"),
        ("{cells: [{algorithm: average}]}", "without workers"),
        (
            "{workers: [2], algorithms: [average], cells: [{algorithm: average, workers: [2], options: {period: 3}}]}",
            "expected labels",
        ),
        ("{workers: [2], algorithms: [{average: {period: 16}}]}", "expected a list of names"),
        ("{workers: [2], algorithms: [average], options: {epochs: 2.5}}", "--epochs: invalid int value: '2.5'"),
        ("{workers: [2], algorithms: [average], options: {epochs: true}}", "--epochs: expected one argument"),
        ("{workers: [2], algorithms: [average], options: {overlap: 1}}", "unrecognized arguments: 1"),
        ("{workers: [2], algorithms: [average], options: {held_out_by: sepaker}}", "invalid choice: 'sepaker'"),
        ("{workers: [2], algorithms: [average], options: {learning_rate: fast}}", "fast"),
        ("{workers: [2], algorithms: [average], options: {start: nowhere}}", "start nowhere: is not there"),
        ("{cells: [{algorithm: average, workers: [2], label: ../x}]}", "no slash"),
        ("{workers: [2], algorithms: [average], decode: {beem: 3}}", "decode: unrecognized arguments: --beem 3"),
        (
            "{cells: [{algorithm: average, workers: [1, 2], options: {nonlinearity: sigmoid}}]}",
            "single worker with options of its own",
        ),
        (
            "{workers: [2], algorithms: {ensemble: {relabel_fraction: 7}}}",
            "ensemble_2_ng-sgd_s1: relabel_fraction 7.0: expected a number above 0",
        ),
        (
            "{workers: [2], algorithms: {ensemble: {period: 4, compress_minibatches: 5}}}",
            "ensemble_2_ng-sgd_s1: compress_minibatches 5: expected at most the period, 4",
        ),
        (
            "{workers: [2], algorithms: {elastic: {elastic_beta: 5}}}",
            "elastic_2_ng-sgd_s1: elastic_beta 5.0 with 2 workers: expected above 0 and at most 1.333",
        ),
        (
            "{workers: [2], algorithms: {colearn: {local_epochs: 99}}}",
            "colearn_2_ng-sgd_s1: local_epochs 99: expected at most 8",
        ),
        (
            "{workers: [2], algorithms: {average: {comm_dtype: int8, overlap: true}}}",
            "average_2_ng-sgd_s1: comm_dtype int8: expected float32 with overlap",
        ),
        (
            "{workers: [128], algorithms: {average: {comm_dtype: int8}}}",
            "average_128_ng-sgd_s1: comm_dtype int8: 128 workers",
        ),
        (
            "{workers: [2], algorithms: [average], optimizers: {momentum: {momentum: 1.5}}}",
            "none_1_momentum_s1: momentum 1.5: expected at least 0",
        ),
        (
            "{workers: [2], algorithms: [average], options: {hidden_dim: 0}}",
            "none_1_ng-sgd_s1: hidden_dim 0: expected a whole number of at least 1",
        ),
        (
            "{workers: [2], algorithms: [average], options: {schedule: cyclical, final_learning_rate: 1}}",
            "none_1_ng-sgd_s1: bottom 1.0: expected at most",
        ),
        (
            "{workers: [2], algorithms: [average], options: {pretrain: rbm}}",
            "none_1_ng-sgd_s1: nonlinearity relu-renorm: RBMs begin",
        ),
        *(
            (f"{{workers: [1], algorithms: [average], decode: {{{option}: 1}}}}", f"decode: --{option}: the comparison")
            for option in ("model", "out", "graph", "feats", "jobs")
        ),
        ("{workers: [1], algorithms: [average], decode: {out=x: true}}", "decode: --out=x: the comparison"),
        ("{workers: [1], algorithms: [average], decode: {mod: x}}", "decode: unrecognized arguments: --mod x"),
        ("{workers: [1], algorithms: [average], decode: {help: true}}", "decode: expected no --help"),
        ("{workers: [1], algorithms: [average], decode: {beam: -1}}", "decode: beam -1.0: expected a number above 0"),
        (
            "{workers: [1], algorithms: [average], decode: {nbest: -1}}",
            "decode: nbest -1: expected a whole number of at least 0",
        ),
    ],
)
def test_refused_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        read(tmp_path, text)
    assert "compare.yaml" in str(error.value)


@pytest.mark.parametrize(
    ("option", "others"),
    [
        ("hidden_layers: 2", "3"),
        ("hidden_dim: 64", "512"),
        ("nonlinearity: sigmoid", "relu-renorm"),
        ("pnorm_group: 5", "10"),
        ("held_out: 0.2", "0.1"),
        ("held_out_by: speaker", "utterance"),
        ("mask_filters: 5", "0"),
        ("precision: float32", "auto"),
        ("prior: posterior", "counts"),
        ("start: .", "None"),
        ("teacher: .", "None"),
    ],
)
def test_no_other_model_than_the_single_worker(tmp_path: Path, option: str, others: str) -> None:
    cell = f"{{algorithm: average, workers: [WORKERS], label: other, options: {{{option}}}}}"
    says = f"average_2_ng-sgd(_other)?_s1: {option.replace(':', '')}, and {others} of the single worker .* a label and"
    for text in (
        f"{{workers: [2], algorithms: {{average: {{{option}}}}}}}",
        f"cells: [{cell.replace('WORKERS', '2')}]",
    ):
        with pytest.raises(ValueError, match=f"compare.yaml: {says} workers .1, 2."):
            read(tmp_path, text)
    names = [one.name for one in read(tmp_path, f"cells: [{cell.replace('WORKERS', '1, 2')}]").trainings]
    assert sorted(names) == ["average_2_ng-sgd_other_s1", "none_1_ng-sgd_other_s1"]


def test_a_single_worker_of_a_label_is_one_of_its_optimizer(tmp_path: Path) -> None:
    cell = "{algorithm: average, workers: [1, 2], optimizer: OF, label: deep, options: {hidden_layers: 5}}"
    cells = [cell.replace("OF", "sgd"), cell.replace("OF", "ng-sgd").replace("[1, 2]", "[2]")]
    with pytest.raises(ValueError, match="average_2_ng-sgd_deep_s1: hidden_layers 5, and 3"):
        read(tmp_path, f"cells: [{', '.join(cells)}]")


@pytest.mark.parametrize(
    "options",
    [
        "period: 1",
        "epochs: 2",
        "minibatch: 32",
        "learning_rate: 0.1, final_learning_rate: 0.01",
        "schedule: constant",
        "momentum: 0.5",
        "max_change: 2",
        "initial: own",
        "combine: 0",
        "keep_workers: true",
    ],
)
def test_trained_otherwise_than_the_single_worker(tmp_path: Path, options: str) -> None:
    cell = f"{{algorithm: average, workers: [4], label: other, options: {{{options}}}}}"
    text = f"{{workers: [1, 2], algorithms: {{average: {{{options}}}}}, cells: [{cell}]}}"
    assert [one.workers for one in read(tmp_path, text).trainings] == [1, 2, 4]


def test_what_an_ensemble_says_counts_as_it_wants(tmp_path: Path) -> None:
    text = "{workers: [2], algorithms: {ensemble: {pseudo_weight: 0.5, temperature: 2, combine: 0}}}"
    assert len(read(tmp_path, text).trainings) == 2


@pytest.mark.parametrize(
    "path",
    # The two are options of run.sh
    sorted(path for path in RECIPES.glob("*/conf/*.yaml") if path.name not in ("full.yaml", "tdnn.yaml")),
    ids=lambda path: "/".join(path.parts[-3:]),
)
def test_the_recipes_files(path: Path) -> None:
    assert Matrix.read(path).trainings


def test_the_file_that_is_documented(tmp_path: Path) -> None:
    text = (RECIPES.parent / "docs" / "compare.md").read_text()
    example = text[text.index("    title:") : text.index("Each cell is an ordinary")]
    matrix = read(tmp_path, textwrap.dedent(example))
    assert len(matrix.trainings) == 2 * 3 * (1 + 3 * 3) + 3 * (1 + 3)
    assert matrix.decode == ("--beam", "10", "--max-active", "3000")


def test_sites_and_workers(tmp_path: Path) -> None:
    sites = tmp_path / "sites"
    sites.write_text("ann north\nbob south\neve north\n")
    cell = "{algorithm: colearn, workers: [N], options: {sites: 'FILE'}}".replace("FILE", str(sites))
    assert len(read(tmp_path, f"cells: [{cell.replace('N', '2')}]").trainings) == 2
    with pytest.raises(ValueError, match="2 sites for 3 workers"):
        read(tmp_path, f"cells: [{cell.replace('N', '3')}]")


LADDER = "{seeds: [1, 2], workers: [2], algorithms: [average], options: {epochs: 2}, budgets: [2, 0.5, 1]}"


def test_every_training_once_for_each_budget(tmp_path: Path) -> None:
    found = {one.name: one.training_options.schedule.epochs for one in read(tmp_path, LADDER).trainings}
    assert found == {
        f"{name}_ng-sgd{budget}_s{seed}": epochs
        for name in ("none_1", "average_2")
        for budget, epochs in (("_x0.5", 1), ("", 2), ("_x2", 4))
        for seed in (1, 2)
    }


def test_single_workers_are_compared_within_a_budget(tmp_path: Path) -> None:
    trainings = read(tmp_path, LADDER).trainings
    for one in trainings:
        base = single_worker_of(one, trainings)
        assert (base.workers, base.seed, base.budget) == (1, one.seed, one.budget)


def test_contestants_are_tuned_once_for_all_budgets(tmp_path: Path) -> None:
    tune = "tune: {trials: 2, budget: 0.5, space: {learning_rate: {log: [0.001, 0.01]}}}"
    matrix = read(tmp_path, LADDER.replace("}, budgets", "}, " + tune + ", budgets"))
    trials = matrix.trials()
    assert set(trials) == {"none_1_ng-sgd", "average_2_ng-sgd"}
    assert {one.training_options.schedule.epochs for of in trials.values() for _, one in of} == {1}
    tuned = matrix.tuned({name: {"learning_rate": 0.5} for name in trials})
    assert {one.training_options.schedule.learning_rate for one in tuned.trainings} == {0.5}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (LADDER.replace("0.5", "0.4"), "0.4 times the epochs of none_1_ng-sgd_s1: 0.8; expected whole ones"),
        (LADDER.replace("0.5", "0"), "expected numbers above 0"),
        (LADDER.replace("0.5", "1.0"), "expected each once"),
        (LADDER.replace("budgets:", "target: {}, budgets:"), "2 seeds of none_1_ng-sgd_x0.5; expected at least 5"),
        (LADDER.replace("budgets:", "target: {seeds: 3}, budgets:"), "2 seeds of .*; expected at least 3"),
        (LADDER.replace("1]}", "4], target: {seeds: 2}}"), "expected 1 among them"),
        (LADDER.replace("budgets:", "target: {sed: 2}, budgets:"), "unknown key 'sed'"),
    ],
)
def test_ladders_and_targets_that_cannot_be(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        read(tmp_path, text)
    assert len(str(error.value).splitlines()) == 1
