"""The tokens that rise and fall, kept of the changes over the vocabulary.

Cost: one sort of the vocabulary's changes a neuron and change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from neurolocal.config import InterventionConfig
from neurolocal.intervention.measure import Effects
from neurolocal.intervention.places import Target, changes


class Collected:
    """The tokens that rise and fall, taken from the changes over the vocabulary before these are dropped."""

    def __init__(
        self, tested: Sequence[Target], has_text: Sequence[bool], config: InterventionConfig, *,
        direct: Callable[[list[int]], Float[Tensor, "neuron vocab"]] | None,
    ) -> None:  # fmt: skip
        """Nothing yet.

        Args:
            tested: the neurons.
            has_text: of each id, whether it has a text; others are in no list.
            config: how many tokens.
            direct: neurons -> their direct logit effects; None where the model has none.
        """
        self._tested, self._direct = tested, direct
        self._text = torch.tensor(has_text)
        self._k = min(config.tokens, int(self._text.sum()))
        self._change = changes(config.multiples)[-1]
        self.agreement = np.full(len(tested), np.nan, np.float32)
        self.rows: list[tuple[int, str, int, float, float]] = []

    def take(self, group: slice, effects: Effects) -> None:
        """The changes of some of the neurons."""
        neurons = [t.neuron for t in self._tested[group]]
        device = effects.steered.device
        direct = None if self._direct is None else self._direct(neurons).to(device)
        text = torch.zeros(effects.steered.shape[1], dtype=torch.bool, device=device)
        text[: len(self._text)] = self._text.to(device)
        if direct is not None:
            self.agreement[group] = _correlation(effects.steered[:, text], direct[:, text])
        for change, found in (("zero", effects.zero), (self._change, effects.steered)):
            if not found.any():  # there was no such place
                continue
            for sign in (1, -1):
                top = (sign * found).masked_fill(~text, float("-inf")).topk(self._k).indices
                predicted = torch.full_like(top, torch.nan, dtype=torch.float32)
                if direct is not None:
                    predicted = direct.gather(1, top)
                for neuron, *columns in zip(
                    neurons, top.tolist(), found.gather(1, top).tolist(), predicted.tolist(), strict=True
                ):
                    self.rows += [(neuron, change, *row) for row in zip(*columns, strict=True)]


def _correlation(a: Float[Tensor, "neuron vocab"], b: Float[Tensor, "neuron vocab"]) -> Float64[np.ndarray, "neuron"]:
    """Pearson's, neuron by neuron; NaN where one does not vary."""
    a, b = (x.double() - x.double().mean(1, keepdim=True) for x in (a, b))
    return ((a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))).cpu().numpy()
