"""The process of a server, a child of rank 0's, with which it ends."""

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection

import torch

from asr_parallel.parallel.asynchronous.client import Address
from asr_parallel.parallel.asynchronous.server import Server
from asr_parallel.parallel.transport import LostError
from asr_parallel.record.child_processes import exit_with_parent
from asr_parallel.record.log import logger, set_up_logging

END_SECONDS = 5.0  # beside the timeout, for a server to end

context = get_context("spawn")  # a fork would copy locks that other threads of rank 0 hold


@contextmanager
def server_process(host: str, key: bytes, program: str, timeout: float) -> Iterator[Address]:
    """Start a server, and yield its address; at the end wait until all processes have left it.

    Args:
        host: address of this machine to be reached by.
        key: of the run.
        program: version of the program, which all must have.
        timeout: seconds without a sign of life after which a worker counts as lost.

    Raises:
        LostError: it did not start.
    """
    here, there = context.Pipe(duplex=False)
    process = context.Process(
        target=_serve, args=(there, host, key, program, timeout, logger.level), name="server", daemon=True
    )
    process.start()
    there.close()
    try:
        try:
            port = int(here.recv())
        except EOFError as error:
            raise LostError("the server of the run did not start") from error
        logger.info("the center is served at %s:%d by process %d", host, port, process.pid)
        yield Address(host, port, key)
        process.join(timeout + END_SECONDS)
    finally:
        if process.is_alive():
            process.kill()
        process.join()
        here.close()


def _serve(port: Connection, host: str, key: bytes, program: str, timeout: float, level: int) -> None:
    """Serve, in a process of its own."""
    exit_with_parent()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # of a launcher's group: rank 0 stops it when its checkpoint is there
    set_up_logging()
    logger.setLevel(level)
    torch.set_num_threads(1)  # a second one would take a core from workers
    listening = socket.create_server((host, 0))
    port.send(listening.getsockname()[1])
    port.close()
    Server(listening, key, program, timeout).serve()
