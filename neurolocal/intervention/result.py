"""What was measured -> the tables of the stage.

Cost: O(neurons x places x controls).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32

from neurolocal.config import InterventionConfig
from neurolocal.fdr import q_values
from neurolocal.intervention.measured import Block, ChangedToken, Measured
from neurolocal.intervention.places import OWN, RANDOM, TEXTS, Target, changes
from neurolocal.intervention.statistics import p_values
from neurolocal.intervention.table import ChangedTokenTable, ChangeTable, InterventionTable


def table(tested: Sequence[Target], block: Block, config: InterventionConfig) -> InterventionTable:
    """The table of a layer, from a block of all its tested neurons."""
    measured = block.measured
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
        agreement=block.agreement,
        changes=_changes(tested, measured, names),
        tokens=_tokens(block.tokens),
    )


def empty_table() -> InterventionTable:
    """That of a layer whose activations cannot be changed."""
    none = InterventionConfig()
    nothing = np.empty((2, 0, 0, len(changes(none.multiples))))
    return table([], Block(Measured(nothing, nothing, nothing, nothing), np.empty(0, np.float32), []), none)


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


def _tokens(rows: Sequence[ChangedToken]) -> ChangedTokenTable:
    """The tokens by neuron."""
    rows = sorted(rows, key=lambda row: row[0])  # stable: the order within a neuron stays
    neuron, change, token, difference, direct = zip(*rows, strict=True) if rows else ((),) * 5
    return ChangedTokenTable(
        np.array(neuron, np.int64), list(change), np.array(token, np.int64),
        np.array(difference, np.float32), np.array(direct, np.float32),
    )  # fmt: skip
