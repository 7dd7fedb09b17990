"""Calls of NIST's scorers sclite and hubscr.pl, where sctk is installed (Debian: package sctk).

They run in a temporary folder on copies with simple names, because hubscr.pl passes file names to a shell.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from asr_parallel.decode.edit_distance import Counts
from asr_parallel.record.files import write_text

# a row of sclite's raw summary: | speaker | sentences words | correct sub del ins errors wrong-sentences |
ROW = re.compile(
    r"^\s*\|\s*(\S.*?)\s*\|\s*\d+\s+(\d+)\s*\|\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+\d+\s+\d+\s*\|", re.MULTILINE
)
TIMEOUT_SECONDS = 600
NO_RULES = ";;\n[%NO-RULE] => [%NO-RULE] / [ ] __ [ ]\n"  # sctk's rfilter1 crashes on a file without a rule


def find_tool(name: str) -> list[str] | None:
    """Return how to call a program of sctk: by its name, or through Debian's wrapper; None when it is not installed."""
    for program in (name, f"{name}.pl"):
        if path := shutil.which(program):
            return [path]
    wrapper = shutil.which("sctk")
    return [wrapper, name] if wrapper else None


def sclite_trn(reference: Path, hypothesis: Path) -> dict[str, Counts]:
    """Score two trn files by `sclite`: counts by speaker, and those of all under "Sum".

    Raises:
        ValueError: sclite is not installed, or refuses the files.
    """
    files = {"ref.trn": reference, "hyp.trn": hypothesis}
    options = ["-r", "ref.trn", "trn", "-h", "hyp.trn", "trn", "-i", "rm", "-o", "rsum", "stdout"]
    return _parse(_run("sclite", options, files, output=None))


def sclite_hub5(reference: Path, hypothesis: Path, rules: Path | None) -> dict[str, Counts]:
    """Score a ctm file against an stm file by `hubscr.pl -V -l english -h hub5`, as Kaldi's recipes do.

    Raises:
        ValueError: sctk is not installed, or refuses the files.
    """
    files = {"ref.stm": reference, "hyp.ctm": hypothesis, "glm": rules}
    options = ["-V", "-l", "english", "-h", "hub5", "-g", "glm", "-r", "ref.stm", "hyp.ctm"]
    return _parse(_run("hubscr", options, files, output="hyp.ctm.filt.raw"))


def _run(tool: str, options: list[str], files: Mapping[str, Path | None], output: str | None) -> str:
    """Run a tool on copies of the files; the text it writes to `output`, or prints when that is None."""
    command = find_tool(tool)
    if command is None:
        raise ValueError(f"{tool} is not installed (Debian: apt install sctk)")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for copy, path in files.items():
            if path is None:
                write_text(folder / copy, NO_RULES)
            else:
                shutil.copyfile(path, folder / copy)
        try:
            done = subprocess.run(
                [*command, *options],
                cwd=folder,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=TIMEOUT_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise ValueError(f"{tool} did not score {', '.join(files)} within {TIMEOUT_SECONDS} s") from None
        result = done.stdout if output is None else None
        if output and (folder / output).is_file():
            result = (folder / output).read_text(encoding="utf-8", errors="replace")
        # hubscr.pl exits with 0 even when its filters fail; only their messages on stderr show it
        if done.returncode or not result or done.stderr.strip():
            error_line = re.search(r".*error.*", done.stderr + done.stdout, re.IGNORECASE)
            reason = error_line[0] if error_line else " ".join(done.stderr.split()) or f"exit status {done.returncode}"
            raise ValueError(f"{tool} did not score {', '.join(files)}: {reason.strip()}")
    return result


def _parse(summary: str) -> dict[str, Counts]:
    counts = {
        speaker: Counts(correct=int(correct), sub=int(sub), ins=int(ins), dele=int(dele))
        for speaker, _, correct, sub, dele, ins in ROW.findall(summary)
    }
    if "Sum" not in counts:
        raise ValueError("sclite's summary has no line of sums")
    return counts
