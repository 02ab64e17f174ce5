"""Text of a corpus as something safe to look at: on one line, nothing hidden, nothing reordered.

Invariant: what comes out holds no control, format, surrogate or line-breaking character, so neither a terminal nor a
browser can be steered by it; escaping for HTML is the template's task, on top of this.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

SHOWN = {"\n": "⏎", "\t": "⇥"}
"""Control characters that are common in text; fonts lack pictures of the others, so they show their code."""

HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories of what cannot be seen or steers what can: control, bidi override, surrogate, line separator."""


def visible(text: str, *, limit: int | None = None) -> str:
    """The text with each hidden character as `⟨U+202E⟩` (line break and tab as `⏎` and `⇥`).

    Past `limit` characters it is cut, and says by how many.
    """
    cut = text if limit is None or len(text) <= limit else text[:limit]
    shown = "".join(SHOWN.get(c) or (_code(c) if unicodedata.category(c) in HIDDEN else c) for c in cut)
    return shown if cut is text else f"{shown}…(+{len(text) - len(cut):,})"


def counted(texts: Iterable[tuple[str, int]], *, limit: int = 24) -> str:
    """`·poly ×12, ·P ×3`: each text once with its count; a dot is its leading space."""
    return ", ".join(f"{spaced(text, limit=limit)} ×{n}" if n > 1 else spaced(text, limit=limit) for text, n in texts)


def spaced(text: str, *, limit: int = 24) -> str:
    """One token by itself: `visible`, with leading and trailing spaces as dots."""
    body = text.strip(" ")
    if not body:
        return "·" * min(len(text), limit)
    before, after = len(text) - len(text.lstrip(" ")), len(text) - len(text.rstrip(" "))
    return "·" * min(before, limit) + visible(body, limit=limit) + "·" * min(after, limit)


def plain(text: str) -> str:
    """The text with lone surrogates as U+FFFD: what UTF-8 and JSON can carry, otherwise untouched."""
    return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)


def _code(char: str) -> str:
    return f"⟨U+{ord(char):04X}⟩"
