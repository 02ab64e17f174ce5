"""The texts that a description is judged by: those of the score half, and random text.

The corpus is cut into texts of `SIZE` tokens. The texts of a neuron are drawn from six strata: texts of the score
half's examples; texts of rows from each band of its activation (`banded`); and of random rows, texts in which it
fires, texts in which it is silent although they contain a token on which it peaks (near misses), silent texts that are
most like those that explain (`alike`), and other silent ones. Each drawn text has a weight, the number of texts of the
corpus that it represents, so that figures can also be computed for texts in their natural proportion. Of random rows
the texts that bands stand for are left out, so the weights of all strata together are those of the corpus.

Invariant: no text comes from a row that explains (an explaining example of the neuron, or `Sample.explaining`). Cost:
one pass over the random rows a neuron.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, Integer

from neurolocal.records import FIRING, SILENT, Example
from neurolocal.score.banded import activations_of, covered_position, draw_bands
from neurolocal.store.band_rows import Band, BandRow
from neurolocal.words import Vocabulary
from neurolocal.words.marked import AFTER, BEFORE, marked, one_line

SIZE = 26
"""Tokens of a text: a sentence or two, so that a question about it is cheap."""

NEAREST = 0.1
"""Share of the silent texts without a peak token that count as `alike`, the most similar; `each` of them at least."""

Stratum = Literal["example", "band", "fires", "near", "alike", "random"]


@dataclass(frozen=True)
class StratumText:
    """A text of a stratum."""

    stratum: Stratum
    row: int
    """Row index in the corpus."""
    start: int
    """Position in the row of its first token."""
    text: str
    """The text on one line."""
    fires: bool
    """Whether the neuron fires in it."""
    weight: float
    """Number of texts of the corpus that it represents."""
    tokens: Integer[np.ndarray, "_"]
    """Its token ids."""
    activations: Float32[np.ndarray, "_"]
    """At each token, as a share of the strongest explaining example's; NaN where unknown."""


@dataclass(frozen=True)
class MarkedText:
    """A text with one word marked."""

    row: int
    position: int
    """Position in the row of the marked word's first token."""
    text: str
    """With `<<word>>`, on one line."""
    fires: bool
    """Whether the neuron fires at that word."""


Tokens = Integer[np.ndarray, "_"]
RandomRow = tuple[int, Tokens, Float32[np.ndarray, "_"]]
"""(row, tokens, activations) of a random row without an example."""


@dataclass(frozen=True)
class Drawing:
    """What the texts of a neuron are drawn by."""

    row: Callable[[int], Tokens]
    """Row index -> the tokens of a stored row."""
    each: int
    """Texts of a stratum at most, bands excepted."""
    n_texts: int
    """Number of texts in the whole corpus."""
    bands: Sequence[Band] = ()
    """Of the neuron."""
    banded: int = 0
    """Texts of all bands together at most."""
    explaining: Collection[int] = ()
    """Rows that explain, beside those of even ranks."""
    alike: Callable[[int, int, Tokens], float] | None = None
    """(row, start, tokens) of a text -> how like the explaining texts it is; None: no such stratum."""


class _Place(NamedTuple):
    """A text of a random row."""

    row: int
    start: int
    tokens: Tokens
    active: Float32[np.ndarray, "_"]


def draw(
    examples: Sequence[Example], random: Sequence[RandomRow], vocabulary: Vocabulary, drawing: Drawing, *,
    most: float, rng: np.random.Generator,
) -> list[StratumText]:  # fmt: skip
    """The texts of a neuron.

    Args:
        examples: the neuron's list, all ranks; texts come from odd ranks, peak tokens of near misses from even ones.
        random: random rows without an example.
        vocabulary: the text of the tokens.
        drawing: how many, and from which bands.
        most: the activation of the strongest explaining example.
        rng: for the choice.
    """
    found = _of_examples(examples, vocabulary, drawing, most, rng)
    banded, covered = _of_bands(examples, vocabulary, drawing, most)
    found += banded
    peaks = np.unique([int(e.tokens[e.peak]) for e in examples if e.rank % 2 == 0])
    strata: dict[Stratum, list[_Place]] = {"fires": [], "near": [], "random": []}
    drawn_from = 0
    for index, tokens, values in random:
        strongest = covered_position(values, covered)
        for start in starts(len(tokens)):
            drawn_from += 1
            if start <= strongest < start + SIZE:
                continue
            part, active = tokens[start : start + SIZE], values[start : start + SIZE] / most
            fires = bool((active >= FIRING).any())  # NaN is not
            stratum: Stratum = "fires" if fires else "near" if np.isin(part, peaks).any() else "random"
            strata[stratum].append(_Place(index, start, part, active.astype(np.float32)))
    if drawing.alike is not None:
        strata["alike"], strata["random"] = _most_alike(strata["random"], drawing)
    for stratum, texts in strata.items():
        some = [texts[i] for i in np.sort(rng.permutation(len(texts))[: drawing.each])]
        weight = drawing.n_texts / max(drawn_from, 1) * len(texts) / max(len(some), 1)
        found += [
            StratumText(stratum, p.row, p.start, one_line(vocabulary, p.tokens), stratum == "fires", weight, *p[2:])
            for p in some
        ]
    return [t for t in found if t.text]


