import subprocess
import sys
from pathlib import Path

from asr_parallel.compare.matrix import Matrix
from asr_parallel.report.comparison import Cell, Comparison, Evaluation, ModelledTime, WordErrors

SCRIPT = Path(__file__).resolve().parents[2] / "recipes" / "digits" / "asynchronous.py"


def test_the_study_is_a_matrix_that_compare_takes(tmp_path: Path) -> None:
    written = subprocess.run(
        [sys.executable, str(SCRIPT), "--workers", "4", "--periods", "1", "16"], capture_output=True, text=True,
        check=True, timeout=60,
    )  # fmt: skip
    (tmp_path / "study.yaml").write_text(written.stdout)
    matrix = Matrix.read(tmp_path / "study.yaml")
    several = [one for one in matrix.trainings if one.workers > 1 and one.seed == 1]
    # Two algorithms of averages with two periods, three with two at three speeds, MDOWNPOUR, three synchronous ones
    assert len(several) == 2 * 2 + 3 * 2 * 3 + 1 + 3 * 2
    assert {one.algorithm for one in several} == {
        "async-elastic", "downpour", "adownpour", "mvadownpour", "mdownpour", "elastic", "average",
    }  # fmt: skip
    # Those of unequal speeds are not tuned; single workers with either optimizer are
    assert len(matrix.trials()) == len(several) - 2 * 3 * 2 + 2


def trained(label: str, workers: int, loss: float, seconds: float, seed: int) -> Cell:
    name = f"{label}_{workers}_{seed}"
    errors = {"eval": WordErrors(1000, 7.0 + seed, 70 + 10 * seed, 0, 0)}
    curve = (Evaluation(1000, loss + 0.1 * seed),)
    return Cell(
        name, "async-elastic" if workers > 1 else "none", workers, "sgd", seed, "done", label=label, wer=errors,
        learning_curve=curve, modelled=ModelledTime(seconds), staleness=1.5 if workers > 1 else None,
    )  # fmt: skip


def test_its_tables_have_paired_differences(tmp_path: Path) -> None:
    label, cells = "EASGD, tau 1", []
    for seed in (1, 2, 3):
        cells += [trained("", 1, 1.0, 8, seed), trained(label, 4, 1.25 + 0.01 * (seed == 2), 4, seed)]
        cells += [trained(f"{label}, straggler", 4, 1.5, 6, seed)]
    cells.append(Cell("lost", "async-elastic", 4, "sgd", 1, "diverged", label="EASGD, tau 4"))
    Comparison("a study", "none", "", tuple(cells)).save(tmp_path / "comparison.json")
    said = subprocess.run(
        [sys.executable, str(SCRIPT), "--table", str(tmp_path / "comparison.json"), "--workers", "4", "8"],
        capture_output=True, text=True, check=True, timeout=60,
    ).stdout.splitlines()  # fmt: skip
    # Standard deviation of 0.01 in one of three is 0.00577, its standard error 0.00333, t of two degrees 4.303
    assert "| EASGD | 1 | +0.253 ± 0.014 | 9.0 | 2.00 | - | - | - |" in said
    assert "| EASGD | 4 | - | - | - | - | - | - |" in said
    assert "| EASGD | 1 | straggler | +0.247 ± 0.014 | 1.50 | 1.5 | - | - | - |" in said
