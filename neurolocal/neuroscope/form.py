"""The form of a Neuroscope page: what its reader (`read`) and its writer (`export`) must agree on.

A page is a header and up to 20 texts, separated by `<hr>` lines. Each text has printed figures and two JSON objects of
tokens and activations: a window around the peak, and the full row. Our own pages also carry one checksum a text.
"""

from __future__ import annotations

import hashlib

BEFORE, AFTER = 50, 10
"""Positions before and after the peak that the window holds."""

TEXTS = 20
"""Texts of a page on Neuroscope; some readers refuse pages with fewer."""

KEYS = ("tokens", "values", "minValue", "maxValue")
"""Keys of the JSON object of a window or a full text, in this order."""


def section_checksum(header: str, section: str) -> str:
    """SHA-256 of one text's section, as the comment at its end states it.

    Args:
        header: the part of the page before the first `<hr>` line.
        section: the part of the section before the comment.

    White space around either is ignored. The header is included, so a text cannot be moved to another neuron's page.
    """
    return hashlib.sha256(f"{header.strip()}\n<hr>\n{section.strip()}".encode()).hexdigest()
