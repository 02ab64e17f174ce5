"""The figures of a comparison, and what they come to in plain words.

Invariant: a figure that is not measured is NaN and is not spoken of.
"""

from __future__ import annotations

from collections import Counter
from math import atanh, isfinite, nan, sqrt, tanh
from typing import Any

import numpy as np
from jaxtyping import Float64
from scipy import stats

from neurolocal.neuroscope.comparison import Figures, LayerComparison, Neurons
from neurolocal.neuroscope.sides import Facts
from neurolocal.render.figures import fixed, percent

Z95 = 1.959963984540054

SAME = 0.99
"""Share of the maxima that must be the same for two layers to be called the same."""

CLOSE, APART = 0.9, 0.2
"""Rank correlations above which maxima follow each other closely, and below which they do not."""


def agreement(
    own: Float64[np.ndarray, "n"], theirs: Float64[np.ndarray, "n"], rbo: Float64[np.ndarray, "n"]
) -> Float64[np.ndarray, "n"]:
    """What neurons are sorted by; see `Neurons.agreement`."""
    known = np.isfinite(own) & np.isfinite(theirs)
    close = np.full(len(own), np.nan)
    if known.sum() > 1:
        ranks = stats.rankdata(own[known]), stats.rankdata(theirs[known])
        close[known] = 1 - np.abs(ranks[0] - ranks[1]) / (known.sum() - 1)
    return np.where(np.isfinite(rbo), rbo, close)


def figures(n: Neurons) -> Figures:
    """The figures of one layer."""
    known = np.isfinite(n.own) & np.isfinite(n.theirs)
    rho, p, low, high = spearman(n.own[known], n.theirs[known])
    return _figures([n], (rho, p, low, high), *_same(n))


def overall(layers: list[Figures], neurons: list[Neurons]) -> Figures:
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


def _figures(layers: list[Neurons], rho: tuple[float, float, float, float], same: float, in_place: float) -> Figures:
    joined = Neurons(*(np.concatenate(columns) for columns in zip(*layers, strict=True)))
    asked = joined.known >= 0
    known = int(joined.known[asked].sum())
    shares = [float(column[asked].sum()) / known if known else nan for column in (joined.contained, joined.shared)]
    others = asked & (joined.shared_null >= 0)  # a neuron alone in its layer has no other to be compared with
    among = int(joined.known[others].sum())
    shares.append(float(joined.shared_null[others].sum()) / among if among else nan)
    both = np.isfinite(joined.ratio_expected) & np.isfinite(joined.ratio)
    expected = _middle(joined.ratio_expected[both])
    ratios = joined.ratio[both] if both.any() else joined.ratio
    overlaps = {name: _mean(getattr(joined, name)) for name in ("jaccard", "jaccard_null", "rbo", "rbo_null")}
    return Figures(
        neurons=len(joined.neuron),
        unknown=int((~(np.isfinite(joined.own) & np.isfinite(joined.theirs))).sum()),
        spearman=rho[0],
        p=rho[1],
        low=rho[2],
        high=rho[3],
        same_values=same,
        in_place=in_place,
        ratio=_middle(ratios),
        ratio_expected=expected if expected > 0 else nan,  # a tail followed too far down goes below 0
        **overlaps,
        their_examples=int(joined.their_examples.sum()),
        known=known,
        contained=shares[0],
        shared=shares[1],
        shared_null=shares[2],
    )


def spearman(own: Float64[np.ndarray, "n"], theirs: Float64[np.ndarray, "n"]) -> tuple[float, float, float, float]:
    """Rank correlation, its p, and its 95 % interval; NaN where there are under 4 neurons or all are alike."""
    n = len(own)
    if n < 4 or np.ptp(own) == 0 or np.ptp(theirs) == 0:
        return nan, nan, nan, nan
    found: Any = stats.spearmanr(own, theirs)
    rho, p = round(float(found.statistic), 12), float(found.pvalue)
    if abs(rho) >= 1:
        return rho, p, rho, rho
    z, half = atanh(rho), Z95 * sqrt((1 + rho * rho / 2) / (n - 3))
    return rho, p, tanh(z - half), tanh(z + half)


def _pooled(layers: list[Figures]) -> tuple[float, float, float, float]:
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


def _same(n: Neurons) -> tuple[float, float]:
    """Share of the maxima that are the same, at any neuron and at the same one; to the 4 decimals that pages print."""
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


def notes(own: Facts, theirs: Facts, layers: list[LayerComparison], overall: Figures) -> list[str]:
    """What the comparison comes to, one thought a line."""
    found = [*_of_maxima(layers, overall), *_of_ratio(own, theirs, overall), *_of_examples(overall)]
    found += _of_sides(own, theirs)
    if overall.unknown:
        found.append(
            f"{overall.unknown:,} of {overall.neurons:,} neurons have a maximum that is unknown or not to be trusted "
            "on a side: they are in no figure of maxima"
        )
    return found


