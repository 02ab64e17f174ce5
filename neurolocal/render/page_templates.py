"""Page templates: a jinja2 environment that escapes all values, and the parts of a content security policy.

Invariant: templates make every value visible, then escape it, except our own style and script. A page's policy names
these two by their hash, so a browser applies no other style and runs no other script.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from neurolocal.errors import NeurolocalError
from neurolocal.literals import VERDICTS
from neurolocal.render.figures import fixed, number, percent
from neurolocal.render.visible import LONGEST, counted, spaced, visible

if TYPE_CHECKING:
    from jinja2 import Environment

Filters = dict[str, Callable[..., Any]]

SHARED = Path(__file__).parent / "templates"
"""What pages share: `head.html`, `macros.html` and `look.css`."""


def environment(
    folders: Sequence[Path], *, doing: str, filters: Mapping[str, Callable[..., Any]] | None = None
) -> Environment:
    """The templates in some folders and the shared ones, with filters of one's own beside the shared ones.

    Values are made visible and escaped; an undefined name is an error.

    Raises:
        NeurolocalError: jinja2 is not installed; the message begins with `doing`.
    """
    try:
        import jinja2
    except ImportError as error:
        raise NeurolocalError(f"{doing}: jinja2 is not installed. Run: pip install 'neurolocal[site]'.") from error
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, SHARED]),
        autoescape=True,
        auto_reload=False,
        finalize=_shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    shared: Filters = {
        "seen": lambda text: visible(text, limit=LONGEST),
        "spaced": spaced,
        "counted": counted,
        "fixed": fixed,
        "number": number,
        "percent": percent,
        "width": lambda share: round(100 * min(max(share, 0.0), 1.0), 1) if isfinite(share) else 0,
        "known": isfinite,
        "effects": lambda tokens: words((spaced(e.token), number(e.effect)) for e in tokens),
        "replaced_words": lambda found: words((visible(r.word, limit=LONGEST), percent(r.relative)) for r in found),
        "counted_words": lambda found: words((spaced(word), f"×{n}") for word, n in found),
    }
    cast(Filters, made.filters).update({**shared, **(filters or {})})
    cast(dict[str, Any], made.globals)["VERDICTS"] = VERDICTS
    return made


def source(templates: Environment, name: str) -> str:
    """The text of a style or a script among the templates, as it is."""
    assert templates.loader is not None
    return templates.loader.get_source(templates, name)[0]


def _shown(value: Any) -> Any:
    """A text with nothing hidden in it, line breaks kept; markup and other values unchanged."""
    if not isinstance(value, str) or hasattr(value, "__html__") or value.isprintable():
        return value
    return "\n".join(map(visible, value.split("\n")))


@cache
def _head() -> str:
    return (SHARED / "head.html").read_text(encoding="utf-8")


def head(policy: str) -> str:
    """The beginning of a page that is made without a template: `head.html` with a policy of our own."""
    return _head().replace("{{ policy }}", policy)


def digest(text: str) -> str:
    """The source expression by which a content security policy allows an inline style or script: `'sha256-…'`."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def words(noted: Iterable[tuple[str, str]]) -> Any:
    """Visible words, each with a note, as HTML: made here, since a page has a hundred and templates take long."""
    return markup(
        "".join(
            f'<span class="word"><bdi>{html.escape(word)}</bdi> <span class="null">{html.escape(note)}</span></span> '
            for word, note in noted
        )
    )


def markup(text: str) -> Any:
    """HTML of our own, marked so that the template does not escape it."""
    from markupsafe import Markup

    return Markup(text)
