"""The figures of a comparison, by layer and over all layers.

Invariant: a figure that is not measured is NaN. Cost: O(neurons log neurons) a layer.
"""

from __future__ import annotations

from collections import Counter
from math import atanh, isfinite, nan, sqrt, tanh
from typing import Any

import numpy as np
from jaxtyping import Float64
from scipy import stats

from neurolocal.neuroscope.compare.comparison import AgreementFigures, NeuronColumns

Z95 = 1.959963984540054


def agreement(
    own: Float64[np.ndarray, "n"], theirs: Float64[np.ndarray, "n"], rbo: Float64[np.ndarray, "n"]
) -> Float64[np.ndarray, "n"]:
    """The figure by which neurons are sorted; see `NeuronColumns.agreement`."""
    known = np.isfinite(own) & np.isfinite(theirs)
    close = np.full(len(own), np.nan)
    if known.sum() > 1:
        ranks = stats.rankdata(own[known]), stats.rankdata(theirs[known])
        close[known] = 1 - np.abs(ranks[0] - ranks[1]) / (known.sum() - 1)
    return np.where(np.isfinite(rbo), rbo, close)


def figures(n: NeuronColumns) -> AgreementFigures:
    """The figures of one layer."""
    known = np.isfinite(n.own) & np.isfinite(n.theirs)
    rho, p, low, high = spearman(n.own[known], n.theirs[known])
    return _figures([n], (rho, p, low, high), *_same(n))


def overall(layers: list[AgreementFigures], neurons: list[NeuronColumns]) -> AgreementFigures:
    """The figures over all layers."""
    sizes = np.array([f.neurons for f in layers], np.float64)
    means = [
        float(np.average(values[np.isfinite(values)], weights=sizes[np.isfinite(values)]))
        if (np.isfinite(values) & (sizes > 0)).any()
        else nan
        for values in (np.array([getattr(f, name) for f in layers]) for name in ("same_values", "in_place"))
    ]
    if len(layers) == 1:
        f = layers[0]
        return _figures(neurons, (f.spearman, f.p, f.low, f.high), *means)
    return _figures(neurons, _pooled(layers), *means)


def _figures(
    layers: list[NeuronColumns], rho: tuple[float, float, float, float], same: float, in_place: float
) -> AgreementFigures:
    joined = NeuronColumns(*(np.concatenate(columns) for columns in zip(*layers, strict=True)))
    asked = joined.known >= 0
    known = int(joined.known[asked].sum())
    shares = [float(column[asked].sum()) / known if known else nan for column in (joined.contained, joined.shared)]
    others = asked & (joined.shared_null >= 0)  # the only neuron of a layer has no other one to compare with
    among = int(joined.known[others].sum())
    shares.append(float(joined.shared_null[others].sum()) / among if among else nan)
    both = np.isfinite(joined.ratio_expected) & np.isfinite(joined.ratio)
    expected = _middle(joined.ratio_expected[both])
    ratios = joined.ratio[both] if both.any() else joined.ratio
    overlaps = {name: _mean(getattr(joined, name)) for name in ("jaccard", "jaccard_null", "rbo", "rbo_null")}
    return AgreementFigures(
        neurons=len(joined.neuron),
        unknown=int((~(np.isfinite(joined.own) & np.isfinite(joined.theirs))).sum()),
        spearman=rho[0],
        p=rho[1],
        low=rho[2],
        high=rho[3],
        same_values=same,
        in_place=in_place,
        ratio=_middle(ratios),
        ratio_expected=expected if expected > 0 else nan,  # a tail that is extrapolated too far becomes negative
        **overlaps,
        their_examples=int(joined.their_examples.sum()),
        known=known,
        contained=shares[0],
        shared=shares[1],
        shared_null=shares[2],
    )


def spearman(own: Float64[np.ndarray, "n"], theirs: Float64[np.ndarray, "n"]) -> tuple[float, float, float, float]:
    """Rank correlation, its p, and its 95 % interval; NaN for fewer than 4 neurons or constant values."""
    n = len(own)
    if n < 4 or np.ptp(own) == 0 or np.ptp(theirs) == 0:
        return nan, nan, nan, nan
    found: Any = stats.spearmanr(own, theirs)
    rho, p = round(float(found.statistic), 12), float(found.pvalue)
    if abs(rho) >= 1:
        return rho, p, rho, rho
    z, half = atanh(rho), Z95 * sqrt((1 + rho * rho / 2) / (n - 3))
    return rho, p, tanh(z - half), tanh(z + half)


def _pooled(layers: list[AgreementFigures]) -> tuple[float, float, float, float]:
    """The mean of the layers' correlations, weighted by n - 3, with the variance that Fisher's z gives each."""
    known = [f for f in layers if isfinite(f.spearman)]
    if not known:
        return nan, nan, nan, nan
    weight = np.array([f.neurons - f.unknown - 3 for f in known], np.float64)
    rho = np.array([f.spearman for f in known])
    mean = float(np.average(rho, weights=weight))
    half = Z95 * sqrt(float((weight * (1 - rho**2) ** 2 * (1 + rho**2 / 2)).sum())) / float(weight.sum())
    p = float(2 * stats.norm.sf(abs(mean) * sqrt(weight.sum())))
    return mean, p, max(mean - half, -1.0), min(mean + half, 1.0)


def _same(n: NeuronColumns) -> tuple[float, float]:
    """Share of the maxima that are equal to 4 decimals (as pages print), at any neuron and at the same neuron."""
    own, theirs = (np.round(side, 4) + 0.0 for side in (n.own, n.theirs))
    both = np.isfinite(own) & np.isfinite(theirs)
    fewer = min(np.isfinite(own).sum(), np.isfinite(theirs).sum())
    if not fewer:
        return nan, nan
    counts = [Counter(side[np.isfinite(side)].tolist()) for side in (own, theirs)]
    return (counts[0] & counts[1]).total() / int(fewer), _mean((own == theirs)[both].astype(np.float64))


def _mean(values: Float64[np.ndarray, "n"]) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else nan


def _middle(values: Float64[np.ndarray, "n"]) -> float:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else nan