def _of_examples(
    examples: Sequence[Example], vocabulary: Vocabulary, drawing: Drawing, most: float, rng: np.random.Generator
) -> list[StratumText]:
    """Texts of odd ranks that fire; they stand for all of the list that fire and lie in a text."""
    fire = [e for e in examples if e.activation / most >= FIRING]
    own = [(e, drawing.row(e.row)) for e in fire if e.rank % 2 == 1]
    inside = [(e, tokens, s) for e, tokens in own if (s := start_of(e.position, len(tokens))) is not None]
    chosen = [inside[i] for i in np.sort(rng.permutation(len(inside))[: drawing.each])]
    weight = len(fire) * len(inside) / max(len(own), 1) / max(len(chosen), 1)
    return [_of_example(e, tokens, start, vocabulary, weight, most) for e, tokens, start in chosen]


def _of_bands(
    examples: Sequence[Example], vocabulary: Vocabulary, drawing: Drawing, most: float
) -> tuple[list[StratumText], list[Band]]:
    """Texts of the bands, and the bands that they stand for."""

    def place(r: BandRow) -> int | None:
        return start_of(r.position, len(drawing.row(r.row)))

    drawn, covered = draw_bands(
        drawing.bands, examples, place, most=most, texts=drawing.banded, explaining=drawing.explaining
    )
    found = list[StratumText]()
    for row, start, weight in drawn:
        tokens = drawing.row(row.row)[start : start + SIZE]
        active, fires = activations_of(row, start, tokens, most), row.activation / most >= FIRING
        found.append(StratumText("band", row.row, start, one_line(vocabulary, tokens), fires, weight, tokens, active))
    return found, covered


def _most_alike(texts: list[_Place], drawing: Drawing) -> tuple[list[_Place], list[_Place]]:
    """The `NEAREST` of the texts that are most like the explaining ones, and the others; both in order."""
    assert drawing.alike is not None
    alike = np.array([drawing.alike(*text[:3]) for text in texts])
    first = np.argsort(-alike, kind="stable")[: max(drawing.each, int(NEAREST * len(texts)))]
    chosen = set(first.tolist())
    return [texts[i] for i in sorted(chosen)], [t for i, t in enumerate(texts) if i not in chosen]


def marked_texts(
    examples: Sequence[Example], vocabulary: Vocabulary, *, most: float, each: int, rng: np.random.Generator
) -> list[MarkedText]:
    """Windows of odd ranks, each twice: its peak word marked, and a word marked at which the neuron is silent.

    A window whose text already contains `<<` or `>>` (C++, for example) is left out.
    """
    found: list[MarkedText] = []
    own = [e for e in examples if e.rank % 2 == 1 and e.activation / most >= FIRING]
    for e in own[:each]:
        words = vocabulary.row_words(e.tokens)
        peak = words[e.peak]
        active = e.activations / most
        low, high = max(0, e.peak - BEFORE), min(len(e.tokens), e.peak + AFTER + 1)
        silent = {
            (w.start, w.end)
            for i in range(low, high)
            if active[i] < SILENT
            for w in [words[i]]
            if low <= w.start and w.end <= high and any(c.isalpha() for c in w.text)
            if w.text.casefold() != peak.text.casefold() and (active[w.start : w.end] < SILENT).all()
        }
        if not silent:
            continue
        wrong, pair = sorted(silent)[int(rng.integers(len(silent)))], list[MarkedText]()
        for (start, end), fires in (((peak.start, peak.end), True), (wrong, False)):
            text = marked(e.tokens, start, end, min(low, start), max(high, end), vocabulary)
            pair.append(MarkedText(e.row, e.start + start, text, fires))
        if all(m.text.count("<<") == m.text.count(">>") == 1 for m in pair):
            found += pair
    return found


def _of_example(
    e: Example, tokens: Tokens, start: int, vocabulary: Vocabulary, weight: float, most: float
) -> StratumText:
    """The text of an example; its activations are known within the example's window."""
    part, active = tokens[start : start + SIZE], np.full(len(tokens), np.nan, np.float32)
    active[e.start : e.start + len(e.activations)] = e.activations / most
    active = active[start : start + SIZE]
    return StratumText("example", e.row, start, one_line(vocabulary, part), True, weight, part, active)


def start_of(position: int, length: int) -> int | None:
    """Where the text begins that holds a position of a row; None in the row's tail, which is in no text."""
    start = max(s for s in starts(length) if s <= position)
    return start if position < start + SIZE else None


def starts(length: int) -> range:
    """Where the texts of a row begin; a row shorter than `SIZE` is one text."""
    return range(0, max(length - SIZE + 1, 1), SIZE)
