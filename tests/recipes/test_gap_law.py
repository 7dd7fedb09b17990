"""The study of the gap between one worker and several: its matrix, and the fit of a law that is known."""

import math
import random
import subprocess
import sys
from pathlib import Path

from asr_parallel.compare.matrix import Matrix
from asr_parallel.record.files import read_json
from asr_parallel.report.comparison import Cell, Comparison, Evaluation

SCRIPT = Path(__file__).resolve().parents[2] / "recipes" / "swbd" / "gap_law.py"
SIZE = "2x64"
POWERS = {"average": (0.7, -0.5), "gradient": (0.4, -0.8)}  # of K - 1 and of the frames


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, timeout=120)


def gap(algorithm: str, workers: int, frames: int) -> float:
    by_workers, by_frames = POWERS[algorithm]
    return 0.02 * (workers - 1) ** by_workers * (frames / 1e6) ** by_frames


def made_up(seeds: int) -> Comparison:
    chance, cells = random.Random(0), []
    for frames in (400_000, 1_200_000, 3_600_000):
        for seed in range(seeds):
            single = 2 - 0.1 * math.log(frames / 1e6) + 0.2 * chance.random()  # seeds differ far more than gaps do
            losses = {("none", 1): single}
            losses |= {
                (name, workers): single * (1 + gap(name, workers, frames) + chance.gauss(0, 0.0005))
                for name in POWERS for workers in (4, 16, 32)
            }  # fmt: skip
            cells += [
                Cell(
                    f"{name}_{workers}_{frames}_{seed}", name, workers, "ng-sgd", seed, "done", frames=frames,
                    label=f"{SIZE}, {frames} of the data", learning_curve=(Evaluation(frames, loss),),
                )
                for (name, workers), loss in losses.items()
            ]  # fmt: skip
    return Comparison("a law", "none", "", tuple(cells))


def test_the_study_is_a_matrix_that_compare_takes(tmp_path: Path) -> None:
    written = run("matrix", "--sizes", "2x64", "3x128", "--shares", "1", "0.1", "0.3", "--workers", "4", "16")
    (tmp_path / "study.yaml").write_text(written.stdout)
    matrix = Matrix.read(tmp_path / "study.yaml")
    trained = {(one.label, one.algorithm, one.workers) for one in matrix.trainings if one.seed == 1}
    assert len(trained) == 2 * 3 * (1 + 3 * 2) and {workers for *_, workers in trained} == {1, 4, 16}
    tuned = {training.label for trials in matrix.trials().values() for _, training in trials}
    assert tuned == {f"{size}, {share} of the data" for size in ("2x64", "3x128") for share in (0.1, 0.3)}
    assert len(matrix.trials()) == len(trained) * 2 // 3


def test_the_fit_finds_the_law_that_the_losses_were_made_by(tmp_path: Path) -> None:
    made_up(4).save(tmp_path / "comparison.json")
    done = run("fit", str(tmp_path / "comparison.json"), "--out", str(tmp_path / "law"))
    assert done.returncode == 0, done.stderr
    found = read_json(tmp_path / "law" / "law.json")
    assert len(found["gaps"]) == 2 * 3 * 3 and {one["seeds"] for one in found["gaps"]} == {4}
    for law in found["laws"]:
        for value, half_width, true in zip(
            (law["workers_power"], law["frames_power"]), (law["workers_half_width"], law["frames_half_width"]),
            POWERS[law["algorithm"]], strict=True,
        ):  # fmt: skip
            assert 0 < half_width < 0.2 and abs(value - true) < half_width
    assert {path.name for path in (tmp_path / "law").iterdir()} == {"law.json", "law.md", "law.svg", "law.png"}
    assert (tmp_path / "law" / "law.md").read_text() == done.stdout
    assert "mathdefault" not in (tmp_path / "law" / "law.svg").read_text()  # numbers of the axes are numbers


def test_too_few_trainings_for_a_law_are_refused(tmp_path: Path) -> None:
    every = made_up(1)
    alone = [one for one in every.cells if one.workers == 1]
    of_one_length = [one for one in every.cells if one.frames == 400_000]
    for cells, says in ((alone, "no training on several workers"), (of_one_length, "expected four and two of each")):
        Comparison("a law", "none", "", tuple(cells)).save(tmp_path / "comparison.json")
        done = run("fit", str(tmp_path / "comparison.json"), "--out", str(tmp_path / "law"))
        assert done.returncode == 1 and says in done.stderr and "Traceback" not in done.stderr
        assert not (tmp_path / "law").exists()
