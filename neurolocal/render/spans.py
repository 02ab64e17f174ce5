"""Tokens as spans: pieces of text with their activation, which every view shades.

Invariant: the spans joined are the tokens' text. Tokens that form one character together are one span, so no view
shows part of a character. One span at most holds the peak. Cost: linear in the tokens.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int8, Integer

from neurolocal.records import Example
from neurolocal.words import Vocabulary

SHADES = 10
"""Shade of the full activation, an example's peak. Shade 0 is none, or an activation of the other sign."""


@dataclass(frozen=True)
class Span:
    """One token, or several tokens that form one character."""

    text: str
    """Text of the corpus, unchanged: not escaped, hidden characters not made visible."""
    shade: int
    """0 to `SHADES`: activation as a share of the full activation, rounded."""
    activation: float
    """The strongest activation of its tokens, in the direction of the full activation's sign."""
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
    """The spans of an example's window, in reading order; the peak's activation is the full one."""
    return token_spans(
        example.tokens, example.activations, vocabulary, full=example.activation, peak=example.peak
    )  # fmt: skip


def token_spans(
    tokens: Integer[np.ndarray, "pos"], activations: Float32[np.ndarray, "pos"], vocabulary: Vocabulary, *, full: float,
    peak: int | None,
) -> list[Span]:  # fmt: skip
    """The spans of some tokens, in reading order.

    Args:
        tokens: ids.
        activations: one a token.
        vocabulary: of these ids.
        full: the activation of shade `SHADES`; 0 or NaN shades nothing.
        peak: index of the peak; None is no peak.
    """
    together = groups(tokens.tolist(), vocabulary)
    values = [strongest(activations[group].tolist(), full) for group in together]
    made: list[Span] = []
    for group, value, shade in zip(together, values, shades(np.array(values, np.float32), full).tolist(), strict=True):
        special = bool(vocabulary.special[tokens[group[-1]]])
        made.append(Span(vocabulary.text(tokens[group]), shade, value, peak in group, special))
    return made


def shades(
    activations: Float32[np.ndarray, "pos"], full: float | Float64[np.ndarray, "pos"]
) -> Int8[np.ndarray, "pos"]:
    """0 to `SHADES`: each activation as a share of the full one, rounded; 0 where that is below 0 or unknown.

    Args:
        activations: of some tokens.
        full: the activation of shade `SHADES`, of all or of each; 0, NaN and infinity shade nothing.
    """
    shares = np.zeros(len(activations))
    np.divide(activations, full, out=shares, where=np.isfinite(full) & (np.asarray(full) != 0), dtype=np.float64)
    return np.rint(SHADES * np.fmin(np.fmax(shares, 0.0), 1.0)).astype(np.int8)  # NaN gives 0


def strongest(activations: list[float], full: float) -> float:
    """The strongest of some activations in the direction of the full one; NaN counts for nothing."""
    direction = -1.0 if full < 0 else 1.0
    return max(activations, key=lambda a: direction * a if a == a else -1e300)
