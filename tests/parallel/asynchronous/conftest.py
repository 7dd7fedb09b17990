"""Connections of the tests in this folder, closed when a test ends."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def close_connections(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close what a test has connected; the garbage collector would warn of it in the middle of another test."""
    opened: list[socket.socket] = []
    connect = socket.create_connection

    def connect_and_note(*args: Any, **kwargs: Any) -> socket.socket:
        opened.append(connect(*args, **kwargs))
        return opened[-1]

    monkeypatch.setattr(socket, "create_connection", connect_and_note)
    yield
    for sock in opened:
        sock.close()
