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
    trainings = Matrix.read(tmp_path / "study.yaml").trainings
    several = [one for one in trainings if one.workers > 1]
    # EASGD, EAMSGD, DOWNPOUR, ADOWNPOUR with two periods and MDOWNPOUR with one, at three speeds; two synchronous
    assert len(several) == 3 * (4 * 2 * 3 + 1 * 3 + 2 * 2)
    assert {one.algorithm for one in several} == {
        "async-elastic", "downpour", "adownpour", "mdownpour", "elastic", "average",
    }  # fmt: skip
