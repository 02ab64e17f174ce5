"""`neurolocal serve`."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neurolocal.cli.options import device_option, example, say, site_option, store_argument

if TYPE_CHECKING:
    from neurolocal.subject import Subject

MOST_TRACEBACKS = 20
"""Files of tracebacks that one server leaves."""


@click.command(epilog=example("neurolocal serve smol.h5 --subject"))
@store_argument
@click.option(
    "--subject",
    is_flag=False,
    flag_value="",
    help="Add a text box to ask this model; without a value, the one that the store names.  [default: no text box]",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on. Any but loopback needs a token: the one that is printed, or NEUROLOCAL_TOKEN.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option("--allow-host", multiple=True, help="A further name of the server, e.g. of a proxy before it.")
@click.option("--token", is_flag=True, help="Need the token on loopback too: this machine has other users.")
@site_option
@device_option
def serve(
    path: Path, subject: str | None, host: str, port: int, allow_host: tuple[str, ...], token: bool, site: Any,
    device: str | None,
) -> None:  # fmt: skip
    """The pages of a store in the browser; a text box to ask."""
    require_server()
    from neurolocal.cli.main import keep_traceback
    from neurolocal.pipeline.workspace import Workspace
    from neurolocal.site.serve import Address, serve_store

    workspace = Workspace(path, site=site, subject=subject or None, device=device, say=say)
    kept: list[str] = []

    def load() -> Subject:
        loaded = workspace.loaded_subject
        workspace.reload()  # the server opens the store itself
        return loaded

    def failed(error: Exception) -> None:
        if len(kept) < MOST_TRACEBACKS:
            kept.append(keep_traceback(error))
        say(f"serve: unexpected {type(error).__name__}; a traceback is in {kept[-1]}. Please report it.")

    with suppress(KeyboardInterrupt):  # how a server ends
        serve_store(
            path,
            Address(host, port, allow_host, os.environ.get("NEUROLOCAL_TOKEN") or None, token),
            subject=None if subject is None else load,
            site=site,
            say=lambda line: say(f"serve: {line}"),
            on_error=failed,
        )


def require_server() -> None:
    """Check that the server's packages are installed.

    Raises:
        NeurolocalError: they are not.
    """
    from neurolocal.errors import NeurolocalError

    try:
        import starlette  # noqa: F401  # pyright: ignore[reportUnusedImport]
        import uvicorn  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise NeurolocalError(
            f"serving a store: {error.name} is not installed. Run: pip install 'neurolocal[site]', or write the pages "
            "with `neurolocal site STORE DIR`."
        ) from error