def _of_maxima(layers: list[LayerComparison], overall: Figures) -> list[str]:
    found = []
    permuted = [one.layer for one in layers if _permuted(one)]
    if permuted:
        which = f"layer{'s' if len(permuted) > 1 else ''} {', '.join(map(str, permuted))}"
        found.append(f"{which}: the same maxima in another order: the neurons are permuted")
    if not isfinite(overall.spearman):
        return found
    rho = f"(Spearman {fixed(overall.spearman)}, 95 %: {fixed(overall.low)} to {fixed(overall.high)})"
    if overall.in_place >= SAME:
        found.append(f"the maxima are the same, neuron by neuron {rho}")
    elif overall.low > CLOSE:
        found.append(f"maxima follow each other closely {rho}")
    elif overall.high < APART:
        why = "" if permuted else ": other weights, another site, or neurons in another order"
        found.append(f"maxima do not follow each other {rho}{why}")
    else:
        found.append(f"maxima follow each other in part {rho}")
    apart = [one.layer for one in layers if one.figures.high < min(APART, overall.low) and one.layer not in permuted]
    if apart and overall.high >= APART:
        found.append(f"not in layer {', '.join(map(str, apart))}, where they do not follow each other")
    return found


def _permuted(one: LayerComparison) -> bool:
    """Whether a layer holds the other side's values at other neurons. A layer of a few values alone tells nothing:

    two samples of 3,072 neurons over 600 values share three quarters of them by chance, over 10 values nearly all.
    """
    f, own = one.figures, one.neurons.own
    known = own[np.isfinite(own)]
    distinct = len(np.unique(np.round(known, 4)))
    return f.same_values >= SAME and f.in_place < 0.5 and distinct > max(len(known) / 50, 3)


def _of_ratio(own: Facts, theirs: Facts, overall: Figures) -> list[str]:
    if not isfinite(overall.ratio):
        return []
    text = f"our maxima are {fixed(overall.ratio)} of theirs (median)"
    if isfinite(overall.ratio_expected):
        return [f"{text}; {fixed(overall.ratio_expected)} is expected of {own.rows:,} rows against {theirs.rows:,}"]
    lacking = [name for name, side in (("our", own), ("their", theirs)) if side.rows is None]
    if not lacking:
        why = "so far beyond the examples" if isfinite(overall.rbo) else "without examples"
        return [f"{text}; what is expected of {own.rows:,} rows against {theirs.rows:,} cannot be said {why}"]
    least = max(side.least_rows for side in (own, theirs) if side.rows is None)
    known = f" (at least {least:,})" if least else ""
    how = " Give --their-rows." if "their" in lacking else ""
    return [f"{text}; what is expected is unknown, since {' and '.join(lacking)} number of rows is{known}.{how}"]


def _of_examples(overall: Figures) -> list[str]:
    found = []
    if isfinite(overall.rbo):
        found.append(
            f"peak tokens overlap by {fixed(overall.rbo)} (rank-biased; {fixed(overall.rbo_null)} with another neuron "
            f"of the layer), as sets by {fixed(overall.jaccard)} ({fixed(overall.jaccard_null)})"
        )
    if isfinite(overall.contained):
        found.append(
            f"{percent(overall.contained)} of their examples' texts are in our rows, {percent(overall.shared)} among "
            f"our examples of the same neuron ({percent(overall.shared_null)} of another)"
        )
        unknown = overall.their_examples - overall.known
        if unknown:
            found.append(
                f"{unknown:,} of their {overall.their_examples:,} examples have no text that can be looked for"
            )
    return found


def _of_sides(own: Facts, theirs: Facts) -> list[str]:
    found = []
    if own.weights and theirs.weights:
        same = own.weights == theirs.weights
        found.append(
            "the same weights"
            if same
            else f"the weights differ (SHA-256 {own.weights[:8]}… and {theirs.weights[:8]}…): another model, dtype or "
            "quantisation"
        )
    if own.site and theirs.site and own.site != theirs.site:
        found.append(f"the sites differ: {own.site} and {theirs.site}; their activations are not the same thing")
    if own.dtype and theirs.dtype and own.dtype != theirs.dtype:
        found.append(f"computed in {own.dtype} and in {theirs.dtype}")
    if own.rows_sha256 and own.rows_sha256 == theirs.rows_sha256:
        found.append("the same rows of text")
    found += [f"{name} store is a checkpoint: its collection is not finished" for name, side in
              (("our", own), ("their", theirs)) if not side.complete]  # fmt: skip
    return found
