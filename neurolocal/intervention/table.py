"""The tables of the stage.

Invariant: the columns of a table have equal length.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64


@dataclass(frozen=True)
class ChangeTable:
    """What each change of the activation does to the next token's distribution: one row a neuron, text, change."""

    neuron: Int64[np.ndarray, "c"]
    """Index within the layer."""
    text: list[str]
    """`own`: the neuron's strongest examples, at their peaks; `random`: random positions of the corpus."""
    change: list[str]
    """`zero`, `mean`, or a multiple of the strongest example's activation: `x1`, `x3`."""
    places: Int32[np.ndarray, "c"]
    """Positions that were changed, one at a time."""
    kl: Float32[np.ndarray, "c"]
    """Mean Kullback-Leibler divergence of the changed distribution from the unchanged one, in nats."""
    loss: Float32[np.ndarray, "c"]
    """Mean rise of -log P(the true next token), in nats; NaN where no place has a next token."""
    control_kl: Float32[np.ndarray, "c"]
    """`kl` of random neurons of the layer that are changed as much, at the same places; NaN where none was."""
    control_loss: Float32[np.ndarray, "c"]
    """`loss` of these."""


@dataclass(frozen=True)
class ChangedTokenTable:
    """The tokens whose log-probability a change raises and lowers most: one row a neuron, change and token."""

    neuron: Int64[np.ndarray, "t"]
    """Index within the layer."""
    change: list[str]
    """`zero` at the neuron's own examples, or the largest multiple at random positions."""
    token: Int64[np.ndarray, "t"]
    """Id; strongest first, the risen ones before the fallen ones."""
    difference: Float32[np.ndarray, "t"]
    """Mean change of its log-probability, in nats."""
    direct: Float32[np.ndarray, "t"]
    """What its direct logit effect predicts: logits for an activation of 1, above the vocabulary's mean; NaN where the
    model has none."""


@dataclass(frozen=True)
class InterventionTable:
    """What does the neuron do to the output? One row a tested neuron, one side."""

    neuron: Int64[np.ndarray, "n"]
    """Index within the layer."""
    strongest: Float32[np.ndarray, "n"]
    """Activation of its strongest example: what multiples are multiples of."""
    mean: Float32[np.ndarray, "n"]
    """Mean activation over the corpus: what `mean` sets."""
    zero_kl: Float32[np.ndarray, "n"]
    """Of `zero` at its own examples, in nats."""
    zero_control_kl: Float32[np.ndarray, "n"]
    """The same of random neurons."""
    zero_p: Float64[np.ndarray, "n"]
    """One-sided p that its ablation changes the output more than as large a change of a random neuron."""
    zero_q: Float64[np.ndarray, "n"]
    """Benjamini-Hochberg over the tested neurons of the layer."""
    zero_loss: Float32[np.ndarray, "n"]
    """Mean rise of the loss by `zero` at its own examples, in nats: above 0 where the neuron helps to predict."""
    steer_kl: Float32[np.ndarray, "n"]
    """Of the largest multiple at random positions, in nats."""
    steer_control_kl: Float32[np.ndarray, "n"]
    """The same of random neurons."""
    steer_p: Float64[np.ndarray, "n"]
    """As `zero_p`, of the largest multiple at random positions."""
    steer_q: Float64[np.ndarray, "n"]
    """Benjamini-Hochberg over the tested neurons of the layer."""
    agreement: Float32[np.ndarray, "n"]
    """Pearson's correlation over the vocabulary of the measured change by the largest multiple and the direct logit
    effect; NaN where the model has none."""
    changes: ChangeTable
    """Every change."""
    tokens: ChangedTokenTable
    """The tokens that rise and fall."""
