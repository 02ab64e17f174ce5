"""What the tests of the server share: a small store, the application in this process, a real server on a free port."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
sys.path.append(str(Path(__file__).parents[1] / "report"))

from report_twins import SmallStore
from starlette.testclient import TestClient

from neurolocal.site.ask import Asker, Question
from neurolocal.site.reader import Reader
from neurolocal.site.security import Hosts
from neurolocal.site.serve import Address, serve_store
from neurolocal.site.server import application

HERE = "http://127.0.0.1:8000"
TOKEN = "a-token-of-some-length"

Answer = Callable[[Question], dict[str, Any]]


def write_small(path: Path, **settings: Any) -> Path:
    """A store with evidence and verdicts, of two layers of 12 neurons."""
    return SmallStore(**settings).write(path)


@contextmanager
def client(
    path: Path, *, answer: Answer | None = None, said: list[str] | None = None, errors: list[Exception] | None = None,
    seconds: float = 300.0, **guard: Any,
) -> Generator[TestClient]:  # fmt: skip
    """The application in this process. Errors are mistakes of ours, and fail the test unless they are collected."""
    lines, mistakes = [] if said is None else said, [] if errors is None else errors
    reader = Reader(path, live=answer is not None, say=lines.append)
    asker = None if answer is None else Asker(answer, seconds=seconds)
    guard = {"hosts": Hosts("127.0.0.1")} | guard
    app = application(reader, asker, on_error=mistakes.append, **guard)
    try:
        with TestClient(app, base_url=HERE, raise_server_exceptions=False, follow_redirects=False) as made:
            yield made
    finally:
        if asker is not None:
            asker.close()
        reader.close()
    if errors is None:
        assert mistakes == []


@contextmanager
def running(
    path: Path, *, processes: int = 0, errors: list[Exception] | None = None, **options: Any
) -> Generator[int, None, None]:
    """A real server in a thread; gives its port."""
    lines: list[str] = []
    ready, held = threading.Event(), []
    mistakes: list[Exception] = [] if errors is None else errors

    def say(line: str) -> None:
        lines.append(line)
        if "Ctrl-C" in line:
            ready.set()

    def serve() -> None:
        serve_store(
            path,
            Address(port=0),
            say=say,
            on_error=mistakes.append,
            processes=processes,
            started=held.append,
            **options,
        )

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert ready.wait(300)
        yield int(lines[-1].split("/")[2].rpartition(":")[2])
    finally:
        held[0].should_exit = True
        thread.join(300)
    assert not thread.is_alive()
    if errors is None:
        assert mistakes == []


def exchange(port: int, sent: bytes, *, silence: float = 120.0) -> bytes:
    """All that a server answers to some bytes, until it closes the connection or is silent for some seconds."""
    with socket.create_connection(("127.0.0.1", port), timeout=silence) as connection:
        got = b""
        try:
            connection.sendall(sent)
            while part := connection.recv(65536):
                got += part
        except OSError:
            pass
        return got
