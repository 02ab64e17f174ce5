"""Page templates: a jinja2 environment that escapes all values, and the parts of a content security policy.

Invariant: templates make every value visible, then escape it, except our own style and script. A page's policy names
these two by their hash, so a browser applies no other style and runs no other script.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurolocal.errors import NeurolocalError
from neurolocal.render.visible import visible

if TYPE_CHECKING:
    from jinja2 import Environment


def environment(folders: Sequence[Path], *, doing: str) -> Environment:
    """The templates in some folders. Values are made visible and escaped; an undefined name is an error.

    Raises:
        NeurolocalError: jinja2 is not installed; the message begins with `doing`.
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
        finalize=_shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _shown(value: Any) -> Any:
    """A text with nothing hidden in it, line breaks kept; markup and other values unchanged."""
    if not isinstance(value, str) or hasattr(value, "__html__") or value.isprintable():
        return value
    return "\n".join(map(visible, value.split("\n")))


def digest(text: str) -> str:
    """The source expression by which a content security policy allows an inline style or script: `'sha256-…'`."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def markup(text: str) -> Any:
    """Our own style or script, marked so that the template does not escape it."""
    from markupsafe import Markup

    return Markup(text)
