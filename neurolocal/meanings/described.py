"""The column `parts` of a summary: the description of each of a neuron's meanings, as text and back.

Cost: one pass over a short text.
"""

from __future__ import annotations

from collections.abc import Mapping


def parts_text(descriptions: Mapping[int, str]) -> str:
    """A line a meaning: number, tab, description."""
    return "\n".join(f"{part}\t{' '.join(text.split())}" for part, text in descriptions.items())


def described_parts(parts: str) -> dict[int, str]:
    """Part -> description, from the column `parts` of a summary: a line each, number, tab, description."""
    lines = (line.split("\t", 1) for line in parts.splitlines())
    return {int(line[0]): line[1] for line in lines if len(line) == 2 and line[0].isdigit()}
