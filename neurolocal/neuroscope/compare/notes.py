"""The result of a comparison in sentences.

Invariant: a figure that is not measured (NaN) is not mentioned.
"""

from __future__ import annotations

from math import isfinite

import numpy as np

from neurolocal.neuroscope.compare.comparison import AgreementFigures, LayerComparison
from neurolocal.neuroscope.compare.sides import SideFacts
from neurolocal.render.figures import fixed, percent

SAME = 0.99
"""Share of the maxima that must be equal for two layers to count as the same."""

CLOSE, APART = 0.9, 0.2
"""Rank correlations above which maxima count as close, and below which as unrelated."""


def notes(own: SideFacts, theirs: SideFacts, layers: list[LayerComparison], overall: AgreementFigures) -> list[str]:
    """The result, one sentence a line."""
    found = [*_of_maxima(layers, overall), *_of_ratio(own, theirs, overall), *_of_examples(overall)]
    found += _of_sides(own, theirs)
    if overall.unknown:
        found.append(
            f"{overall.unknown:,} of {overall.neurons:,} neurons have a maximum that is unknown or not to be trusted "
            "on one side; they are in no figure of maxima"
        )
    return found


def _of_maxima(layers: list[LayerComparison], overall: AgreementFigures) -> list[str]:
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
    """Whether a layer has the other side's values at other neurons.

    A layer with few distinct values proves nothing: two samples of 3,072 neurons over 600 values share three quarters
    of them by chance, over 10 values nearly all.
    """
    f, own = one.figures, one.neurons.own
    known = own[np.isfinite(own)]
    distinct = len(np.unique(np.round(known, 4)))
    return f.same_values >= SAME and f.in_place < 0.5 and distinct > max(len(known) / 50, 3)


def _of_ratio(own: SideFacts, theirs: SideFacts, overall: AgreementFigures) -> list[str]:
    if not isfinite(overall.ratio):
        return []
    text = f"our maxima are {fixed(overall.ratio)} of theirs (median)"
    if isfinite(overall.ratio_expected):
        return [f"{text}; {fixed(overall.ratio_expected)} is expected of {own.rows:,} rows against {theirs.rows:,}"]
    lacking = [name for name, side in (("our", own), ("their", theirs)) if side.rows is None]
    if not lacking:
        why = "so far beyond the examples" if isfinite(overall.rbo) else "without examples"
        return [f"{text}; the ratio expected of {own.rows:,} rows against {theirs.rows:,} cannot be estimated {why}"]
    least = max(side.least_rows for side in (own, theirs) if side.rows is None)
    known = f" (at least {least:,})" if least else ""
    how = " Give --their-rows." if "their" in lacking else ""
    return [f"{text}; the expected ratio is unknown, since {' and '.join(lacking)} number of rows is{known}.{how}"]


def _of_examples(overall: AgreementFigures) -> list[str]:
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
                f"{unknown:,} of their {overall.their_examples:,} examples have no text that can be searched for"
            )
    return found


def _of_sides(own: SideFacts, theirs: SideFacts) -> list[str]:
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
        found.append(f"the sites differ: {own.site} and {theirs.site}; their activations cannot be compared")
    if own.dtype and theirs.dtype and own.dtype != theirs.dtype:
        found.append(f"computed in {own.dtype} and in {theirs.dtype}")
    if own.rows_sha256 and own.rows_sha256 == theirs.rows_sha256:
        found.append("the same rows of text")
    found += [f"{name} store is a checkpoint: its collection is not finished" for name, side in
              (("our", own), ("their", theirs)) if not side.complete]  # fmt: skip
    return found
