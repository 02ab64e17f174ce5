"""The application of `neurolocal serve`: pages on demand, JSON for programs, and questions to the subject.

Invariant: a path is a name that `Pages` or a table here knows, or it is not found; no file is opened by it. What fails
is answered in one line; the traceback of a mistake of ours is kept by `on_error` and never sent.
Cost: a page that the client still has is answered without being made.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from neurolocal.errors import NeurolocalError
from neurolocal.literals import Side
from neurolocal.render.visible import visible
from neurolocal.site import api
from neurolocal.site.ask import LONGEST_TEXT, MOST_NEURONS, Asker, QuestionError, parse
from neurolocal.site.reader import Reader
from neurolocal.site.security import Guard, Hosts, said

if TYPE_CHECKING:
    from starlette.types import ASGIApp

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
"""Endings of names -> content types; any other is sent as bytes."""

LONGEST_BODY = 64 << 10
"""Bytes of a request's body: each character of the longest text may be escaped as \\uXXXX, twice over."""

LIMIT = re.compile("[0-9]{1,4}")
"""How a limit is written: no longer than the largest that is allowed."""

OWN = {f"assets/{name}": (Path(__file__).parent / "assets" / name) for name in ("ask.js", "ask.css")}
"""The files that only the server has: its own script and style."""


def application(
    reader: Reader,
    asker: Asker | None,
    *,
    hosts: Hosts,
    token: str | None = None,
    cookie: str = "neurolocal",
    on_error: Callable[[Exception], None],
) -> ASGIApp:
    """The application.

    Args:
        reader: reads the store.
        asker: asks the subject; None where there is none.
        hosts: the Host headers that are answered.
        token: what a request must carry; None asks for nothing.
        cookie: name of the cookie that carries it.
        on_error: receives an error that is a mistake of ours.
    """
    endpoints = Endpoints(reader, asker, on_error)
    routes = [
        Route("/api/store", endpoints.store),
        Route("/api/layers/{layer:int}", endpoints.layer),
        Route("/api/neurons/{layer:int}/{neuron:int}", endpoints.neuron),
        Route("/api/find", endpoints.find),
        Route("/api/activations", endpoints.activations, methods=["POST"]),
        Route("/{name:path}", endpoints.page),
    ]
    handlers: Any = {
        HTTPException: _refused,
        QuestionError: _refused,
        ClientDisconnect: _refused,
        Exception: endpoints.failed,
    }
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return Guard(app, hosts=hosts, token=token, cookie=cookie)


class Endpoints:
    """The answers, each a method; the application maps addresses to them."""

    def __init__(self, reader: Reader, asker: Asker | None, on_error: Callable[[Exception], None]) -> None:
        self._reader, self._asker, self._on_error = reader, asker, on_error
        self._own = {name: path.read_bytes() for name, path in OWN.items()}

    async def page(self, request: Request) -> Response:
        """A page of the site, or a file of the server's own."""
        name = request.path_params["name"]
        if name == "" or name.endswith("/"):
            name += "index.html"
        held = request.headers.get("if-none-match", "")
        if name in self._own:
            content = self._own[name]
            tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            return _page(name, tag, None if tag in held else content)
        found = await self._answer(self._reader.page(name, held=held))
        return found if isinstance(found, Response) else _page(name, found.tag, found.content)

    async def store(self, request: Request) -> Response:
        """The facts of the store, and what may be asked of the subject."""
        limits = {"characters": LONGEST_TEXT, "neurons": MOST_NEURONS}
        return await self._json(api.store_facts, {"ask": limits if self._asker else None})

    async def layer(self, request: Request) -> Response:
        """The neurons of a layer."""
        layer, side = request.path_params["layer"], _side(request)
        return await self._json(api.layer_neurons, layer, side)

    async def neuron(self, request: Request) -> Response:
        """One neuron."""
        layer, neuron, side = request.path_params["layer"], request.path_params["neuron"], _side(request)
        return await self._json(api.neuron, layer, neuron, side)

    async def find(self, request: Request) -> Response:
        """The neurons whose examples peak on a token or word."""
        query = request.query_params
        text, word, limit = query.get("text", ""), query.get("word") == "1", query.get("limit", "20")
        if not text or not LIMIT.fullmatch(limit) or not 1 <= int(limit) <= 1_000:
            raise HTTPException(400, "expected text=TOKEN, and perhaps word=1 and limit=1 to 1000")
        return await self._json(api.neurons_of, text, word, int(limit))

    async def activations(self, request: Request) -> Response:
        """What the subject's neurons do on a text."""
        if self._asker is None:
            raise HTTPException(404, "there is no subject to ask: start the server with --subject")
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise HTTPException(
                415, "expected content-type: application/json"
            )  # which no page of another site may send
        question = parse(await _body(request))
        answer = await self._answer(self._asker.ask(question))
        return answer if isinstance(answer, Response) else _json(answer)

    async def failed(self, request: Request, error: Exception) -> Response:
        """The answer to what should not have happened."""
        self._on_error(error)
        return said(500, "a mistake of neurolocal, or of a package it uses; what happened is said where it was started")

    async def _json(self, make: Callable[..., dict[str, Any]], *arguments: object) -> Response:
        found = await self._answer(self._reader.read(make, *arguments))
        return found if isinstance(found, Response) else _json(found)

    async def _answer(self, waiting: Any) -> Any:
        """What an awaitable gives, or the answer that says why there is nothing."""
        try:
            found = await waiting
        except api.AbsentError as error:
            return said(404, visible(str(error)))
        except NeurolocalError as error:
            return said(500, visible(" ".join(str(error).split())))
        return said(404, "no such page") if found is None else found


def _page(name: str, tag: str, content: bytes | None) -> Response:
    """A page, or that it has not changed."""
    headers = {"etag": tag, "cache-control": "private, no-cache"}
    if content is None:
        return Response(status_code=304, headers=headers)
    kind = TYPES.get(f".{name.rpartition('.')[2]}", "application/octet-stream")
    return Response(content, headers={**headers, "content-type": kind})


def _json(value: dict[str, Any]) -> Response:
    return Response(orjson.dumps(value), headers={"content-type": "application/json", "cache-control": "no-store"})


def _side(request: Request) -> Side:
    """The side that a request asks for.

    Raises:
        HTTPException: there is none of that name.
    """
    side: Any = request.query_params.get("side", "largest")
    if side not in get_args(Side):
        raise HTTPException(400, f"expected side= one of {', '.join(get_args(Side))}")
    return side


async def _body(request: Request) -> bytes:
    """The body of a request.

    Raises:
        HTTPException: it is too long.
    """
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LONGEST_BODY:
            raise HTTPException(413, f"the body is too long: at most {LONGEST_BODY:,} bytes")
    return bytes(body)


async def _refused(request: Request, error: Any) -> Response:
    """A refusal in one line, whatever raised it."""
    if isinstance(error, ClientDisconnect):
        return said(400, "the request ended before its body did")  # nobody hears it
    if isinstance(error, QuestionError):
        return said(error.status, error.why)
    answer = said(error.status_code, error.detail)
    answer.headers.update(error.headers or {})
    return answer
