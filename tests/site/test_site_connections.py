"""A real server on a port of this machine: slow and broken clients, and how it ends."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection
from itertools import count, takewhile
from pathlib import Path

import psutil
import pytest
from serve_twins import exchange, running

from neurolocal.errors import ConfigError, NeurolocalError
from neurolocal.site import connections
from neurolocal.site.connections import listen
from neurolocal.site.serve import Address

GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def port(small: Path):
    with running(small) as port:
        yield port


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def test_a_page_over_a_socket(port: int) -> None:
    answer = exchange(port, GET)
    assert status(answer) == 200
    assert b"<!doctype html>" in answer.lower()
    assert b"\r\nserver:" not in answer.lower()


HOST = b" HTTP/1.1\r\nHost: 127.0.0.1\r\n"
ASK = b"POST /api/activations" + HOST


@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /" + HOST + b"Host: evil.example\r\n\r\n",
        b"GET /" + HOST + b" x\r\n\r\n",
        b"GET /\x00" + HOST + b"\r\n",
        b"GET /" + HOST + b"A: \x00\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET /\xff\xfe" + HOST + b"\r\n",
        b"GET /" + HOST + b"X: " + b"a" * 70_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 70_000 + HOST + b"\r\n",
        ASK + b"Content-Length: -1\r\n\r\n",
        ASK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        ASK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET ../../etc/passwd" + HOST + b"\r\n",
        b"GET /../../etc/passwd" + HOST + b"\r\n",
    ],
)
def test_a_broken_request_is_refused_and_the_server_goes_on(port: int, sent: bytes, capfd) -> None:
    answer = exchange(port, sent, silence=0.3)
    assert status(answer) in (0, 400, 404, 405, 414, 421, 431)
    assert b"root:" not in answer
    assert status(exchange(port, GET)) == 200
    assert "Traceback" not in "".join(capfd.readouterr())


def test_a_request_that_does_not_arrive_is_cut_off(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "ARRIVE", 0.5)
    with running(small) as port:
        post = b"POST /api/activations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n{"
        for begun in (b"", b"GET / HTTP/1.1\r\n", post, GET.replace(b"close", b"keep-alive") + b"GET "):
            with socket.create_connection(("127.0.0.1", port), timeout=60) as slow:
                slow.sendall(begun)
                start, sent = time.monotonic(), 0
                try:
                    while slow.recv(65536) and sent < 100:
                        slow.sendall(b"x")  # a byte now and then does not prolong it
                        sent += 1
                        time.sleep(0.05)
                except OSError:
                    pass
                assert time.monotonic() - start < 60, "the client gave up"
        assert status(exchange(port, GET)) == 200


def test_a_connection_may_be_used_again(port: int) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=120)
    first = None
    for _ in range(3):
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.read().startswith(b"<!doctype html>")
        assert connection.sock is not None
        first = first or connection.sock.getsockname()
        assert connection.sock.getsockname() == first
    connection.close()


def test_an_answer_does_not_wait_for_acknowledgements(port: int) -> None:
    """The system delays them by 40 ms; of many connections one at least meets a quiet moment of a busy machine."""
    assert any(least_time(port) < 0.03 for _ in range(200))


def least_time(port: int) -> float:
    """Of the requests on one connection, without the first."""
    connection, took = HTTPConnection("127.0.0.1", port, timeout=120), []
    for _ in range(15):
        start = time.perf_counter()
        connection.request("GET", "/")
        connection.getresponse().read()
        took.append(time.perf_counter() - start)
    connection.close()
    return min(took[1:])


PARTS = [
    "..",
    "%2e%2e",
    "etc",
    "passwd",
    "api",
    "neurons",
    "2",
    "assets",
    "layer",
    "\x00",
    "%00",
    "\\",
    "ÿ",
    ";",
    "?",
    "a" * 300,
]
METHODS = ["GET", "HEAD", "POST", "PUT", "OPTIONS", "TRACE", "CONNECT", "get"]
NAMES = [
    "Host",
    "Cookie",
    "Range",
    "If-None-Match",
    "Authorization",
    "Content-Length",
    "Transfer-Encoding",
    "Upgrade",
    "Connection",
    "Expect",
    "Sec-Fetch-Site",
    "X-Forwarded-Host",
    "Accept-Encoding",
]
VALUES = ["127.0.0.1", "evil.example", "bytes=0-", "chunked", "websocket", "100-continue", "-1", "99999999999", "", "*"]


def fuzzed(rng: random.Random) -> bytes:
    """A request with parts that no client would send."""
    junk = "".join(chr(rng.choice([*range(1, 127), 0xE9, 0xFF])) for _ in range(rng.randrange(40)))
    path = "/" + rng.choice(["/", "//", "/./"]).join(rng.choices(PARTS, k=rng.randrange(6)))
    version = rng.choice(["1.1", "1.0", "x"])
    lines = [f"{rng.choice([*METHODS, junk[:5]])} {path}{rng.choice(['', '?' + junk])} HTTP/{version}"]
    lines += [f"{rng.choice([*NAMES, junk[:8]])}: {rng.choice([*VALUES, junk])}" for _ in range(rng.randrange(6))]
    if rng.random() < 0.7:
        lines.append("Host: 127.0.0.1")
    data = "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")
    data += rng.randbytes(rng.randrange(30)) if rng.random() < 0.3 else b""
    return data[: rng.randrange(len(data))] if rng.random() < 0.1 else data


def check_fuzzed(small: Path, fresh_seed: int, n: int, capfd, processes: int = 0) -> None:
    rng = random.Random(fresh_seed)
    with running(small, processes=processes) as port:
        counts: dict[int, int] = {}
        # On a busy machine most answers come too late to be seen: it goes on until each kind was.
        for i in takewhile(lambda i: i < n or not {400, 404, 421} <= set(counts), count()):
            assert i < n + 20_000, counts
            sent = fuzzed(rng)
            answer = exchange(port, sent, silence=0.05)
            counts[status(answer)] = counts.get(status(answer), 0) + 1
            assert status(answer) in (0, 100, 200, 304, 400, 404, 405, 408, 414, 415, 421, 431, 403), (sent, answer)
            assert b"Traceback" not in answer
            assert b"root:" not in answer
            assert b"HDF" not in answer
        assert status(exchange(port, GET)) == 200
    print(counts)
    said = "".join(capfd.readouterr())
    assert "Traceback" not in said
    assert "Error" not in said


def test_fuzzed_requests(small: Path, fresh_seed: int, capfd) -> None:
    check_fuzzed(small, fresh_seed, 300, capfd)


@pytest.mark.slow
def test_ten_thousand_fuzzed_requests(small: Path, fresh_seed: int, capfd) -> None:
    check_fuzzed(small, fresh_seed, 10_000, capfd, processes=2)


def test_a_port_that_is_taken_and_an_address_of_another_machine() -> None:
    said = r"Address already in use\. Choose another --port"
    with listen("127.0.0.1", 0) as taken, pytest.raises(NeurolocalError, match=said):
        listen("127.0.0.1", taken.getsockname()[1])
    for host in ("203.0.113.1", "no such name", "a" * 300, "\udc80"):
        with pytest.raises(NeurolocalError, match="listening on"):
            listen(host, 0)


def test_the_token_that_is_needed() -> None:
    assert Address("127.0.0.1").needed_token() is None
    assert Address("127.0.0.1", token="x" * 20).needed_token() is None
    assert Address("127.0.0.1", guarded=True, token="x" * 20).needed_token() == "x" * 20
    made = {Address(host).needed_token() for host in ("0.0.0.0", "::", "10.0.0.1", "box.lan", "")}
    assert len(made) == 5
    assert all(token is not None and len(token) >= 43 for token in made)
    for own, n in (("short", 5), ("with spaces in it, and long", 27), ("a line\n" + "x" * 20, 27), ("é" * 20, 20)):
        with pytest.raises(ConfigError, match=f"it has {n} characters"):
            Address("0.0.0.0", token=own).needed_token()


def test_the_address_that_is_printed() -> None:
    assert Address("127.0.0.1").url(8000, None) == "http://127.0.0.1:8000/"
    assert Address("::1").url(8000, "t") == "http://[::1]:8000/?token=t"
    assert Address("fe80::1%eth0").url(8000, None) == "http://[fe80::1%25eth0]:8000/"  # RFC 6874
    assert Address("0.0.0.0").url(1, "t") == f"http://{socket.gethostname()}:1/?token=t"
    assert Address("::1").url(1, "a+b/c=&") == "http://[::1]:1/?token=a%2Bb%2Fc%3D%26"


def begun(small: Path, folder: Path) -> tuple[subprocess.Popen[str], str]:
    """The command in a session of its own, and the line that it prints."""
    command = [sys.executable, "-m", "neurolocal", "serve", str(small), "--port", "0", "--token"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=folder, stderr=pipe, stdout=pipe, text=True, start_new_session=True)
    assert process.stderr is not None
    return process, process.stderr.readline()


def readers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes that a server has started, once there are some."""
    until = time.monotonic() + 120
    while not (found := psutil.Process(process.pid).children()) and time.monotonic() < until:
        time.sleep(0.05)
    assert found
    return found


