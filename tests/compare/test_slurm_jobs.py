"""Jobs as Slurm's batch scripts, by an sbatch and a squeue that run them here."""

import os
import subprocess
import textwrap
from pathlib import Path

import pytest

from asr_parallel.compare import slurm_jobs
from asr_parallel.compare.run_jobs import Job
from asr_parallel.compare.slurm_jobs import SlurmExecutor, script_of
from asr_parallel.compare.watch import Expected, JobWatch

SBATCH = """\
    #!/usr/bin/env bash
    [[ $1 == --parsable ]] || exit 2
    [[ ! -f {folder}/refuse ]] || { echo "sbatch: error: invalid partition" >&2; exit 1; }
    echo x >> {folder}/numbers
    number=$(wc -l < {folder}/numbers)
    eval "log=$(sed -n 's/^#SBATCH --output=//p' "$2")"  # quoted, as sbatch reads it
    [[ -f {folder}/lose ]] || (bash "$2" >> "$log" 2>&1; rm -f {folder}/job.$number) &
    [[ -f {folder}/lose ]] || touch {folder}/job.$number
    echo "$number;cluster"
"""
SQUEUE = """\
    #!/usr/bin/env bash
    for path in {folder}/job.*; do [[ ! -f $path ]] || echo "${path##*.}"; done
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a Slurm that runs every job here, at once."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, text in {"sbatch": SBATCH, "squeue": SQUEUE}.items():
        (folder / name).write_text(textwrap.dedent(text).replace("{folder}", str(folder)))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(slurm_jobs, "SECONDS_BETWEEN_LOOKS", 0.05)
    return folder


def job(folder: Path, name: str, *verbs: tuple[str, ...]) -> Job:
    return Job(name, verbs, folder / "logs" / f"{name}.log", folder / "logs" / f"{name}.json", folder / name)


def run(jobs: list[Job]) -> list[str]:
    watch = JobWatch("jobs", jobs, {one.name: Expected(1, 1.0) for one in jobs}, 2)
    return SlurmExecutor(2, ("--partition=cpu",)).run(jobs, watch)


@pytest.mark.timeout(120)
def test_jobs_run_and_those_that_fail_say_why(slurm: Path, tmp_path: Path) -> None:
    good = job(tmp_path, "good", ("--version",), ("--version",))
    bad = job(tmp_path, "bad, tau 1", ("results", "--exp", str(tmp_path / "nowhere")), ("--version",))
    assert run([bad, good]) == ["bad, tau 1"]
    assert bad.failure is not None and "nowhere" in bad.failure
    assert good.failure is None and good.log.read_text().count("asr-parallel") == 2
    assert not bad.log.read_text().startswith("asr-parallel 0")  # the verb after the failed one did not run


@pytest.mark.timeout(60)
def test_a_job_that_is_still_queued_is_not_submitted_again(slurm: Path, tmp_path: Path) -> None:
    one = job(tmp_path, "one", ("--version",))
    one.log.parent.mkdir()
    one.log.with_suffix(".number").write_text("7")
    one.log.with_suffix(".sbatch").write_text(script_of(one, ["--partition=cpu"]))
    (slurm / "job.7").touch()
    one.log.with_suffix(".status").write_text("0")  # as its script writes it
    assert run([one]) == [] and not (slurm / "numbers").exists()
    (slurm / "job.7").unlink()
    assert run([one]) == [] and (slurm / "numbers").read_text() == "x\n"


@pytest.mark.timeout(60)
def test_a_job_that_slurm_has_ended_counts_as_failed(
    slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (slurm / "lose").touch()
    monkeypatch.setattr(slurm_jobs, "LOST_AFTER_SECONDS", 0.2)
    lost = job(tmp_path, "lost", ("--version",))
    assert run([lost]) == ["lost"] and lost.failure is not None


@pytest.mark.timeout(60)
def test_jobs_are_not_lost_while_slurm_does_not_answer(
    slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor where it is twice without an answer, with one between."""
    monkeypatch.setattr(slurm_jobs, "LOST_AFTER_SECONDS", 0.0)
    answers = iter([None] * 5)
    monkeypatch.setattr(slurm_jobs, "_known", lambda numbers: next(answers, set(numbers)))
    one = job(tmp_path, "one", ("--version",))
    assert run([one]) == [] and one.failure is None


@pytest.mark.timeout(60)
def test_a_queued_job_with_other_options_is_cancelled(slurm: Path, tmp_path: Path) -> None:
    one = job(tmp_path, "one", ("--version",))
    one.log.parent.mkdir()
    one.log.with_suffix(".number").write_text("7")
    one.log.with_suffix(".sbatch").write_text(script_of(job(tmp_path, "one", ("--help",)), ["--partition=cpu"]))
    (slurm / "job.7").touch()
    (slurm / "scancel").write_text(f"#!/usr/bin/env bash\nrm {slurm}/job.$1\n")
    (slurm / "scancel").chmod(0o755)
    assert run([one]) == [] and not (slurm / "job.7").exists() and (slurm / "numbers").exists()


def test_what_sbatch_refuses_is_an_error(slurm: Path, tmp_path: Path) -> None:
    (slurm / "refuse").touch()
    with pytest.raises(ValueError, match=r"sbatch .*a\.sbatch: sbatch: error: invalid partition"):
        run([job(tmp_path, "a", ("--version",))])


def test_without_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="no sbatch on this machine; expected a login node"):
        run([job(tmp_path, "a", ("--version",))])


def test_words_of_a_script_are_quoted(tmp_path: Path) -> None:
    script = tmp_path / "script"
    hostile = job(tmp_path, "a b", ("decode", f"$(touch {tmp_path}/owned)", "; exit 0"))
    script.write_text(script_of(hostile, ["--mem=4G"]))
    hostile.log.parent.mkdir()
    assert "#SBATCH --mem=4G" in script.read_text()
    subprocess.run(["bash", str(script)], check=False, capture_output=True, timeout=60)
    assert not (tmp_path / "owned").exists()
    assert int((tmp_path / "logs" / "a b.status").read_text()) != 0
