"""What was measured -> the tables of the stage.

Cost: one sort of the vocabulary's changes a neuron and change.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from neurolocal.config import InterventionConfig
from neurolocal.fdr import q_values
from neurolocal.intervention.measure import Effects, Measured
from neurolocal.intervention.places import OWN, RANDOM, TEXTS, Target, changes
from neurolocal.intervention.statistics import p_values
from neurolocal.intervention.table import ChangedTokenTable, ChangeTable, InterventionTable


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

    def tokens(self) -> ChangedTokenTable:
        """Everything taken, by neuron."""
        rows = sorted(self.rows, key=lambda row: row[0])  # stable: the order within a neuron stays
        neuron, change, token, difference, direct = zip(*rows, strict=True) if rows else ((),) * 5
        return ChangedTokenTable(
            np.array(neuron, np.int64), list(change), np.array(token, np.int64),
            np.array(difference, np.float32), np.array(direct, np.float32),
        )  # fmt: skip


def table(
    tested: Sequence[Target], measured: Measured, collected: Collected, config: InterventionConfig
) -> InterventionTable:
    """The table of a layer."""
    names = changes(config.multiples)
    last = len(names) - 1
    zero_p = p_values(measured.kl[OWN, :, :, 0], measured.control_kl[OWN])
    steer_p = p_values(measured.kl[RANDOM, :, :, last], measured.control_kl[RANDOM])
    control = _mean(_joined(measured.control_kl))
    return InterventionTable(
        neuron=np.array([t.neuron for t in tested], np.int64),
        strongest=np.array([t.strongest for t in tested], np.float32),
        mean=np.array([t.mean for t in tested], np.float32),
        zero_kl=_mean(measured.kl[OWN, :, :, 0]),
        zero_control_kl=control[OWN],
        zero_p=zero_p,
        zero_q=q_values(zero_p),
        zero_loss=_mean(measured.loss[OWN, :, :, 0]),
        steer_kl=_mean(measured.kl[RANDOM, :, :, last]),
        steer_control_kl=control[RANDOM],
        steer_p=steer_p,
        steer_q=q_values(steer_p),
        agreement=collected.agreement,
        changes=_changes(tested, measured, names),
        tokens=collected.tokens(),
    )


def empty_table() -> InterventionTable:
    """That of a layer whose activations cannot be changed."""
    none = InterventionConfig()
    nothing = np.empty((2, 0, 0, len(changes(none.multiples))))
    return table([], Measured(nothing, nothing, nothing, nothing), Collected([], [], none, direct=None), none)


def _changes(tested: Sequence[Target], measured: Measured, names: Sequence[str]) -> ChangeTable:
    """One row a neuron, text and change that had a place."""
    kl, loss = (_mean(np.moveaxis(x, 2, 3)) for x in (measured.kl, measured.loss))  # text, neuron, change
    places = (~np.isnan(measured.kl)).sum(axis=2)
    control, control_loss = (_mean(_joined(x)) for x in (measured.control_kl, measured.control_loss))
    against = (0, len(names) - 1)
    rows = [
        (
            t.neuron, TEXTS[text], name, places[text, i, c], kl[text, i, c], loss[text, i, c],
            *((control[text, i], control_loss[text, i]) if c == against[text] else (np.nan, np.nan)),
        )
        for i, t in enumerate(tested)
        for text in (OWN, RANDOM)
        for c, name in enumerate(names)
        if places[text, i, c]
    ]  # fmt: skip
    neuron, text, change, *figures = zip(*rows, strict=True) if rows else ((),) * 8
    return ChangeTable(
        np.array(neuron, np.int64), list(text), list(change), np.array(figures[0], np.int32),
        *(np.array(figure, np.float32) for figure in figures[1:]),
    )  # fmt: skip


def _mean(x: Float[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    """Mean over the last axis; NaN is left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an empty mean is NaN
        return np.nanmean(x, axis=-1).astype(np.float32)


def _joined(x: Float[np.ndarray, "text neuron place control"]) -> Float[np.ndarray, "text neuron any"]:
    """Controls of all places together."""
    return x.reshape(*x.shape[:2], x.shape[2] * x.shape[3])


def _correlation(a: Float[Tensor, "neuron vocab"], b: Float[Tensor, "neuron vocab"]) -> Float64[np.ndarray, "neuron"]:
    """Pearson's, neuron by neuron; NaN where one does not vary."""
    a, b = (x.double() - x.double().mean(1, keepdim=True) for x in (a, b))
    return ((a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))).cpu().numpy()
