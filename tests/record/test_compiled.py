"""Functions compiled by numba, with a cache on disk."""

import os
import subprocess
import sys
from pathlib import Path

from asr_parallel.nnet import blas, fisher_kernels, kernels
from asr_parallel.record.compiled import stamps


def files_of(module: str | None) -> set[str]:
    assert module is not None
    return {Path(name).stem for name, _, _ in stamps(Path(module))}


def test_a_function_depends_on_the_files_that_its_own_imports() -> None:
    assert {"bfloat16", "compiled"} <= files_of(kernels.__file__)
    assert {"bfloat16", "blas", "kernels"} <= files_of(fisher_kernels.__file__)
    assert "kernels" not in files_of(blas.__file__)


def test_a_change_of_an_imported_file_compiles_anew(tmp_path: Path) -> None:
    package = tmp_path / "asr_parallel"
    (package / "record").mkdir(parents=True)
    ours = Path(blas.__file__).parents[1]
    for name in ("__init__.py", "record/__init__.py", "record/compiled.py"):
        (package / name).write_text((ours / name).read_text())
    head = "from asr_parallel.record.compiled import njit\n"
    (package / "outer.py").write_text(
        head + "from asr_parallel.inner import one\n@njit()\ndef outer(pair):\n    return one() + pair.first\n"
    )

    def run(value: int, pair: str = "Pair") -> str:
        inner = package / "inner.py"
        text = head + "from typing import NamedTuple\n"
        text += f"@njit()\ndef one():\n    return {value}\nclass {pair}(NamedTuple):\n    first: int\n"
        program = f"""
from asr_parallel.outer import outer
from asr_parallel.inner import {pair}
print(outer({pair}(1)), len(outer.stats.cache_hits))
"""
        if not inner.exists() or inner.read_text() != text:
            inner.write_text(text)
        environment = os.environ | {"PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert run(1) == "2 0"
    assert run(1) == "2 1"  # from the cache
    assert run(41) == "42 0"
    assert run(41, "Couple") == "42 0"  # the index names a class that is gone
