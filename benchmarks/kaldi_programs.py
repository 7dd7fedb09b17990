"""Programs of a compiled Kaldi, and the processor time that they take."""

import os
import resource
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ONE_THREAD = {"MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Kaldi:
    """The folder that Kaldi was compiled in; OpenFst's programs are in it, or on the PATH."""

    root: Path

    def program(self, name: str) -> str:
        """Return the path of a program; ValueError if there is none."""
        folders = [*sorted((self.root / "src").glob("*bin")), self.root / "tools" / "openfst" / "bin"]
        path = shutil.which(name, path=os.pathsep.join(map(str, folders))) or shutil.which(name)
        if path is None:
            raise ValueError(f"{self.root}: no program {name}; expected src/*bin/{name}, compiled")
        return path

    def run(self, name: str, *words: str, folder: Path | None = None) -> None:
        """Run a program to its end, in a folder.

        Raises:
            ValueError: it is missing or fails.
        """
        command = [self.program(name), *words]
        done = subprocess.run(command, env=os.environ | ONE_THREAD, cwd=folder, capture_output=True, check=False)
        if done.returncode:
            last = (done.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
            raise ValueError(f"{name}: ended with {done.returncode}, expected 0: {last}")

    def seconds(self, name: str, *words: str) -> float:
        """Return the processor time of a run with all that it starts."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.run(name, *words)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
