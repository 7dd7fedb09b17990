"""Verbs of a shell script, forked from a process that has imported everything: a new one imports for seconds.

A script with the BASH_ENV that is made here calls a stand-in for `asr-parallel`. That sends its words, folder and
environment to this process, which has them run by a forked one, on the stand-in's own standard streams.
"""

import json
import shlex
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

from fast_start import Started

STAND_IN = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    words = [os.getpid(), sys.argv[1:], os.getcwd(), dict(os.environ)]
    server.sendall(json.dumps(words).encode() + b"\\n")
    sys.exit(int(server.makefile().readline() or 1))
"""
FUNCTIONS = """
asr-parallel() {{ {stand_in} "$@"; }}
exec() {{
  [[ ${{1-}} != asr-parallel ]] || set -- {stand_in} "${{@:2}}"
  builtin exec "$@"
}}
"""


@contextmanager
def forked_verbs() -> Iterator[Path]:
    """Yield the file for BASH_ENV."""
    folder = Path(tempfile.mkdtemp(prefix="verbs-"))  # short: so has the address of a socket to be
    stand_in, functions = folder / "asr-parallel", folder / "functions.sh"
    stand_in.write_text(STAND_IN.format(python=sys.executable, address=str(folder / "socket")))
    stand_in.chmod(0o755)
    functions.write_text(FUNCTIONS.format(stand_in=shlex.quote(str(stand_in))))
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(folder / "socket"))
            server.listen()
            Thread(target=_serve, args=(server,), daemon=True).start()
            yield functions
            server.shutdown(socket.SHUT_RDWR)  # ends accept()
    finally:
        shutil.rmtree(folder)


def _serve(server: socket.socket) -> None:
    with suppress(OSError):  # closed
        while True:
            connection, _ = server.accept()
            Thread(target=_answer, args=(connection,), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    with connection, connection.makefile("rw") as file:
        pid, words, folder, environment = json.loads(file.readline())
        streams = Path(f"/proc/{pid}/fd/1"), Path(f"/proc/{pid}/fd/2")
        status = Started(words, environment, streams=streams, folder=Path(folder)).wait()
        file.write(f"{status if status >= 0 else 1}\n")
