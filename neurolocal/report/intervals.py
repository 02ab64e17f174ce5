"""The bands of a neuron's activation: what each one reaches to, how many rows fell in it, and a random few of these.

Invariant: from high to low, those with rows alone. Cost: a row of the store for each example.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from neurolocal.records import Example
from neurolocal.render.spans import spans
from neurolocal.report.layer import Layer
from neurolocal.store.band_rows import BandRow
from neurolocal.words import Vocabulary

BEFORE, AFTER = 12, 4
"""Tokens shown before and after the peak."""

ON_PAGE = 2
"""Rows of each interval that a page shows."""

LONGEST_AROUND = 160
"""Characters that a page shows of the text before a peak, and after it."""


class Interval(NamedTuple):
    """One band."""

    low: float
    """Activation from which it reaches, included."""
    high: float
    """Activation up to which it reaches; in band 0 that of the neuron's strongest example."""
    low_share: float
    """`low` as a share of the neuron's maximum."""
    rows: int
    """Rows of the corpus whose strongest position is in it."""
    examples: list[Example]
    """Some of these rows at random; only the peak's activation is known, that of other tokens is NaN."""


class IntervalTexts(NamedTuple):
    """One band as a page shows it."""

    interval: Interval
    """With the rows that are shown."""
    texts: list[tuple[str, str, str]]
    """Of each row the text before the peak, the peak, and the text after it."""


def interval_texts(read: Layer, neuron: int) -> list[IntervalTexts]:
    """What `intervals` gives, with `ON_PAGE` rows of each as text."""
    found = intervals(read, neuron, limit=ON_PAGE)
    return [IntervalTexts(one, [_around(e, read.store.vocabulary) for e in one.examples]) for one in found]


def intervals(read: Layer, neuron: int, *, limit: int | None = None) -> list[Interval]:
    """The bands of a neuron that hold rows; none where the store has no bands, or of another side than `largest`.

    Args:
        read: its layer.
        neuron: its index.
        limit: examples a band, at most.
    """
    maximum, made = float(read.statistics.maximum[read.index[neuron]]), list[Interval]()
    for band in read.bands(neuron):
        examples = [_example(read, i, row) for i, row in enumerate(band.rows[:limit])]
        made.append(Interval(band.low, min(band.high, maximum), band.low / maximum, band.count, examples))
    return made


def _example(read: Layer, rank: int, found: BandRow) -> Example:
    row, position, activation = found
    tokens = read.store.row(row)
    start, stop = max(0, position - BEFORE), min(len(tokens), position + 1 + AFTER)
    activations = np.full(stop - start, np.nan, np.float32)
    activations[position - start] = activation
    return Example(rank, row, position, activation, start, tokens[start:stop], activations)


def _around(example: Example, vocabulary: Vocabulary) -> tuple[str, str, str]:
    found = spans(example, vocabulary)
    at = next(i for i, span in enumerate(found) if span.peak)
    before, after = ("".join(span.text for span in some) for some in (found[:at], found[at + 1 :]))
    peak = found[at].text.lstrip(" ") or found[at].text
    before += found[at].text[: len(found[at].text) - len(peak)]
    return before[-LONGEST_AROUND:], peak[:LONGEST_AROUND], after[:LONGEST_AROUND]
