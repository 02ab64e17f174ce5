"""The rows of a layer's table, as plain lists for a script file and as records for the page.

Invariant: texts are visible and bounded, so a row has at most some 600 bytes; unknown figures are null.
Cost: one read of the examples' rows and positions, `word_at` once an example.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import isfinite
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from neurolocal.literals import VERDICTS
from neurolocal.records import TopK
from neurolocal.render.visible import counted, visible
from neurolocal.report.layer import Layer
from neurolocal.words.vocabulary import RowWords

WORDS = 5
"""Peak words of a row."""

DESCRIPTION = 160
"""Characters of a description in a row."""

AT_ONCE = 512
"""Neurons whose examples are read at once."""

DENSE = 32
"""Tokens of a row for each word needed, from which all words of the row cost less than single ones."""


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
    told: float | None
    """AUC of telling texts apart by the description."""
    maximum: float | None
    """The largest activation."""


def layer_rows(read: Layer, neurons: Sequence[int]) -> list[LayerRow]:
    """The rows of some neurons of a layer, in their order."""
    words = peak_word_counts(read, neurons)
    return [_row(read, neuron, words[neuron]) for neuron in neurons]


def _row(read: Layer, neuron: int, words: list[tuple[str, int]]) -> LayerRow:
    verdict = read.text("verdict", "verdict", neuron)

    def figure(stage: str, column: str) -> float | None:
        return _known(read.figure(stage, column, neuron))

    told = read.scores(neuron).get("detection_auc", (float("nan"),))[0]
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
        _known(told),
        _known(maximum),
    )


def peak_word_counts(read: Layer, neurons: Sequence[int]) -> dict[int, list[tuple[str, int]]]:
    """The peak words of the largest examples of some neurons with their number of examples, commonest first."""
    wanted = np.array([read.index[neuron] for neuron in neurons], np.int64)
    found: dict[int, list[tuple[str, int]]] = {}
    names = dict(zip(wanted.tolist(), neurons, strict=True))
    for number in np.unique(wanted // AT_ONCE).tolist():
        first = number * AT_ONCE
        top = read.store.top(read.layer, "largest", slice(first, first + AT_ONCE))
        here = wanted[(wanted >= first) & (wanted < first + AT_ONCE)]
        texts = _words(read, top, here - first)
        found |= {names[at]: Counter(words).most_common() for at, words in zip(here.tolist(), texts, strict=True)}
    return found


def _words(read: Layer, top: TopK, at: Int64[np.ndarray, "_"]) -> list[list[str]]:
    """The peak word of each example of some neurons; the words of a row are found once."""
    vocabulary, rows = read.store.vocabulary, top.row[at]
    many: dict[int, int] = dict(zip(*(a.tolist() for a in np.unique(rows, return_counts=True)), strict=True))
    kept: dict[int, RowWords] = {}

    def word(row: int, position: int) -> str:
        tokens = read.store.row(row)
        if DENSE * many[row] < len(tokens):
            return vocabulary.word_at(tokens, position).text
        if row not in kept:
            kept[row] = vocabulary.row_words(tokens)
        return kept[row].text(position)

    pairs = zip(rows.tolist(), top.position[at].tolist(), strict=True)
    return [[word(r, p) for r, p in zip(*one, strict=True) if r >= 0] for one in pairs]


def _known(value: float) -> float | None:
    """At most four digits, which is what a table shows."""
    return float(f"{value:.4g}") if isfinite(value) else None
