"""The records of an answer: a text's tokens, and what each neuron asked about does at each of them.

Invariant: every array of an answer has one entry a token, in reading order. Texts are as the tokenizer and the store
give them: views make them visible and escape them.
"""

from __future__ import annotations

from difflib import SequenceMatcher
from math import nan
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64

from neurolocal.literals import Side, Site


class TextToken(NamedTuple):
    """One token of a text."""

    id: int
    """Token id."""
    text: str
    """Its text alone; parts of characters are U+FFFD."""
    special: bool
    """Whether it is a control token such as BOS."""
    counted: bool
    """Whether it may be a peak: what a collection counts. BOS is not, unless the store's config counts it."""


class NeuronOnText(NamedTuple):
    """What one neuron does on a text."""

    layer: int
    """Index of the layer."""
    neuron: int
    """Index within the layer."""
    name: str | None
    """A neuron of an expert in words, `expert 3 · neuron 17`; None without experts."""
    verdict: str | None
    """From the store; None without one."""
    description: str
    """From the store; empty without one."""
    extreme: float
    """Its largest activation over the store's corpus (smallest, for that side); NaN where unknown or of no use."""
    peak: int | None
    """Index of the counted token where it is most active (least, for the smallest side); None where it never is."""
    activations: Float32[np.ndarray, "pos"]
    """At each token; NaN where a token was not routed to the neuron's expert."""
    shares: Float64[np.ndarray, "pos"]
    """Activation / extreme; NaN without a store. Above 1: more active than on the whole corpus."""
    quantiles: Float64[np.ndarray, "pos"]
    """Share of the corpus's positions at which it is less active; NaN where the store does not say."""

    @property
    def peak_activation(self) -> float:
        """The activation at the peak; NaN without one."""
        return nan if self.peak is None else float(self.activations[self.peak])

    @property
    def peak_share(self) -> float:
        """The share at the peak, by which neurons are ordered; NaN without one."""
        return nan if self.peak is None else float(self.shares[self.peak])

    @property
    def peak_quantile(self) -> float:
        """The quantile at the peak; NaN without one."""
        return nan if self.peak is None else float(self.quantiles[self.peak])


class TextAnswer(NamedTuple):
    """What some neurons do on a text."""

    subject: str
    """Name of the model."""
    site: Site
    """Where the neurons were read."""
    side: Side
    """`largest` or `smallest`: which extreme is the peak."""
    tokens: list[TextToken]
    """In reading order, BOS included where there is one."""
    neurons: list[NeuronOnText]
    """In the order that was asked for, or by share, most excited first."""


class Comparison(NamedTuple):
    """What some neurons do on two texts."""

    first: TextAnswer
    """On the one text."""
    second: TextAnswer
    """On the other; the same neurons in the same order."""

    @property
    def changes(self) -> list[float]:
        """By neuron, share at the second text's peak - at the first's; of the activations where there are no shares."""
        return [change(a, b) for a, b in zip(self.first.neurons, self.second.neurons, strict=True)]

    def pairs(self) -> list[tuple[int | None, int | None]]:
        """The tokens of the two texts side by side, aligned by their ids; None where one has nothing there."""
        texts = [[token.id for token in answer.tokens] for answer in (self.first, self.second)]
        found: list[tuple[int | None, int | None]] = []
        for _, a, a_end, b, b_end in SequenceMatcher(None, *texts, autojunk=False).get_opcodes():
            for i in range(max(a_end - a, b_end - b)):
                found.append((a + i if a + i < a_end else None, b + i if b + i < b_end else None))
        return found


def change(first: NeuronOnText, second: NeuronOnText) -> float:
    """What a neuron's peak gains from the first text to the second; see `Comparison.changes`."""
    by_share = second.peak_share - first.peak_share
    return by_share if by_share == by_share else second.peak_activation - first.peak_activation
