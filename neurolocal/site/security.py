"""Which requests are answered: the Host header, the token, requests of other sites; and the headers of every answer.

Invariant: a request that is refused reaches neither the store nor the subject. The token is compared in constant time,
and is in no answer but the cookie. Cost: a few string comparisons a request.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(:[0-9]{1,5})?")
"""A Host header: a name, an IPv4 address or an IPv6 address in brackets, and a port."""

LONGEST_PATH = 2_000
"""Characters of a path, and of a query string."""

LONGEST_HEADERS = 32 << 10
"""Bytes of all headers."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The content security policy of every answer: the site's own scripts and styles, and no other."""

HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
"""Headers of every answer."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address or name."""
    if host == "localhost":
        return True
    address = _address(host)
    return address is not None and address.is_loopback


@dataclass(frozen=True)
class Hosts:
    """The Host headers that are answered. A name that an attacker's DNS points at this machine is none of them."""

    bound: str
    """The address or name that the server listens on."""
    more: tuple[str, ...] = ()
    """Further names, such as that of a proxy in front."""

    def allow(self, header: str) -> bool:
        """Whether a request with this Host header is answered, whatever its port: a tunnel has another one.

        Loopback names always are. Of a server that others can reach also every address, which needs no DNS and so
        cannot be redirected by it; the name that it listens on; and the machine's own name.
        """
        match = HOST.fullmatch(header)
        if match is None:
            return False
        name = match["name"].strip("[]").rstrip(".").lower()
        if is_loopback(name) or name in self.more:
            return True
        if is_loopback(self.bound):
            return False
        return _address(name) is not None or name in (self.bound.lower(), socket.gethostname().lower())


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


class Guard:
    """Refuses what may not be asked, before the application sees it; adds `HEADERS` to every answer."""

    def __init__(self, app: ASGIApp, *, hosts: Hosts, token: str | None, cookie: str = "neurolocal") -> None:
        """Guard an application.

        Args:
            app: the application.
            hosts: the Host headers that are answered.
            token: what a request must carry; None asks for nothing.
            cookie: name of the cookie that carries the token; servers on two ports of one machine share cookies.
        """
        self.app, self.hosts, self.token, self.cookie = app, hosts, token, cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":  # the server starts and stops; there are no web sockets
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        answer = self.refusal(scope)
        await (self.app if answer is None else answer)(scope, receive, with_headers)

    def refusal(self, scope: Scope) -> Response | None:
        """The answer to a request that the application may not see; None where it may."""
        headers = Headers(scope=scope)
        if len(scope["path"]) > LONGEST_PATH or len(scope["query_string"]) > LONGEST_PATH:
            return said(414, f"the address is too long: at most {LONGEST_PATH:,} characters")
        if sum(len(name) + len(value) for name, value in headers.raw) > LONGEST_HEADERS:
            return said(431, f"the headers are too long: at most {LONGEST_HEADERS:,} bytes")
        if len(headers.getlist("host")) != 1 or not self.hosts.allow(headers["host"]):
            return said(421, "this server does not answer to that Host; start it with --allow-host NAME to allow one")
        if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
            return said(403, "another site may link to these pages, but neither load nor read them")
        return None if self.token is None else self._without_token(scope, headers, self.token)

    def _without_token(self, scope: Scope, headers: Headers, token: str) -> Response | None:
        """The answer to a request that does not carry the token, or carries it in its address."""
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in query if name == "token"]
        if given and _same(given[-1], token):
            # The address without the token: it is in no history, bookmark or screenshot from now on.
            rest = urlencode([(name, value) for name, value in query if name != "token"])
            answer = RedirectResponse(f"?{rest}" if rest else _last(scope["path"]), status_code=303)
            answer.set_cookie(self.cookie, token, httponly=True, samesite="lax", path="/")
            return answer
        bearer = headers.get("authorization", "")
        held = [bearer[7:] if bearer[:7].lower() == "bearer " else "", Request(scope).cookies.get(self.cookie, "")]
        if any(_same(one, token) for one in held):
            return None
        answer = said(
            401, "a token is needed: open the address that `neurolocal serve` printed, which ends in ?token=…"
        )
        answer.headers["www-authenticate"] = "Bearer"
        return answer


def said(status: int, text: str) -> Response:
    """An answer of one line of our own; it never repeats what was asked."""
    return PlainTextResponse(text + "\n", status_code=status, headers={"cache-control": "no-store"})


def new_token() -> str:
    """A token that cannot be guessed: 256 random bits."""
    return secrets.token_urlsafe(32)


def _same(given: str, token: str) -> bool:
    return secrets.compare_digest(given.encode("utf-8", "replace"), token.encode())


def _last(path: str) -> str:
    """A path relative to itself: its last part, or the folder. So no path leads to another server (`//name/`)."""
    return "./" + quote(path.rpartition("/")[2], safe="")
