"""The records of a layer from two parts of a corpus -> one, as if both had been read in one run.

Invariant: associative and commutative, bit for bit: lists are ordered by (strength, lower row, lower position), counts
are added, sums are added as integers (`exact`), the sample keeps the smallest hashes of both. The two parts must have
no row in common. Cost: a sort of 2 k entries a neuron and side; memory for both, the result, and both windows again.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Int64, Shaped

from neurolocal.collect import exact
from neurolocal.collect.bands import bins_of, merge_bands
from neurolocal.records import CASES, CaseStatistics, LayerRecord, Side, Statistics, TopK


def merge(a: LayerRecord, b: LayerRecord, *, sample: Int64[np.ndarray, "sample"], seed: int) -> LayerRecord:
    """The record of both parts together.

    Args:
        a, b: of the same layer, neurons and k.
        sample: which sampled positions stay, as columns of a's followed by b's; see `sample.merge_samples`.
        seed: of the collection, which orders the rows of bands.
    """
    tops = [bins_of(part.statistics.maximum) for part in (a, b)]
    bands = a.bands and b.bands and merge_bands(a.bands, b.bands, top_a=tops[0], top_b=tops[1], seed=seed)
    return LayerRecord(
        {side: merge_lists(a.lists[side], b.lists[side], side) for side in a.lists},
        merge_statistics(a.statistics, b.statistics),
        np.concatenate([a.sample, b.sample], axis=1)[:, sample],
        cases=a.cases and b.cases and _merge_cases(a.cases, b.cases),
        neurons=a.neurons,
        effects=a.effects or b.effects,
        experts=a.experts and b.experts and dataclasses.replace(a.experts, count=a.experts.count + b.experts.count),
        bands=bands,
    )


def merge_lists(a: TopK, b: TopK, side: Side) -> TopK:
    """The k strongest examples of each neuron's two lists; of the same text the strongest, where lists keep it once."""
    k = a.activation.shape[1]

    def both(name: str) -> Shaped[np.ndarray, "neuron both *window"]:
        return np.concatenate([getattr(a, name), getattr(b, name)], axis=1)

    activation, row = both("activation"), both("row")
    strength = np.abs(activation) if side in CASES else -activation if side == "smallest" else activation
    strength = np.where(row < 0, -np.inf, strength)
    order = np.lexsort((both("position"), row, -strength), axis=1)
    if a.text is not None:
        again = _repeated(_take(both("text"), order)) & (_take(row, order) >= 0)
        order = _take(order, np.argsort(again, axis=1, kind="stable"))  # each list has a text once: k others are left
    order = order[:, :k]
    return TopK(**{name: _take(both(name), order) for name, value in vars(a).items() if value is not None})


def _take(
    x: Shaped[np.ndarray, "neuron both *window"], order: Int64[np.ndarray, "neuron k"]
) -> Shaped[np.ndarray, "neuron k *window"]:
    return np.take_along_axis(x, order if x.ndim == 2 else order[:, :, None], axis=1)


def _repeated(text: Int64[np.ndarray, "neuron k"]) -> Bool[np.ndarray, "neuron k"]:
    """Whether an earlier entry of the same neuron has the same text."""
    order = np.argsort(text, axis=1, kind="stable")
    ordered = _take(text, order)
    same = np.zeros(text.shape, bool)
    same[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    return _unordered(order, same)


def _unordered(
    order: Int64[np.ndarray, "neuron k"], values: Bool[np.ndarray, "neuron k"]
) -> Bool[np.ndarray, "neuron k"]:
    """The inverse of `_take`."""
    found = np.empty_like(values)
    np.put_along_axis(found, order, values, axis=1)
    return found


def merge_statistics(a: Statistics, b: Statistics) -> Statistics:
    """The statistics of both parts together."""
    whole, fraction = _sums(a, b)
    added = ("count", "positive", "above", "nonfinite", "sampled", "histogram")
    return dataclasses.replace(
        a,
        whole=whole,
        fraction=fraction,
        minimum=np.minimum(a.minimum, b.minimum),
        maximum=np.maximum(a.maximum, b.maximum),
        **{name: getattr(a, name) + getattr(b, name) for name in added},
    )


def _merge_cases(a: CaseStatistics, b: CaseStatistics) -> CaseStatistics:
    whole, fraction = _sums(a, b)
    return CaseStatistics(a.count + b.count, whole, fraction)


def _sums(
    a: Statistics | CaseStatistics, b: Statistics | CaseStatistics
) -> tuple[Int64[np.ndarray, "4 neuron"], Int64[np.ndarray, "4 neuron"]]:
    whole, fraction = a.whole.copy(), a.fraction.copy()
    exact.add_parts(whole, fraction, b.whole, b.fraction)
    return whole, fraction