@pytest.mark.parametrize("how", ["ctrl-c", "sigterm"])
def test_the_command_serves_until_it_is_stopped(small: Path, tmp_path: Path, how: str) -> None:
    process, line = begun(small, tmp_path)
    try:
        assert line.startswith("serve: http://127.0.0.1:")
        assert "?token=" in line
        port = int(line.split("/")[2].rpartition(":")[2])
        assert status(exchange(port, GET)) == 401
        query = line.split("/?")[1].split()[0].encode()
        assert status(exchange(port, GET.replace(b"GET /", b"GET /?" + query))) == 303
        bearer = b"Authorization: Bearer " + query.partition(b"=")[2] + b"\r\nConnection"
        assert status(exchange(port, GET.replace(b"Connection", bearer))) == 200
        started = readers(process)
        if how == "ctrl-c":
            os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to all processes
        else:
            process.terminate()
        out, err = process.communicate(timeout=120)
        assert (process.returncode, out, err) == (0, "", "")
        assert psutil.wait_procs(started, timeout=120)[1] == []
    finally:
        process.kill()
        process.communicate()


def test_no_process_outlives_a_server_that_is_killed(small: Path, tmp_path: Path) -> None:
    process, _ = begun(small, tmp_path)
    started = readers(process)
    process.kill()
    process.communicate()
    assert psutil.wait_procs(started, timeout=120)[1] == []


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    from small_run import neurolocal

    done = neurolocal("serve", "none.h5", "--port", "0", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: opening the store none.h5: no such file")
    assert done.stderr.count("\n") == 1


def test_an_address_of_one_interface_is_bound_with_its_scope(monkeypatch: pytest.MonkeyPatch) -> None:
    place, bound = ("fe80::1", 8000, 0, 7), []
    found = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", place)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: found)
    monkeypatch.setattr(socket, "create_server", lambda address, **k: bound.append(address) or socket.socket())
    listen("fe80::1%eth0", 8000).close()
    assert bound == [place]
