"""What was measured, a block of neurons at a time: plain arrays, and the evidence that a block leaves.

Invariant: `joined` of the evidence of all blocks is what one block of all neurons would be, but for rounding.
Cost: a few hundred numbers a neuron.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from neurolocal.stage import Evidence


class Measured(NamedTuple):
    """The effects of some neurons."""

    kl: Float[np.ndarray, "2 neuron place change"]
    """Divergence in nats, by text; NaN where there was no such place."""
    loss: Float[np.ndarray, "2 neuron place change"]
    """Rise of the loss in nats; NaN also where the place has no next token."""
    control_kl: Float[np.ndarray, "2 neuron place control"]
    """Of the controls, by the change that has a p."""
    control_loss: Float[np.ndarray, "2 neuron place control"]
    """The same."""


ChangedToken = tuple[int, str, int, float, float]
"""(neuron, change, token id, change of its log-probability, its direct logit effect)."""


class Block(NamedTuple):
    """Everything that was measured of some neurons."""

    measured: Measured
    agreement: Float32[np.ndarray, "neuron"]
    """Correlation of the measured change and the direct logit effect."""
    tokens: Sequence[ChangedToken]
    """The tokens that rise and fall."""


def evidence(block: Block) -> Evidence:
    """A block as plain values and arrays of one dimension."""
    arrays = {f"{name}_values": values.ravel() for name, values in block.measured._asdict().items()}
    shapes = {f"{name}_shape": list(values.shape) for name, values in block.measured._asdict().items()}
    return {**arrays, **shapes, "agreement": block.agreement, "tokens": [list(row) for row in block.tokens]}


def joined(blocks: Sequence[Evidence]) -> Block:
    """The blocks one after the other; a block with fewer places has NaN in those that it lacks."""
    measured = Measured(*(_stacked([_array(e, name) for e in blocks]) for name in Measured._fields))
    agreement = np.concatenate([e["agreement"] for e in blocks])
    return Block(
        measured, agreement, [(n, change, t, d, direct) for e in blocks for n, change, t, d, direct in e["tokens"]]
    )


def _array(block: Evidence, name: str) -> Float[np.ndarray, "2 neuron place other"]:
    return np.reshape(block[f"{name}_values"], block[f"{name}_shape"])


def _stacked(arrays: Sequence[Float[np.ndarray, "2 _ _ other"]]) -> Float[np.ndarray, "2 neuron place other"]:
    most = max(a.shape[2] for a in arrays)
    wide = [np.pad(a, [(0, 0), (0, 0), (0, most - a.shape[2]), (0, 0)], constant_values=np.nan) for a in arrays]
    return np.concatenate(wide, axis=1)
