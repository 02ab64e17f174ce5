"""The result of a comparison, by neuron, by layer and over all layers.

Invariant: what could not be measured is NaN, never 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from neurolocal.neuroscope.compare.sides import SideFacts

TOKENS = 5
"""Peak tokens that are shown of each side."""


@dataclass(frozen=True)
class AgreementFigures:
    """How well two sides agree over some neurons. NaN: not measured."""

    neurons: int
    """Neurons in common."""
    unknown: int
    """Of these, with a maximum that is unknown or not trusted on one side; they are in no figure of maxima."""
    spearman: float
    """Rank correlation of the neurons' maxima; over several layers their mean, weighted by neurons."""
    p: float
    """Probability of a correlation as far from 0 if the maxima are unrelated."""
    low: float
    """Lower end of the correlation's 95 % interval: Fisher's z, with the variance (1 + rho^2 / 2) / (n - 3) of Bonett
    and Wright."""
    high: float
    """Upper end."""
    same_values: float
    """Share of the maxima that the other side has too (to 4 decimals), at any neuron."""
    in_place: float
    """Share of the maxima that are equal (to 4 decimals) at the same neuron."""
    ratio: float
    """Median of own / their maximum, over the neurons where both are above 0."""
    ratio_expected: float
    """Median of the ratio expected for corpora of these sizes; see `tail`."""
    jaccard: float
    """Mean over neurons: distinct peak tokens in both / in either."""
    jaccard_null: float
    """The same with another neuron of the layer, drawn at random."""
    rbo: float
    """Mean rank-biased overlap of the distinct peak tokens, strongest first."""
    rbo_null: float
    """The same with another neuron of the layer."""
    their_examples: int
    """Number of their examples."""
    known: int
    """Of these, with text around the peak that can be searched for."""
    contained: float
    """Share of these whose text occurs in a row that our store keeps."""
    shared: float
    """Share of these whose text occurs in a row of our examples of the same neuron."""
    shared_null: float
    """The same with another neuron of the layer."""


class NeuronColumns(NamedTuple):
    """The neurons of a layer that both sides have, in order."""

    neuron: Int64[np.ndarray, "n"]
    """Index within the layer."""
    own: Float64[np.ndarray, "n"]
    """Our maximum."""
    theirs: Float64[np.ndarray, "n"]
    """Theirs."""
    ratio_expected: Float64[np.ndarray, "n"]
    """The expected own / theirs for corpora of these sizes."""
    jaccard: Float64[np.ndarray, "n"]
    """Jaccard index of the distinct peak tokens."""
    jaccard_null: Float64[np.ndarray, "n"]
    """The same with the tokens of another neuron of theirs."""
    rbo: Float64[np.ndarray, "n"]
    """Rank-biased overlap of the distinct peak tokens, strongest first."""
    rbo_null: Float64[np.ndarray, "n"]
    """The same with the tokens of another neuron of theirs."""
    own_examples: Int64[np.ndarray, "n"]
    """Our examples."""
    their_examples: Int64[np.ndarray, "n"]
    """Theirs."""
    known: Int64[np.ndarray, "n"]
    """Of theirs, how many have text that can be searched for; -1 if no search was made."""
    contained: Int64[np.ndarray, "n"]
    """Of these, how many are in our rows."""
    shared: Int64[np.ndarray, "n"]
    """Of these, how many are in the rows of our examples of the neuron."""
    shared_null: Int64[np.ndarray, "n"]
    """The same with the rows of another neuron."""
    agreement: Float64[np.ndarray, "n"]
    """The figure by which neurons are sorted: `rbo`; if a side has no examples, 1 - the distance of the maxima's ranks
    within the layer / (n - 1); NaN if neither is known."""

    @property
    def ratio(self) -> Float64[np.ndarray, "n"]:
        """Own / their maximum; NaN unless both are above 0."""
        both = (self.own > 0) & (self.theirs > 0)
        return np.where(both, self.own, np.nan) / np.where(both, self.theirs, 1.0)


@dataclass(frozen=True)
class LayerComparison:
    """One layer of both sides."""

    layer: int
    figures: AgreementFigures
    neurons: NeuronColumns
    own_tokens: list[tuple[str, ...]]
    """By neuron: our first distinct peak tokens."""
    their_tokens: list[tuple[str, ...]]
    """Theirs."""


@dataclass(frozen=True)
class Comparison:
    """Two sides compared."""

    own: SideFacts
    theirs: SideFacts
    layers: list[LayerComparison]
    overall: AgreementFigures
    notes: list[str]
    """The result in sentences."""

    def least_agreeing(self) -> Iterator[tuple[LayerComparison, int]]:
        """Every neuron as its layer and its index there: those that agree least first, unknown ones last."""
        agreement = np.concatenate([layer.neurons.agreement for layer in self.layers])
        which = np.concatenate([np.full(len(one.neurons.neuron), i) for i, one in enumerate(self.layers)])
        within = np.concatenate([np.arange(len(one.neurons.neuron)) for one in self.layers])
        for at in np.argsort(agreement, kind="stable").tolist():  # NaN last
            yield self.layers[which[at]], int(within[at])
