"""The readers of what clients send to `serve`: requests, and the bytes of a connection."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import random
import socket
from pathlib import Path
from typing import Any

from fuzzing import twins
from fuzzing.mutate import LITERALS, as_json, flat
from fuzzing.reader import Reader, silent

REQUESTS: list[dict[str, Any]] = [
    {"method": "GET", "path": "/", "query": ""},
    {"method": "GET", "path": "/layers/2/index.html", "query": "side=largest"},
    {"method": "GET", "path": "/api/store", "query": ""},
    {"method": "GET", "path": "/api/layers/2", "query": "side=smallest"},
    {"method": "GET", "path": "/api/neurons/2/3", "query": "side=largest"},
    {"method": "GET", "path": "/api/find", "query": "text=%20the&word=1&limit=20"},
    {"method": "GET", "path": "/assets/../../x", "query": ""},
    {
        "method": "POST",
        "path": "/api/activations",
        "query": "",
        "headers": [["content-type", "application/json"]],
        "body": '{"text": "a cat", "neurons": [[2, 3]]}',
    },
]
"""Requests."""


@functools.cache
def _application() -> tuple[Any, Any, list[Exception]]:
    """The application on a small store, its loop, and the mistakes that it reported."""
    from neurolocal.site.ask import Asker
    from neurolocal.site.reader import Reader as StoreReader
    from neurolocal.site.security import Hosts
    from neurolocal.site.server import application

    path = twins.folder() / "served.h5"
    twins.module("report", "report_twins").SmallStore(neurons=4, hostile=True).write(path)
    mistakes: list[Exception] = []
    reader = StoreReader(path, live=True, say=silent)
    asker = Asker(lambda question: {"text": question.text, "neurons": [list(pair) for pair in question.neurons]})
    app = application(reader, asker, hosts=Hosts("127.0.0.1"), on_error=mistakes.append)
    return app, asyncio.new_event_loop(), mistakes


def _request(data: bytes, folder: Path) -> None:
    """One request of ASGI's kind."""
    try:
        asked = json.loads(data)
        method, path, query = (str(asked.get(name, "")) for name in ("method", "path", "query"))
        headers = [
            (str(a).lower().encode("utf-8", "replace"), str(b).encode("utf-8", "replace"))
            for a, b in asked.get("headers", [])
        ]
        body = str(asked.get("body", "")).encode("utf-8", "replace")
    except (ValueError, TypeError, AttributeError, RecursionError):
        return
    app, loop, mistakes = _application()
    headers = [(b"host", b"127.0.0.1"), *headers]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path.encode("utf-8", "replace").decode(),
        "raw_path": path.encode("utf-8", "replace"),
        "query_string": query.encode("utf-8", "replace"),
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    loop.run_until_complete(app(scope, receive, send))
    _require_answer(sent[0]["status"] if sent else 0, mistakes)


def _require_answer(status: int, mistakes: list[Exception]) -> None:
    if mistakes:
        raise mistakes.pop()
    assert 200 <= status < 500, f"answered with {status}"


POST = b"POST /api/activations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"

HTTP = [
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    b"GET /api/find?text=the HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    POST + b'Content-Length: 15\r\n\r\n{"text": "cat"}',
    POST + b'Transfer-Encoding: chunked\r\n\r\nf\r\n{"text": "cat"}\r\n0\r\n\r\n',
]
"""What a client sends."""


def _http_mutate(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.5:
        return flat(data, rng)
    lines = data.split(b"\r\n")
    i = rng.randrange(len(lines))
    more = [
        b"Content-Length: 5",
        b"Content-Length: -1",
        b"Transfer-Encoding: chunked",
        b"Expect: 100-continue",
        b"Host: evil",
        b"Upgrade: websocket\r\nConnection: Upgrade",
        b" folded",
        b"X: " + b"a" * 70_000,
        b"Cookie: \xff",
        b"Origin: http://x",
        b"Range: bytes=0-",
        b"GET http://127.0.0.1/ HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"PRI * HTTP/2.0",
        *LITERALS[:6],
    ]
    lines[i : i + rng.choice([0, 0, 1])] = [rng.choice(more)]
    return b"\r\n".join(lines)


def _connection(data: bytes, folder: Path) -> None:
    """The bytes of a connection, given to the server's own protocol over a pair of sockets."""
    from uvicorn.server import ServerState

    from neurolocal.site.connections import TimedConnection, settings

    app, loop, mistakes = _application()
    failed: list[Any] = []
    loop.set_exception_handler(lambda _, context: failed.append(context))

    async def exchange() -> None:
        config = settings(app)
        config.load()
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        state = ServerState()
        made = lambda: _Plain(config=config, server_state=state, app_state={})  # noqa: E731
        transport, _ = await loop.connect_accepted_socket(made, ours)
        try:
            with contextlib.suppress(OSError):
                await asyncio.wait_for(loop.sock_sendall(theirs, data), 5)
                theirs.shutdown(socket.SHUT_WR)
                while await asyncio.wait_for(loop.sock_recv(theirs, 1 << 16), 15):
                    pass
        finally:
            transport.abort()
            theirs.close()
            for _ in range(3):
                await asyncio.sleep(0)

    class _Plain(TimedConnection):
        """On sockets of a pair, which have no TCP."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(_Quiet(transport))

    loop.run_until_complete(exchange())
    assert not mistakes, mistakes.pop()
    assert not failed, failed[0]


class _Quiet:
    """A transport whose socket takes no options of TCP."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """A socket that ignores options."""
        if name == "socket":
            return self
        return self._transport.get_extra_info(name, default)

    def setsockopt(self, *_: Any) -> None:
        """Nothing."""

    def getpeername(self) -> tuple[str, int]:
        """An address."""
        return "127.0.0.1", 1

    getsockname = getpeername
    family = socket.AF_INET


READERS: dict[str, Reader] = {
    "serve": Reader(lambda: [json.dumps(one).encode() for one in REQUESTS], as_json, _request),
    "serve-connection": Reader(lambda: HTTP, _http_mutate, _connection),
}
"""Name -> reader."""
