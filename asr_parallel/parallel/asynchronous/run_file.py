"""The file by which the processes of an asynchronous run find its server: its address, and the run's key.

It lies beside the result, as the rendezvous file of synchronous runs does, as long as the run goes on, so that late
processes find the server too. Who may read it may take part, so nobody but its owner may (mode 0600). The key is sent
as it is: between machines use a network of your own.
"""

import json
import os
import secrets
import socket
import time
from pathlib import Path
from typing import Any

from asr_parallel.parallel.asynchronous.client import Address, Client
from asr_parallel.parallel.asynchronous.messages import KEY_BYTES, NO_RANK
from asr_parallel.parallel.asynchronous.service import RefusedError
from asr_parallel.parallel.process_info import ProcessInfo
from asr_parallel.parallel.rendezvous import WARN_SECONDS, bound_to_loopback, interface_address
from asr_parallel.parallel.transport import START_SECONDS, LostError
from asr_parallel.record.files import atomic_file, read_json
from asr_parallel.record.log import logger

MODE = 0o600


def new_key() -> bytes:
    """Return the key of a new run."""
    return secrets.token_bytes(KEY_BYTES)


def run_address(info: ProcessInfo, interface: str | None) -> str:
    """Return the address of this machine for a server: that of an interface, or of loopback.

    Raises:
        ValueError: an unknown interface, or several machines without one.
    """
    if info.spread and not interface:
        raise ValueError(f"rank {info.rank}: {bound_to_loopback()}")
    return interface_address(interface)


def write_run_file(path: Path, info: ProcessInfo, address: Address) -> None:
    """Write the address of this run's server, for its processes alone."""
    found = {"launch": info.launch, "size": info.size, "machine": socket.gethostname(), "pid": os.getpid()}
    found |= {"address": address.host, "port": address.port, "key": address.key.hex()}
    with atomic_file(path) as temp:
        temp.touch(MODE)  # before anything is in it
        temp.write_text(json.dumps(found), encoding="utf-8")


def check_no_server(path: Path, program: str, timeout: float) -> None:
    """Raise ValueError when the server of another run, which is still there, has written this file."""
    if not path.is_file():
        return
    found = read_json(path)
    if "key" not in found or "port" not in found:
        return  # of a run without server
    try:
        Client(_address(found), NO_RANK, program, timeout).close()
    except LostError:  # nobody is there
        return
    except RefusedError as error:  # it is of another version
        logger.debug("%s: %s", path, error)
    raise ValueError(
        f"{path}: process {found['pid']} on {found['machine']} serves this run already, at"
        f" {found['address']}:{found['port']}; expected one server a run"
    )


def find_server(path: Path, info: ProcessInfo, program: str, timeout: float) -> tuple[Address, Client]:
    """Return the address of this run's server and a connection to it, as soon as they are there.

    Args:
        path: of the run file, not there or of another launch.
        program: version of the program.
        timeout: seconds without an answer after which the server counts as lost.

    Raises:
        ValueError: the run was called off, the server refuses this process, or others may read the run's key.
        LostError: no server came.
    """
    began, warned, nobody = time.monotonic(), False, f"rank 0 wrote no {path}"
    while time.monotonic() < began + START_SECONDS:
        found = _read(path)
        if found is not None and found["launch"] == info.launch and found["size"] == info.size:
            if "called_off" in found:
                raise ValueError(f"rank {info.rank}: {found['called_off']}")
            nobody = f"nobody answers at {found['address']}:{found['port']}, as {path} says"
            try:
                address = _address(found)
                return address, Client(address, info.rank, program, timeout)
            except LostError as error:  # the file is of an earlier launch of this name
                logger.debug("%s: %s", nobody, error)
        if not warned and time.monotonic() > began + WARN_SECONDS:
            warned = True
            logger.warning("rank %d waits for rank 0: %s; %s", info.rank, nobody, info.how_to_run_alone())
        time.sleep(0.05)
    raise LostError(f"rank {info.rank}: {nobody} within {START_SECONDS:g} s")


def _read(path: Path) -> dict[str, Any] | None:
    """Return what a run file says, None where there is none; ValueError when others may read the key in it."""
    try:
        mode = path.stat().st_mode & 0o777
        found = dict(read_json(path))
    except FileNotFoundError:
        return None
    if "key" in found and mode & 0o077:
        raise ValueError(f"{path}: mode {mode:o}, so that others may read the key of the run; expected {MODE:o}")
    return found


def _address(found: dict[str, Any]) -> Address:
    return Address(found["address"], found["port"], bytes.fromhex(found["key"]))
