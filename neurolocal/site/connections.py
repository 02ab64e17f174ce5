"""The listening socket and the connections to it: one request has a limited time to arrive.

Invariant: a connection on which a request begins and does not end within `ARRIVE` seconds is closed, as is one that
stays silent; at most `CONNECTIONS` are open. Cost: one timer a connection.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from neurolocal.errors import NeurolocalError

if TYPE_CHECKING:
    from starlette.types import ASGIApp

ARRIVE = 20.0
"""Seconds that a request may take to arrive whole, and that a new connection may be silent."""

SILENT = 15
"""Seconds that a connection may be silent after an answer."""

CONNECTIONS = 128
"""Connections that may be open; the answer to one more is 503."""

HEAD = 64 << 10
"""Bytes of a request's first line and headers that are waited for; `security` refuses what is longer than it says."""


class TimedConnection(H11Protocol):
    """A connection of the server with a limit on the time in which a request arrives: uvicorn has none."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """A client has connected."""
        super().connection_made(transport)
        # asyncio does this for sockets of its own making alone; without it the second part of an answer waits for the
        # client's delayed acknowledgement of the first, 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """A part of a request, a whole one, or several have come."""
        super().data_received(data)
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self._wait()
        else:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """The answer is sent; the client may still be sending what it was refused."""
        super().on_response_complete()
        if self.conn.their_state is h11.IDLE:  # silent: uvicorn's own timer runs
            self._stop_waiting()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP. Where it follows a good head, as a broken body does, the head's answer is dropped.

        uvicorn would send that answer after the refusal, or the refusal amid the answer; either is an error of h11.
        """
        if self.cycle is not None and not self.cycle.response_complete:  # pyright: ignore[reportUnnecessaryComparison]
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(ARRIVE, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one.

    Raises:
        NeurolocalError: the address is none of this machine's, or the port is taken.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address, family=family, backlog=CONNECTIONS)  # of IPv6 with its scope
    except (OSError, UnicodeError, OverflowError) as error:
        said = (getattr(error, "strerror", None) or str(error)).partition(" (while ")[0]
        raise NeurolocalError(
            f"listening on {host}, port {port}: {said}. Choose another --port (0 takes a free one), or an address of "
            "this machine as --host."
        ) from error


def run(app: ASGIApp, listening: socket.socket, *, started: Callable[[uvicorn.Server], None] | None = None) -> None:
    """Answer requests until the process is told to stop.

    Args:
        app: the application.
        listening: what `listen` gave; it is closed in the end.
        started: receives the server before it starts, to stop it from another thread.
    """
    server = uvicorn.Server(settings(app))
    if started is not None:
        started(server)
    server.run(sockets=[listening])


def settings(app: ASGIApp) -> uvicorn.Config:
    """uvicorn's settings for an application: its limits, and no log."""
    return uvicorn.Config(
        app,
        http=TimedConnection,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=SILENT,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=HEAD,
    )
