"""Untrusted text made safe to display: on one line, nothing hidden, nothing reordered.

Invariant: the result of `visible` contains no control, format, surrogate or line-breaking character, so the text cannot
control a terminal or a browser. Escaping for HTML is a separate step, done by the page template.
Cost: linear in the characters shown.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

LONGEST = 200
"""Characters of one piece of text that a table or page shows; the rest is cut."""

SYMBOLS = {"\n": "⏎", "\t": "⇥"}
"""Symbols of common control characters. Fonts have no pictures of the others, so these are shown by their code."""

HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories of characters that are invisible or control others: control, format, surrogate, separators."""


def visible(text: str, *, limit: int | None = None) -> str:
    """The text with each hidden character as its code, `⟨U+202E⟩`; line break and tab as `⏎` and `⇥`.

    A text longer than `limit` characters is cut, and ends with the number of characters that were cut.
    """
    cut = text if limit is None or len(text) <= limit else text[:limit]
    shown = cut if cut.isprintable() else _shown(cut)  # printable text has none of the HIDDEN categories
    return shown if cut is text else f"{shown}…(+{len(text) - len(cut):,})"


def _shown(text: str) -> str:
    return "".join(SYMBOLS.get(c) or (_code(c) if unicodedata.category(c) in HIDDEN else c) for c in text)


def spaced(text: str, *, limit: int = 24) -> str:
    """One token by itself: `visible`, with leading and trailing spaces as dots."""
    body = text.strip(" ")
    if not body:
        return "·" * min(len(text), limit)
    before, after = len(text) - len(text.lstrip(" ")), len(text) - len(text.rstrip(" "))
    return "·" * min(before, limit) + visible(body, limit=limit) + "·" * min(after, limit)


def counted(texts: Iterable[tuple[str, int]], *, limit: int = 24) -> str:
    """Texts with their counts, `·poly ×12, ·P ×3`; a count of 1 is omitted, a dot stands for a space."""
    return ", ".join(f"{spaced(text, limit=limit)} ×{n}" if n > 1 else spaced(text, limit=limit) for text, n in texts)


def plain(text: str) -> str:
    """The text with lone surrogates replaced by U+FFFD, so that UTF-8 can encode it; otherwise unchanged."""
    return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)


def _code(char: str) -> str:
    return f"⟨U+{ord(char):04X}⟩"
