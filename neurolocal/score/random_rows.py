"""The random rows that descriptions are scored on, run through the subject once for all layers.

Invariant: only rows that explain nothing (`Sample.scoring_rows`). Cost: a forward pass over at most `ScoreConfig.rows`
rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float32
from tqdm import tqdm

from neurolocal.config import ScoreConfig
from neurolocal.errors import StoreError
from neurolocal.score.texts import RandomRows, scoring_rows
from neurolocal.words.counted import counted_positions

if TYPE_CHECKING:
    from neurolocal.store import Store
    from neurolocal.subject import Subject

BATCH = 8
"""Rows a forward pass."""


def read_random_rows(
    store: Store, subject: Callable[[], Subject], wanted: Mapping[int, Sequence[int]], *, config: ScoreConfig, bar: bool
) -> dict[int, RandomRows]:
    """The random rows with the activations of the wanted neurons, by layer.

    Args:
        store: the collected store.
        subject: gives the subject; called only where there is something to run.
        wanted: neurons by layer.
        config: how many rows, and the seed.
        bar: whether to show a progress bar.

    Raises:
        StoreError: the store's sample is empty.
    """
    index = scoring_rows(store.sample, config.rows, seed=config.seed)
    if not len(index):
        raise StoreError(
            f"scoring the descriptions of {store.path}: it holds no random rows to judge by (its sample is "
            "empty). Collect again with --sample 1024."
        )
    running = {layer: list(neurons) for layer, neurons in wanted.items() if neurons}
    stored, length = store.rows_stored
    at = np.searchsorted(store.row_index, index)
    values: dict[int, list[np.ndarray]] = {layer: [] for layer in running}

    def reader(layer: int) -> Any:
        def see(x: Any) -> None:
            values[layer].extend(x[:, :, running[layer]].float().cpu().numpy())

        return see

    for low in tqdm(range(0, len(at) if running else 0, BATCH), desc="random rows", unit="batch", disable=not bar):
        tokens = torch.from_numpy(stored[at[low : low + BATCH]].astype(np.int64))
        subject().read(tokens, {layer: reader(layer) for layer in running}, sites=(store.site,))
    counted = counted_positions(
        stored[at], length[at], special=store.vocabulary.special, config=store.manifest["config"]
    )
    rows = [stored[i][: length[i]] for i in at]
    masks = [mask[: len(row)] for mask, row in zip(counted, rows, strict=True)]
    kept = {layer: _by_neuron(running[layer], values[layer], masks) for layer in running}
    return {layer: RandomRows(index, rows, kept.get(layer, {})) for layer in wanted}


def _by_neuron(
    neurons: Sequence[int],
    values: Sequence[Float32[np.ndarray, "_ neuron"]],
    counted: Sequence[Bool[np.ndarray, "_"]],
) -> dict[int, list[Float32[np.ndarray, "_"]]]:
    """Each neuron's activations row by row, NaN where a position does not count."""
    return {
        n: [np.where(c, v[: len(c), j], np.nan).astype(np.float32) for c, v in zip(counted, values, strict=True)]
        for j, n in enumerate(neurons)
    }
