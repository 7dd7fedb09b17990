"""Whether the server of a run file is still there."""

from pathlib import Path

import pytest
from served import begun, client, serving

from asr_parallel.parallel.asynchronous.client import Address
from asr_parallel.parallel.asynchronous.run_file import check_no_server, write_run_file
from asr_parallel.parallel.process_info import ProcessInfo

INFO = ProcessInfo(0, 2, 0, "x")


@pytest.mark.parametrize("program", ["1.0", "1.1"])
def test_a_server_is_found_before_and_after_rank_0_and_not_disturbed(tmp_path: Path, program: str) -> None:
    path = tmp_path / "out.rendezvous"
    with serving() as (server, address):
        write_run_file(path, INFO, address)
        for _ in range(2):
            with pytest.raises(ValueError, match=rf"serves this run already, at 127\.0\.0\.1:{address.port};"):
                check_no_server(path, program, 9.0)
        main = begun(address, 4)
        with pytest.raises(ValueError, match="serves this run already"):
            check_no_server(path, program, 9.0)
        assert main.call("status")["ranks"] == [0] and not server.service.finished
        worker = client(address, 1, 1)
        assert worker.lease()["lease"] is not None


def test_a_file_without_a_server_is_no_hindrance(tmp_path: Path) -> None:
    path = tmp_path / "out.rendezvous"
    check_no_server(path, "1.0", 9.0)
    with serving() as (_, address):
        pass
    write_run_file(path, INFO, Address(address.host, address.port, address.key))
    check_no_server(path, "1.0", 9.0)
