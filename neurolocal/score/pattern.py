"""The pattern of a neuron: a prediction of its activation on unseen text, without an LLM.

The pattern is a kernel ridge regression of the activation on the tokens around a position; `kernel` states which
positions are alike. It is fitted to the windows of the explain half, to the substitutes that perturbation put there,
and to random positions, where most neurons are silent. Its weights (in `kernel` and below) were chosen on every fourth
tested neuron of SmolLM2's layers 4, 14 and 24 and 600 rows.

Invariant: even ranks only. Activations of a list of lowest activations are multiplied by -1 (through `firing.scale`).
Cost: for n known positions an n x n float64 matrix and its solution, O(n^3); a prediction is one product with n x pos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Integer

from neurolocal.records import Example, SubstituteTable
from neurolocal.score.firing import scale
from neurolocal.score.kernel import Positions, TokenKernel, joined

THRESHOLD = 0.3
"""Predicted share of the strongest activation from which the pattern fires.

Lower than `records.FIRING`, since a regression predicts values nearer to the mean."""

RIDGE = 0.3
"""Added to the kernel's diagonal."""

CLIP = (-0.1, 1.2)
"""Range to which activations, as shares of the strongest, are clipped before the fit."""

OUT_OF_PLACE = frozenset({"original", "alone", "elsewhere"})
"""Kinds of substitutes without new information about the example's own context."""


@dataclass(frozen=True)
class Pattern:
    """A fitted regression."""

    kernel: TokenKernel
    known: Positions
    """The positions that it was fitted to."""
    weights: Float64[np.ndarray, "n"]
    """One for each of these."""
    middle: float
    """The prediction where no known position is alike."""

    def predict(self, tokens: Integer[np.ndarray, "pos"]) -> Float[np.ndarray, "pos"]:
        """The activation at each position, as a share of that of the strongest explaining example."""
        return self.kernel.between(self.kernel.positions(tokens), self.known) @ self.weights + self.middle

    def fires(self, tokens: Integer[np.ndarray, "pos"]) -> Bool[np.ndarray, "pos"]:
        """Whether it fires, at each position of a row."""
        return self.predict(tokens) >= THRESHOLD


def pattern(
    examples: Sequence[Example],
    kernel: TokenKernel,
    *,
    neuron: int,
    substitutes: SubstituteTable | None = None,
    random: tuple[Positions, Float32[np.ndarray, "n"]] | None = None,
) -> Pattern:
    """Fit a pattern to the even ranks' windows, their substitutes, and random positions with their activations.

    Substitutes of several tokens and NaN activations are left out.

    Raises:
        ValueError: there is no even rank with an activation.
    """
    most = scale(examples)
    positions, values = [], []
    at_peak: dict[int, Positions] = {}
    for e in examples:
        if e.rank % 2 == 0:
            at = np.flatnonzero(~np.isnan(e.activations))
            positions.append(kernel.positions(e.tokens, at.tolist()))
            values.append(e.activations[at])
            at_peak[e.rank] = kernel.positions(e.tokens, [e.peak])
    if substitutes is not None:
        for i in np.flatnonzero((substitutes.neuron == neuron) & (substitutes.rank % 2 == 0)):
            token, rank = kernel.ids.get(substitutes.word[i]), int(substitutes.rank[i])
            if token is not None and rank in at_peak and substitutes.kind[i] not in OUT_OF_PLACE:
                positions.append(at_peak[rank].put(token))
                values.append(substitutes.activation[i : i + 1])
    if random is not None:
        positions.append(random[0])
        values.append(random[1])
    known = joined(positions)
    y = np.clip(np.nan_to_num(np.concatenate(values).astype(np.float64) / most), *CLIP)
    middle = float(np.median(y))
    gram = kernel.between(known, known).astype(np.float64)
    weights = np.linalg.solve(gram + RIDGE * np.eye(len(y)), y - middle)
    return Pattern(kernel, known, weights, middle)
