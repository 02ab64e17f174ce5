"""An example's window as spans: pieces of text with their activation, which every view shades.

Invariant: the spans joined are the window's text. Tokens that form one character together are one span, so no view
shows part of a character. Exactly one span holds the peak. Cost: linear in the window.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from neurolocal.records import Example
from neurolocal.words import Vocabulary

SHADES = 10
"""Shade of the peak. Shade 0 is no activation, or an activation of the other sign."""


@dataclass(frozen=True)
class Span:
    """One token of a window, or several tokens that form one character."""

    text: str
    """Text of the corpus, unchanged: not escaped, hidden characters not made visible."""
    shade: int
    """0 to `SHADES`: activation as a share of the peak's activation, rounded."""
    activation: float
    """The strongest activation of its tokens, in the direction of the peak's sign."""
    peak: bool
    """Whether it holds the peak."""
    special: bool
    """Whether it is a special token such as BOS."""


def groups(tokens: Sequence[int], vocabulary: Vocabulary) -> list[list[int]]:
    """The positions of the tokens in reading order, those together whose tokens form one character."""
    made: list[list[int]] = []
    group: list[int] = []
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for i, token in enumerate(tokens):
        special = bool(vocabulary.special[token])
        if special and group:
            made.append(group)
            group = []
            decoder.reset()
        group.append(i)
        decoder.decode(vocabulary.tokens[token])
        if special or not decoder.getstate()[0]:
            made.append(group)
            group = []
            decoder.reset()
    return [*made, group] if group else made


def spans(example: Example, vocabulary: Vocabulary) -> list[Span]:
    """The spans of an example's window, in reading order."""
    return [_span(group, example, vocabulary) for group in groups(example.tokens.tolist(), vocabulary)]


def _span(group: list[int], example: Example, vocabulary: Vocabulary) -> Span:
    direction = -1.0 if example.activation < 0 else 1.0
    strongest = max((float(example.activations[i]) for i in group), key=lambda a: direction * a if a == a else -1e300)
    share = strongest / example.activation if example.activation else 0.0
    shade = round(SHADES * min(max(share, 0.0), 1.0)) if isfinite(share) else 0
    text = vocabulary.text([int(example.tokens[i]) for i in group])
    special = bool(vocabulary.special[example.tokens[group[-1]]])
    return Span(text, shade, strongest, example.peak in group, special)
