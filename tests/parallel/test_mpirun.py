"""Real launchers: both mpiruns, which may share a folder of programs, and two launches at a time."""

import os
import shutil
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch.distributed as dist
from test_processes import SECONDS, distance, finish, start, words

from asr_parallel.parallel import rendezvous
from asr_parallel.parallel.process_info import process_info
from asr_parallel.parallel.transport import LostError
from asr_parallel.record.files import write_json

MORE = "--workers 2 --minibatch 16 --epochs 1"
# Both wheels bring an `mpirun`, of which the one installed last is left; under these names they do not get in each
# other's way. Open MPI's mpirun is nothing but prterun with that personality; MPICH's is mpiexec.hydra, the same file.
MPIRUNS = {
    "openmpi": "prterun --personality ompi --allow-run-as-root --oversubscribe -n 2",
    "mpich": "mpiexec.hydra -n 2",
}
NAMES = "PMIX_NAMESPACE", "PMI_RANK", "PMI_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"
SHOW = (  # in one piece, which the other rank's does not get into
    "import os, sys; sys.stdout.write(' '.join(os.environ.get(name, '-') for name in sys.argv[1:]) + chr(10))"
)


def mpirun(wheel: str) -> list[str]:
    program, *options = MPIRUNS[wheel].split()
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    found = shutil.which(program, path=beside)
    if found is None:
        pytest.skip(f"no {program}, which the wheel {wheel} brings (pip install {wheel})")
    return [found, *options]


@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.parametrize("wheel", MPIRUNS)
def test_two_ranks_under_mpirun_make_the_model_of_one_process(frames_folder: Path, tmp_path: Path, wheel: str) -> None:
    finish(start([*mpirun(wheel), *words(frames_folder, tmp_path / wheel, MORE)]))
    said = finish(start(words(frames_folder, tmp_path / "one", MORE)))
    assert "2 workers in 1 process(es)" in said
    assert distance(tmp_path / wheel, tmp_path / "one") < 1e-4
    assert not (tmp_path / f"{wheel}.rendezvous").exists()


@pytest.mark.parametrize("wheel", MPIRUNS)
def test_ranks_of_a_launch_have_its_name_in_common(wheel: str) -> None:
    """Open MPI names each launch; MPICH none, for which the rendezvous file has a key."""
    launches = []
    for _ in range(2):
        said = finish(start([*mpirun(wheel), sys.executable, "-c", SHOW, *NAMES]))
        ranks = sorted(line.split() for line in said.splitlines())
        if wheel == "mpich":
            assert ranks == [["-", "0", "2", "-", "-"], ["-", "1", "2", "-", "-"]]
        else:
            assert [of_rank[-2:] for of_rank in ranks] == [["0", "2"], ["1", "2"]] and ranks[0][0] == ranks[1][0] != "-"
        launches.append(ranks[0][0])
    assert wheel == "mpich" or launches[0] != launches[1]


def test_another_run_at_the_address_of_a_stale_meeting_file_is_not_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendezvous, "START_SECONDS", 0.5)
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=SECONDS))
    store.set(rendezvous.KEY, "of this run")
    file, seat = tmp_path / "out.rendezvous", process_info({"PMI_RANK": "1", "PMI_SIZE": "2"})
    there = {"launch": "", "size": 2, "address": "127.0.0.1", "port": store.port}
    write_json(file, there | {"key": "of this run"})
    assert rendezvous._find(file, seat, SECONDS).get(rendezvous.KEY) == b"of this run"
    write_json(file, there | {"key": "of an earlier one"})
    with pytest.raises(LostError, match=f"rank 1: nobody answers at 127.0.0.1:{store.port}"):
        rendezvous._find(file, seat, SECONDS)


@pytest.mark.timeout(2 * SECONDS)
def test_two_launches_at_a_time_do_not_get_in_each_others_way(frames_folder: Path, tmp_path: Path) -> None:
    outs = [tmp_path / "a", tmp_path / "b"]
    running = [start(words(frames_folder, out, f"{MORE} --processes 2")) for out in outs]
    for process in running:
        finish(process)
    assert distance(*outs) < 1e-6
