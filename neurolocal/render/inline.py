"""What every page is made with: templates that escape, and our own style and script, named by the page's policy."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurolocal.errors import NeurolocalError

if TYPE_CHECKING:
    from jinja2 import Environment


def environment(folders: Sequence[Path], *, doing: str) -> Environment:
    """Templates of some folders; whatever they show is escaped, and a name that they lack is an error.

    Raises:
        NeurolocalError: jinja2 is not installed; `doing` begins the message.
    """
    try:
        import jinja2
    except ImportError as error:
        raise NeurolocalError(
            f"{doing}: jinja2 is not installed. Run: pip install 'neurolocal[site]', or use --json."
        ) from error
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def digest(text: str) -> str:
    """What a content security policy calls an inline style or script by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def markup(text: str) -> Any:
    """Our own style or script, which the template must not escape."""
    from markupsafe import Markup

    return Markup(text)
