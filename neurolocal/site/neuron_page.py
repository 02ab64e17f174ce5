"""What the page of one neuron shows, as a record for the template.

Invariant: every list is bounded, so a page has at most 200 kB. Text is unchanged here; the template makes it visible
and escapes it. Cost: linear in the tokens of its examples.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from neurolocal.render.figures import Figure, number, percent
from neurolocal.report.histogram import Histogram, histogram
from neurolocal.report.intervals import IntervalTexts, interval_texts
from neurolocal.report.layer import Layer
from neurolocal.report.logit_effects import TokenEffect, fires_and_promotes, token_effects
from neurolocal.report.meanings import Meaning, meanings
from neurolocal.report.sections import WordList, figures, word_lists
from neurolocal.report.statistics import neuron_statistics
from neurolocal.site.example_lists import ExampleList, example_lists
from neurolocal.site.sources import Sources
from neurolocal.site.substitution import Substitution, substitution
from neurolocal.site.terms import Index

WORDS = 12
"""Peak words that a page lists."""

TOKENS = 10
"""Promoted and suppressed tokens that a page lists."""

RELATED = 8
"""Neurons that peak on the same words that a page lists."""

RELATED_WORDS = 5
"""Peak words whose neurons are looked at."""


class Related(NamedTuple):
    """A neuron that peaks on some of the same words."""

    layer: int
    neuron: int
    words: list[str]
    """The words that they share."""
    strength: float
    """Share of its activation that falls on these words."""


@dataclass(frozen=True)
class NeuronPage:
    """The page of one neuron."""

    layer: int
    neuron: int
    name: str | None
    """Its expert and number in words; None without experts."""
    verdict: str | None
    rank: int | None
    """1 is the layer's best."""
    score: float
    reason: str
    """The evidence that decided the verdict."""
    does: str
    """What it fires on and what it then does to the output; empty where that was not measured."""
    description: str
    source: str
    """Where the description comes from."""
    words: list[tuple[str, int]]
    """Peak words with their number of examples."""
    figures: list[Figure]
    word_lists: list[WordList]
    statistics: list[tuple[str, str]]
    """Name and value."""
    histogram: Histogram | None
    substitution: Substitution | None
    meanings: list[Meaning]
    """Empty where it has one."""
    examples: list[ExampleList]
    intervals: list[IntervalTexts]
    """Bands of activation, each with a few random rows."""
    effects: list[tuple[str, list[TokenEffect]]]
    """`promotes` and `suppresses`, by the weights and measured; empty where the store holds neither."""
    subsets: list[tuple[str, float]]
    """Corpus subset, share of the largest examples."""
    related: list[Related]


def neuron_page(sources: Sources, index: Index, layer: int, neuron: int) -> NeuronPage:
    """The page of a collected neuron."""
    read = sources.layer(layer)
    largest = sources.examples(layer, read.index[neuron])[0]["largest"]
    words = Counter(sources.words.text(e.row, e.position) for e in largest.examples)
    subsets = Counter(largest.subsets)
    has_verdict = read.has("verdict", neuron)
    return NeuronPage(
        layer=layer,
        neuron=neuron,
        name=read.experts.name(neuron) if read.experts is not None else None,
        verdict=read.text("verdict", "verdict", neuron),
        rank=int(read.figure("verdict", "rank", neuron)) + 1 if has_verdict else None,
        score=read.figure("verdict", "score", neuron),
        reason=read.text("verdict", "reason", neuron) or "",
        does=fires_and_promotes(read, neuron),
        description=read.text("summary", "description", neuron) or "",
        source=read.text("summary", "source", neuron) or "",
        words=words.most_common(WORDS),
        figures=figures(read, neuron),
        word_lists=word_lists(read, neuron),
        statistics=_statistics(read, neuron),
        histogram=histogram(read, neuron),
        substitution=substitution(read, neuron),
        meanings=meanings(read, neuron),
        examples=example_lists(sources, read, neuron),
        intervals=interval_texts(read, neuron),
        effects=token_effects(read, neuron, limit=TOKENS),
        subsets=[(name, n / len(largest.examples)) for name, n in subsets.most_common(WORDS)] if any(subsets) else [],
        related=_related(index, layer, neuron, words),
    )


def _statistics(read: Layer, neuron: int) -> list[tuple[str, str]]:
    s = neuron_statistics(read, neuron)
    found = [("read at", s.positions)]
    if s.nonfinite:
        found.append(("not finite", f"{s.nonfinite:,} positions"))
    if s.finite:
        found += [
            ("mean ± deviation", f"{number(s.mean)} ± {number(s.deviation)}"),
            ("range", f"{number(s.minimum)} to {number(s.maximum)}"),
            ("positive", percent(s.positive)),
            ("skewness, kurtosis", f"{number(s.skewness)}, {number(s.kurtosis)}"),
        ]
    return found


def _related(index: Index, layer: int, neuron: int, words: Counter[str]) -> list[Related]:
    """The neurons with the largest share of their activation on this one's commonest peak words."""
    chosen = [w for w in dict.fromkeys(w.casefold() for w, _ in words.most_common(RELATED_WORDS)) if w in index.number]
    terms = index.word
    ranges = [slice(*terms.offsets[index.number[word] :][:2].tolist()) for word in chosen]
    if not ranges:
        return []
    layers, neurons, strength = (
        np.concatenate([column[one] for one in ranges])
        for column in (terms.entries.layer, terms.entries.neuron, terms.entries.strength)
    )
    number = np.repeat(np.arange(len(ranges)), [one.stop - one.start for one in ranges])
    key = layers.astype(np.int64) << 32 | neurons
    places, which = np.unique(key, return_inverse=True)
    total = np.bincount(which, strength)
    total[places == (layer << 32 | neuron)] = -1.0
    best = [at for at in np.lexsort((places, -total))[:RELATED].tolist() if total[at] >= 0]
    return [
        Related(
            int(places[at]) >> 32,
            int(places[at]) & 0xFFFFFFFF,
            [chosen[i] for i in number[which == at].tolist()],
            min(float(total[at]), 1.0),
        )
        for at in best
    ]
