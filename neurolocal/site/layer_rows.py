"""The rows of a layer's table, as plain lists for a script file and as records for the page.

Invariant: texts are visible and bounded, so a row has at most some 600 bytes; unknown figures are null.
Cost: one read of the examples, and the word of each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import isfinite, nan
from typing import NamedTuple

import numpy as np

from neurolocal.literals import VERDICTS
from neurolocal.render.visible import counted, visible
from neurolocal.report.layer import Layer
from neurolocal.site.peak_words import PeakWords

WORDS = 5
"""Peak words of a row."""

DESCRIPTION = 160
"""Characters of a description in a row."""

AT_ONCE = 512
"""Neurons whose examples are read at once."""


class LayerRow(NamedTuple):
    """One row of the table; the order of the fields is that of the script file."""

    neuron: int
    rank: int | None
    score: float | None
    verdict: int
    """Number in `VERDICTS`; -1 without a verdict."""
    description: str
    words: str
    """The commonest peak words with their number of examples."""
    coherence: float | None
    coherence_null: float | None
    half: float | None
    """Share of near words that keep half of the activation."""
    half_null: float | None
    detection_auprc: float | None
    """AUPRC of finding the texts where it fires by the description, in their natural proportion."""
    maximum: float | None
    """The largest activation."""
    detection_auprc_null: float | None
    """The AUPRC of another neuron's description."""


def layer_rows(read: Layer, words: PeakWords, neurons: Sequence[int]) -> list[LayerRow]:
    """The rows of some neurons of a layer, in their order."""
    counts = peak_word_counts(read, words, neurons)
    return [_row(read, neuron, counts[neuron]) for neuron in neurons]


def _row(read: Layer, neuron: int, words: list[tuple[str, int]]) -> LayerRow:
    verdict = read.text("verdict", "verdict", neuron)

    def figure(stage: str, column: str) -> float | None:
        return _known(read.figure(stage, column, neuron))

    auprc, _, _, auprc_null = read.scores(neuron).get("detection_auprc", (nan,) * 4)
    maximum = float(read.statistics.maximum[read.index[neuron]])
    return LayerRow(
        neuron,
        int(read.figure("verdict", "rank", neuron)) + 1 if verdict is not None else None,
        figure("verdict", "score"),
        VERDICTS.index(verdict) if verdict in VERDICTS else -1,
        visible(read.text("summary", "description", neuron) or "", limit=DESCRIPTION),
        counted(words[:WORDS]),
        figure("similarity", "score"),
        figure("similarity", "null_mean"),
        figure("perturbation", "half"),
        figure("perturbation", "control_half"),
        _known(auprc),
        _known(maximum),
        _known(auprc_null),
    )


def peak_word_counts(read: Layer, words: PeakWords, neurons: Sequence[int]) -> dict[int, list[tuple[str, int]]]:
    """The peak words of the largest examples of some neurons with their number of examples, commonest first."""
    wanted = np.array([read.index[neuron] for neuron in neurons], np.int64)
    found: dict[int, list[tuple[str, int]]] = {}
    names = dict(zip(wanted.tolist(), neurons, strict=True))
    for number in np.unique(wanted // AT_ONCE).tolist():
        first = number * AT_ONCE
        top = read.store.top(read.layer, "largest", slice(first, first + AT_ONCE))
        here = wanted[(wanted >= first) & (wanted < first + AT_ONCE)]
        places = zip(here.tolist(), top.row[here - first].tolist(), top.position[here - first].tolist(), strict=True)
        for at, rows, positions in places:
            texts = [words.text(r, p) for r, p in zip(rows, positions, strict=True) if r >= 0]
            found[names[at]] = Counter(texts).most_common()
    return found


def _known(value: float) -> float | None:
    """At most four digits, which is what a table shows."""
    return float(f"{value:.4g}") if isfinite(value) else None
