"""A long document -> parts that are tokenised one after another; joined, their ids are those of the whole document.

A part ends at a place: before a space or line break between two letters of ASCII. Of many tokenizers (`cuttable`, see
`neurolocal/subject/tokenizers/cuts.py`) the ids on one side of a place do not depend on the other side. Only the
beginning of a text is special (some put a space there), so a part is tokenised with what stands between it and the
place before, whose ids are then removed. Where there is no place, or the tokenizer is not cuttable, up to `longest`
characters are tokenised at once; a longer stretch is cut at white space, which may change the ids around the cut, and
is counted.
Invariant: the parts behind a character depend on the text and on these settings alone, so a run can resume there.
Cost: memory for the ids of one part.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, Int64

Encoding = tuple[Int32[np.ndarray, "n"], Int64[np.ndarray, "n"] | None]
"""A text's token ids, without special tokens, and the offset of each in the text, in code points; None if unknown."""

Encode = Callable[[list[str]], Sequence[Encoding]]
"""Texts -> token ids and offsets of each."""

PART = 1 << 18
"""Most characters of a part, where the text has places: enough to keep a tokenizer busy, and little to hold."""

PLACE = re.compile(r"[A-Za-z][ \n](?=[A-Za-z])")
"""A letter, and the space or line break behind it at which a part may end."""

STEP = 1 << 12
"""Characters in which places are looked for at once."""


class Part(NamedTuple):
    """A stretch of a document."""

    begin: int
    """Its first character."""
    end: int
    """The character behind its last."""
    context: int
    """Where the text begins with which it is tokenised; at most `begin`."""
    exact: bool
    """Whether what stands behind its end does not change its ids."""


def parts(text: str, begin: int = 0, *, cuttable: bool, longest: int) -> Iterator[Part]:
    """The parts of a document from a character on, which is 0 or the end of a part; one for an empty document.

    Args:
        text: the document.
        begin: the first character.
        cuttable: whether the tokenizer's ids are independent across places.
        longest: most characters tokenised at once where there is no place.
    """
    while True:
        context = _place(text, begin - min(PART, longest) // 2, begin) if cuttable and _is_place(text, begin) else None
        end, exact = _end(text, begin, cuttable=cuttable, longest=longest)
        yield Part(begin, end, begin if context is None else context, exact)
        if end == len(text):
            return
        begin = end


def encode_part(text: str, part: Part, encode: Encode) -> Encoding:
    """The ids of a part, and their offsets in the whole text."""
    if part.context == part.begin:
        ((tokens, starts),) = encode([text[part.begin : part.end]])
        return tokens, None if starts is None else starts + part.begin
    before, (tokens, starts) = encode([text[part.context : part.begin], text[part.context : part.end]])
    n = len(before[0])
    assert np.array_equal(before[0], tokens[:n]), "the tokenizer is not cuttable"
    return tokens[n:], None if starts is None else starts[n:] + part.context


def _end(text: str, begin: int, *, cuttable: bool, longest: int) -> tuple[int, bool]:
    """Where the part that begins at a character ends, and whether exactly."""
    size, last = min(PART, longest), len(text)
    if last - begin <= size:
        return last, True
    half = max(1, size // 2)
    for low in range(begin + half, min(begin + longest, last), half) if cuttable else ():
        at = _place(text, low, min(low + half, last))
        if at is not None and _place(text, at - half, at) is not None:
            return at, True
    if last - begin <= longest:
        return last, True
    low, high = begin + longest // 2, begin + longest
    return max(text.rfind(" ", low, high) + 1, text.rfind("\n", low, high) + 1) or high, False


def _is_place(text: str, at: int) -> bool:
    return at > 0 and PLACE.match(text, at - 1) is not None


def _place(text: str, low: int, high: int) -> int | None:
    """The last place of a stretch that begins with `low`, with its letters inside the stretch; None: it has none."""
    low = max(0, low)
    for end in range(high, low, -STEP):
        found = [match.start() + 1 for match in PLACE.finditer(text, max(low, end - STEP), end)]
        if found:
            return found[-1]
    return None
