"""Serving a store: what is opened in which order, who may connect, and what is said to the user.

Invariant: without a token the server listens on loopback alone. Cost: nothing is read before it is asked for; with a
subject the model is loaded first, and its first pass runs beside the first pages.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from neurolocal.errors import ConfigError
from neurolocal.literals import Site
from neurolocal.site.ask import Asker, Question
from neurolocal.site.connections import listen, run
from neurolocal.site.reader import Reader
from neurolocal.site.security import Hosts, is_loopback, new_token
from neurolocal.site.server import application

if TYPE_CHECKING:
    import uvicorn

    from neurolocal.subject import Subject

PROCESSES = 2
"""Processes that read the store."""

SHORTEST_TOKEN = 16
"""Characters of a token of the user's own."""

OWN_TOKEN = re.compile(rf"[!-~]{{{SHORTEST_TOKEN},}}")
"""A token of the user's own: what a header and a cookie can carry."""


@dataclass(frozen=True)
class Address:
    """Where to listen, and for whom."""

    host: str = "127.0.0.1"
    """An address or name of this machine; `0.0.0.0` is every IPv4 address, `::` every IPv6 address."""
    port: int = 8000
    """0 takes a free one."""
    allowed: tuple[str, ...] = ()
    """Further names by which clients reach the server."""
    token: str | None = None
    """A token of the user's own; None makes one where one is needed."""
    guarded: bool = False
    """Whether loopback needs the token, too."""

    def needed_token(self) -> str | None:
        """What requests must carry; None where nothing is needed.

        Raises:
            ConfigError: the user's own token can be guessed.
        """
        if self.token is not None and not OWN_TOKEN.fullmatch(self.token):
            raise ConfigError(
                f"serving with the token of NEUROLOCAL_TOKEN: it has {len(self.token)} characters. Give "
                f"{SHORTEST_TOKEN} or more, of ASCII and without spaces, or unset it, and one is made."
            )
        if is_loopback(self.host) and not self.guarded:
            return None
        return self.token or new_token()

    def url(self, port: int, token: str | None) -> str:
        """What to open in a browser."""
        everywhere = self.host in ("0.0.0.0", "::", "")
        scoped = self.host.replace("%", "%25")
        host = socket.gethostname() if everywhere else f"[{scoped}]" if ":" in scoped else scoped
        return f"http://{host}:{port}/" + ("" if token is None else f"?token={quote(token, safe='')}")


def serve_store(
    path: Path,
    address: Address,
    *,
    subject: Callable[[], Subject] | None = None,
    site: Site | None = None,
    say: Callable[[str], None],
    on_error: Callable[[Exception], None],
    processes: int = PROCESSES,
    started: Callable[[uvicorn.Server], None] | None = None,
) -> None:
    """Serve a store until the process is told to stop.

    Args:
        path: the store's file.
        address: where to listen.
        subject: loads the model that the pages may ask; None is none.
        site: which of the store's sites; None is its first.
        say: receives one line for the user at a time.
        on_error: receives an error that is a mistake of ours.
        processes: that read the store; 0 reads in this one.
        started: receives the server before it starts, to stop it from another thread.

    Raises:
        StoreError: it is no store, or damaged.
        SubjectError: the subject cannot be loaded.
        NeurolocalError: the address cannot be listened on.
    """
    token = address.needed_token()
    with ExitStack() as stack:
        reader = Reader(path, site=site, live=subject is not None, say=say, processes=processes)
        stack.callback(reader.close)
        listening = stack.enter_context(listen(address.host, address.port))
        port = listening.getsockname()[1]
        asker = None if subject is None else _asker(path, subject(), site, say, stack)
        app = application(
            reader,
            asker,
            hosts=Hosts(address.host, tuple(name.lower() for name in address.allowed)),
            token=token,
            cookie=f"neurolocal_{port}",
            on_error=on_error,
        )
        if token is not None and not is_loopback(address.host):
            say("the connection is not encrypted; over a network that others use, prefer a tunnel (ssh -L)")
        say(f"{address.url(port, token)}   (Ctrl-C ends it)")
        run(app, listening, started=started)


def _asker(
    path: Path, subject: Subject, site: Site | None, say: Callable[[str], None], stack: ExitStack
) -> Asker:  # fmt: skip
    """The subject, ready to be asked. Its first pass, which is slow, runs in the background."""
    from neurolocal.site.answers import Answers

    answers = Answers(path, subject, site=site, say=say)
    stack.callback(answers.close)
    asker = Asker(answers)
    stack.callback(asker.close)
    asker.begin(Question("A first pass", (), 1))
    return asker
