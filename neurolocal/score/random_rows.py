"""The random rows that descriptions are scored on, with the activations of the described neurons.

Invariant: only rows that do not explain (`Sample.scoring_rows`). Cost: one forward pass over at most
`ScoreConfig.rows` rows for all layers; memory for described neurons x tokens float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float32, Int64, Integer

from neurolocal.config import ScoreConfig
from neurolocal.errors import StoreError
from neurolocal.progress import Bar
from neurolocal.records import Example, Sample
from neurolocal.words.counted import counted_positions

if TYPE_CHECKING:
    from neurolocal.store import Store
    from neurolocal.subject import Subject

BATCH = 8
"""Rows of a forward pass on a CPU, and of the first on a GPU."""


@dataclass(frozen=True)
class RandomRows:
    """Random rows with the activations of some neurons."""

    index: Int64[np.ndarray, "row"]
    """Their row indices in the corpus."""
    tokens: Sequence[Integer[np.ndarray, "_"]]
    """Their tokens, one array a row."""
    activations: Mapping[int, Sequence[Float32[np.ndarray, "_"]]]
    """Neuron -> one array a row; NaN where a position is not counted, or not routed to the neuron's expert."""

    def of(
        self, neuron: int, examples: Sequence[Example]
    ) -> Iterator[tuple[int, Integer[np.ndarray, "_"], Float32[np.ndarray, "_"]]]:
        """(row, tokens, activations) of each row without an example of the neuron."""
        own = {e.row for e in examples}
        for row, tokens, values in zip(self.index.tolist(), self.tokens, self.activations[neuron], strict=True):
            if row not in own:
                yield row, tokens, values


def scoring_rows(sample: Sample, most: int, *, seed: int) -> Int64[np.ndarray, "row"]:
    """At most `most` of the rows that score, drawn at random, ascending."""
    return np.sort(np.random.default_rng(seed).permutation(sample.scoring_rows)[:most])


def read_random_rows(
    store: Store, subject: Callable[[], Subject], wanted: Mapping[int, Sequence[int]], *, config: ScoreConfig,
    bar: bool, say: Callable[[str], object] | None = None,
) -> dict[int, RandomRows]:  # fmt: skip
    """The random rows with the activations of the wanted neurons, by layer.

    Args:
        store: the collected store.
        subject: returns the subject; called only where a row must be run.
        wanted: layer -> neurons.
        config: how many rows, and the seed.
        bar: whether to show a progress bar.
        say: receives a line where memory ran out and the batches become smaller; None logs it.

    Raises:
        StoreError: the store's sample is empty.
        SubjectError: not even one row fits into memory.
    """
    import torch

    from neurolocal.subject.batches import Gathered, in_batches
    from neurolocal.subject.routed import Routed

    index = scoring_rows(store.sample, config.rows, seed=config.seed)
    if not len(index):
        raise StoreError(
            f"scoring the descriptions of {store.path}: it has no random rows to score on (its sample is "
            "empty). Collect again with --sample 1024."
        )
    running = {layer: list(neurons) for layer, neurons in wanted.items() if neurons}
    stored, length = store.rows_stored
    at = np.searchsorted(store.row_index, index)
    values: dict[int, list[np.ndarray]] = {layer: [] for layer in running}

    index_of: dict[int, torch.Tensor] = {}  # made once, on each layer's device

    def run(some: Sequence[int]) -> dict[int, np.ndarray]:
        gathered = Gathered()

        def reader(layer: int) -> Any:
            def see(x: Any) -> None:
                if isinstance(x, Routed):
                    own = x.columns(running[layer])
                else:
                    if layer not in index_of:
                        index_of[layer] = torch.tensor(running[layer], device=x.device)
                    own = x.index_select(2, index_of[layer])
                gathered.add([(layer, own)])

            return see

        tokens = torch.from_numpy(stored[list(some)].astype(np.int64))
        subject().read(tokens, {layer: reader(layer) for layer in running}, sites=(store.site,), routed=True)
        return gathered.arrays()

    if running:
        with Bar(total=len(at), desc="random rows", unit="row", disable=not bar) as shown:
            for some, found in in_batches(
                subject(), at.tolist(), run, size=BATCH, tokens=stored.shape[1], doing="running random rows", say=say
            ):
                for layer, of_batch in found.items():
                    values[layer].extend(of_batch)
                shown.update(len(some))
    counted = counted_positions(
        stored[at],
        length[at],
        special=store.vocabulary.special,
        config=store.manifest["config"],
        parts=store.parts.take(at),
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
    """Neuron -> its activations row by row; NaN where a position is not counted."""
    return {
        n: [np.where(c, v[: len(c), j], np.nan).astype(np.float32) for c, v in zip(counted, values, strict=True)]
        for j, n in enumerate(neurons)
    }
