import subprocess
import sys
from pathlib import Path

from asr_parallel.compare.matrix import Matrix

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
