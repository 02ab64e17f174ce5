"""Each layer of a replay judged by itself: does it differ from the store only as the same weights would?

Either every text is within what float32 rounds (`exact_layers`), or the differences are those of a lower dtype
(`rounded_layers`): of the size that this dtype's rounding has in this subject on these texts, and in part the same
differences, because weights and inputs are rounded alike on every machine. Other weights give differences of another
size, or unrelated ones.
Invariant: a layer with no reason against it agrees; a layer without a text is not judged.
Cost: two passes of arithmetic over the positions of the texts measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, log, sqrt
from typing import NamedTuple

import numpy as np

from neurolocal.collect.replay import TOLERANCE
from neurolocal.neuroscope.replay.rerun import TextDifference, by_layer
from neurolocal.neuroscope.replay.rounding import TextRounding

EXACT = TOLERANCE["float32"]
"""Share of a neuron's largest |activation| within which a text is the same."""

ALMOST = 0.99
"""Share of a layer's texts that must be within `EXACT`; the others within ten times that."""

SIZE = 1.25
"""Factor by which the differences of a layer may be larger or smaller than the dtype's rounding: see the README."""

SHARED = 0.3
"""Correlation of both differences that is expected of the same weights, at least: see the README."""

WORST = 4.0
"""Factor by which a layer's largest difference may exceed the largest that rounding makes there."""

HALF = 0.5
"""Share of a neuron's largest |activation| that no text may differ by, unless the dtype rounds that coarsely."""

FEW = 8
"""Texts below which rounding is not told from other weights."""


class LayerFit(NamedTuple):
    """One layer compared, and why it does not agree."""

    layer: int
    texts: int
    exact: float
    """Share of the texts within float32's tolerance."""
    error: float
    """Median over the texts of the largest |difference|, as a share of the neuron's largest |activation|."""
    largest: float
    """The same of the worst text."""
    neuron: int
    """Its neuron."""
    size: float = float("nan")
    """Size of the differences, as a multiple of what the dtype rounds; NaN if not measured."""
    shared: float = float("nan")
    """Correlation of the differences with the subject's own rounding errors; NaN if not measured."""
    why: str = ""
    """Why it does not agree; empty if it does."""


def exact_layers(compared: Sequence[TextDifference]) -> tuple[LayerFit, ...]:
    """Each layer, judged by what float32 rounds."""
    return tuple(_exact(layer, some) for layer, some in sorted(by_layer(compared).items()))


def rounded_layers(
    compared: Sequence[TextDifference], measured: Sequence[TextRounding], dtype: str
) -> tuple[LayerFit, ...]:
    """Each layer, judged by what a dtype rounds in this subject.

    Args:
        compared: all texts.
        measured: some of them, with the subject's own rounding errors.
        dtype: the lower one.
    """
    of_layer: dict[int, list[TextRounding]] = {}
    for one in measured:
        of_layer.setdefault(one.text.layer, []).append(one)
    layers = [
        _rounded(_exact(layer, some), of_layer.get(layer, []), dtype) for layer, some in by_layer(compared).items()
    ]
    layers.sort()
    jump = _jump(of_layer)
    pooled = _size_or_share(measured, dtype)[2] if len(measured) >= FEW else f"{len(measured)} texts are too few"
    for i, layer in enumerate(layers):
        why = [layer.why] if layer.why else []
        why += [jump[layer.layer]] if layer.layer in jump else []
        why += [f"all layers together: {pooled}"] if pooled and not i and not any(one.why for one in layers) else []
        layers[i] = layer._replace(why="; ".join(why))
    return tuple(layers)


def _exact(layer: int, some: Sequence[TextDifference]) -> LayerFit:
    relative = np.array([one.relative for one in some])
    worst = int(np.argmax(relative))
    exact = float(np.mean(relative <= EXACT))
    error, largest, neuron = float(np.median(relative)), float(relative[worst]), some[worst].text.neuron
    agrees = exact >= ALMOST and largest <= 10 * EXACT
    why = f"layer {layer} differs by {error:.2g} of a neuron's largest activation, neuron {neuron} by {largest:.2g}"
    return LayerFit(layer, len(some), exact, error, largest, neuron, why="" if agrees else why)


def _rounded(layer: LayerFit, some: Sequence[TextRounding], dtype: str) -> LayerFit:
    size, shared, why = _size_or_share(some, dtype)
    reasons = [f"layer {layer.layer}: {why}"] if why else []
    coarse = max((one.rounding for one in some), default=0.0)
    limit = min(WORST * (1 + 2 / sqrt(max(len(some), 1))) * coarse, max(HALF, 1.5 * coarse))
    if not layer.largest <= max(limit, EXACT):
        reasons.append(
            f"layer {layer.layer}, neuron {layer.neuron} differs by {layer.largest:.2g} of its largest activation, "
            f"where {dtype} rounds by {coarse:.2g} at most"
        )
    return layer._replace(size=size, shared=shared, why="; ".join(reasons))


def _size_or_share(some: Sequence[TextRounding], dtype: str) -> tuple[float, float, str]:
    """Size of the differences, their share with the subject's own, and what is wrong with these."""
    used = [one for one in some if one.size > 0 or one.rounding > 0]
    if not used:
        return float("nan"), float("nan"), ""
    n = len(used)
    with np.errstate(divide="ignore"):
        size = exp(min(float(np.median([log(max(one.size, 1e-30)) for one in used])), 700.0))
    shared = float(np.median([one.shared for one in used]))
    limit, least = SIZE * exp(0.6 / sqrt(n)), SHARED - 0.5 / sqrt(n)
    why = ""
    if not 1 / limit <= size <= limit:
        why = f"it differs {size:.2g} times as much as {dtype} rounds, expected {1 / limit:.2f} to {limit:.2f} times"
    elif shared < least:
        why = (
            f"its differences are not {dtype}'s rounding errors: correlation {shared:.2f}, expected {least:.2f} or more"
        )
    return size, shared, why


def _jump(of_layer: Mapping[int, Sequence[TextRounding]]) -> dict[int, str]:
    """The first layer that differs in all texts though every layer before it is exact; rounding begins gradually."""
    before: list[int] = []
    for layer, some in sorted(of_layer.items()):
        exact = float(np.mean([one.now <= EXACT for one in some]))
        if exact >= ALMOST:
            before.append(layer)
            continue
        if before and exact <= 1 - ALMOST * 0.9:
            which = f"layer {before[0]} is" if len(before) == 1 else f"layers {before[0]} to {before[-1]} are"
            return {layer: f"{which} exact, layer {layer} differs in {1 - exact:.0%} of the texts"}
        break
    return {}
