"""The texts that a description is judged by: those of the score half, and random text.

The corpus is cut into texts of `SIZE` tokens. The texts of a neuron are drawn from four strata: texts of the score
half's examples; random texts in which it fires; random texts in which it is silent although they contain a token on
which it peaks (near misses); and other silent ones. Each drawn text has a weight, the number of texts of the corpus
that it represents, so that figures can also be computed for texts in their natural proportion.

Invariant: no text comes from a row that explains (an explaining example of the neuron, or `Sample.explaining`). Cost:
one pass over the random rows a neuron.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float32, Integer

from neurolocal.records import FIRING, SILENT, Example
from neurolocal.words import Vocabulary
from neurolocal.words.marked import AFTER, BEFORE, marked, one_line

SIZE = 26
"""Tokens of a text: a sentence or two, so that a question about it is cheap."""

Stratum = Literal["example", "fires", "near", "random"]


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


def draw(
    examples: Sequence[Example],
    random: Sequence[tuple[int, Integer[np.ndarray, "_"], Float32[np.ndarray, "_"]]],
    vocabulary: Vocabulary,
    *,
    row: Mapping[int, Integer[np.ndarray, "pos"]],
    most: float,
    each: int,
    n_texts: int,
    rng: np.random.Generator,
) -> list[StratumText]:
    """The texts of a neuron, at most `each` of a stratum.

    Args:
        examples: the neuron's list, all ranks; texts come from odd ranks, peak tokens of near misses from even ones.
        random: (row, tokens, activations) of random rows without an example.
        vocabulary: the text of the tokens.
        row: the whole rows of the odd ranks.
        most: the activation of the strongest explaining example.
        each: texts a stratum.
        n_texts: number of texts in the whole corpus.
        rng: for the choice.
    """
    fire = [e for e in examples if e.activation / most >= FIRING]
    own = [e for e in fire if e.rank % 2 == 1]
    chosen = [own[i] for i in np.sort(rng.permutation(len(own))[:each])]
    found = [_of_example(e, row[e.row], vocabulary, len(fire) / len(chosen), most) for e in chosen]
    peaks = np.unique([int(e.tokens[e.peak]) for e in examples if e.rank % 2 == 0])
    strata: dict[Stratum, list[tuple[int, int, np.ndarray, np.ndarray]]] = {"fires": [], "near": [], "random": []}
    for index, tokens, values in random:
        for start in starts(len(tokens)):
            part, active = tokens[start : start + SIZE], values[start : start + SIZE] / most
            fires = bool((active >= FIRING).any())  # NaN is not
            stratum: Stratum = "fires" if fires else "near" if np.isin(part, peaks).any() else "random"
            strata[stratum].append((index, start, part, active))
    drawn_from = sum(map(len, strata.values()))
    for stratum, texts in strata.items():
        some = [texts[i] for i in np.sort(rng.permutation(len(texts))[:each])]
        weight = n_texts / max(drawn_from, 1) * len(texts) / max(len(some), 1)
        found += [
            StratumText(stratum, r, s, one_line(vocabulary, t), stratum == "fires", weight, t, a.astype(np.float32))
            for r, s, t, a in some
        ]
    return [t for t in found if t.text]


def fewer(texts: Sequence[StratumText], each: int) -> list[StratumText]:
    """The first `each` texts of every stratum, which then stand for all of it."""
    found: list[StratumText] = []
    for stratum in get_args(Stratum):
        own = [text for text in texts if text.stratum == stratum]
        found += [replace(text, weight=text.weight * len(own) / min(each, len(own))) for text in own[:each]]
    return found


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


def _of_example(e: Example, tokens: np.ndarray, vocabulary: Vocabulary, weight: float, most: float) -> StratumText:
    """The text of an example; its activations are known within the example's window."""
    start = max((s for s in starts(len(tokens)) if s <= e.position), default=0)
    part, active = tokens[start : start + SIZE], np.full(len(tokens), np.nan, np.float32)
    active[e.start : e.start + len(e.activations)] = e.activations / most
    active = active[start : start + SIZE]
    return StratumText("example", e.row, start, one_line(vocabulary, part), True, weight, part, active)


def starts(length: int) -> range:
    """Where the texts of a row begin; a row shorter than `SIZE` is one text."""
    return range(0, max(length - SIZE + 1, 1), SIZE)
