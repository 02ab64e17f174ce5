"""Storages for tests: fsspec's memory with faults, and moto's server of S3 in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
server.stop()
"""

Fault = Callable[[str, bytes], bytes]
"""Path and true answer of a request -> the answer; or it raises."""


class FaultyFileSystem(MemoryFileSystem):
    """Memory whose answers may be wrong: `faults` are used up one a request."""

    protocol = "faulty"
    faults: list[Fault] = []  # noqa: RUF012
    requests: list[tuple[str, int, int]] = []  # noqa: RUF012

    def cat_file(self, path: str, start: Any = None, end: Any = None, **kwargs: Any) -> bytes:
        FaultyFileSystem.requests.append((self._strip_protocol(path), start, end))
        found = super().cat_file(path, start=start, end=end, **kwargs)
        return FaultyFileSystem.faults.pop(0)(path, found) if FaultyFileSystem.faults else found

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return MemoryFileSystem._strip_protocol(path.replace("faulty://", "memory://"))


def raising(error: BaseException) -> Fault:
    """A request that fails."""

    def fault(path: str, found: bytes) -> bytes:
        raise error

    return fault


@contextmanager
def memory() -> Generator[MemoryFileSystem]:
    """fsspec's memory, which is one for the process, empty before and after; `faulty://` reads it with faults."""
    fsspec.register_implementation("faulty", FaultyFileSystem, clobber=True)
    system = MemoryFileSystem()
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    FaultyFileSystem.faults.clear()
    FaultyFileSystem.requests.clear()
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


@contextmanager
def s3_server(monkeypatch: pytest.MonkeyPatch) -> Generator[Any]:
    """A server of S3 on loopback with an empty bucket `bucket`; gives a filesystem to look at it."""
    pytest.importorskip("moto")
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "an-access-key",
            "AWS_SECRET_ACCESS_KEY": "a-secret-key",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        system = fsspec.filesystem("s3", use_listings_cache=False, skip_instance_cache=True)
        system.mkdir("bucket")
        yield system
    finally:
        process.kill()
        process.wait()
