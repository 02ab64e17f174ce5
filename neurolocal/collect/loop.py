"""The loop: batches of rows through the subject, every layer read on the way, a checkpoint now and then.

Invariant: a store on disk is always whole, says how far it is, and going on from it ends in the same bits as a run that
was never stopped (on the same batches). Stops: the end, a signal, an error in the corpus; all write what there is.
Cost: at most some per cent over the bare forward pass (scripts/bench_collect.py); memory is the layers' states and the
rows since the last checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor
from tqdm import tqdm

from neurolocal.collect.state import Counted, DeviceState, LayerSnapshot, LayerState
from neurolocal.config import CollectConfig
from neurolocal.errors import ConfigError, CorpusError

CHECKPOINT_SECONDS = 300.0
"""Seconds of work that a kill may cost; a checkpoint of SmolLM2 takes about one."""


@runtime_checkable
class Subject(Protocol):
    """What the loop needs of a model."""

    n_layers: int
    d_mlp: list[int]

    @property
    def device(self) -> torch.device: ...  # noqa: D102
    @property
    def vocabulary(self) -> Any: ...  # noqa: D102
    def read(self, tokens: Tensor, readers: Mapping[int, Any]) -> None: ...  # noqa: D102


@runtime_checkable
class Batch(Protocol):
    """What the loop needs of some rows: see `neurolocal.corpus.Batch`."""

    @property
    def tokens(self) -> Int64[np.ndarray, "batch pos"]: ...  # noqa: D102
    @property
    def length(self) -> Int64[np.ndarray, "batch"]: ...  # noqa: D102
    @property
    def rows(self) -> Int64[np.ndarray, "batch"]: ...  # noqa: D102
    @property
    def after(self) -> Any: ...  # noqa: D102


@dataclass
class Progress:
    """A collection at one moment: all that a checkpoint holds, in memory."""

    layers: dict[int, LayerState | DeviceState]
    """By layer."""
    token_count: Int64[np.ndarray, "d_vocab"]
    """How often each token stood at a counted position."""
    tokens: np.ndarray
    """(row, pos): stored rows that a list may still refer to."""
    length: np.ndarray
    """(row,): tokens of each that are no padding."""
    index: np.ndarray
    """(row,): row indices, ascending."""
    cursor: Any = None
    """The corpus's cursor behind the last batch."""
    rows: int = 0
    """Rows taken in."""
    n_tokens: int = 0
    """Positions that competed and counted."""


@dataclass(frozen=True)
class Outcome:
    """How a collection ended."""

    rows: int
    """Rows taken in, earlier runs included."""
    n_tokens: int
    """Positions counted."""
    complete: bool
    """Whether the corpus (or `max_rows`) was reached."""
    seconds: float
    """Seconds of this run."""
    checkpoints: int
    """Stores written by this run."""
    nonfinite: dict[int, int]
    """Layer -> NaN or infinite activations, where there were any."""


@runtime_checkable
class Checkpoint(Protocol):
    """Writes what there is to disk."""

    def __call__(self, progress: Progress, snapshots: Mapping[int, LayerSnapshot], *, complete: bool) -> None: ...  # noqa: D102


def start(subject: Subject, config: CollectConfig) -> Progress:
    """An empty collection.

    Raises:
        ConfigError: a layer that the subject does not have.
    """
    layers = range(subject.n_layers) if config.layers is None else config.layers
    wrong = [layer for layer in layers if not 0 <= layer < subject.n_layers]
    if wrong:
        raise ConfigError(
            f"layers {', '.join(map(str, wrong))}: the subject has layers 0 to {subject.n_layers - 1}. "
            "Choose from these with --layers."
        )
    sizes = {"before": config.before, "after": config.after}
    states: dict[int, LayerState | DeviceState] = {
        layer: LayerState(subject.d_mlp[layer], config.k, **sizes)
        if subject.device.type == "cpu"
        else DeviceState(subject.d_mlp[layer], config.k, **sizes, device=subject.device)
        for layer in layers
    }
    empty = np.empty(0, np.int64)
    return Progress(
        states,
        np.zeros(len(subject.vocabulary.tokens), np.int64),
        np.empty((0, config.row_length), np.int64),
        empty,
        empty,
    )


def collect(
    subject: Subject,
    batches: Iterator[Batch],
    progress: Progress,
    *,
    config: CollectConfig,
    checkpoint: Checkpoint,
    every: float = CHECKPOINT_SECONDS,
    stop: Callable[[], bool] = lambda: False,
    bar: bool = True,
) -> Outcome:
    """Read the batches to their end and write the store.

    Args:
        subject: the model under study.
        batches: rows behind `progress.cursor`, ascending.
        progress: from `start`, or restored from a checkpoint; changed in place.
        config: the conventions.
        checkpoint: writes the store.
        every: seconds between checkpoints.
        stop: asked after every batch; True ends the run with a checkpoint. A signal handler sets it: an exception in
            the middle of a batch would leave some layers ahead of others, so it is never caught here.
        bar: whether to show a progress bar.

    Raises:
        CorpusError: the corpus cannot be read further; what there is was written first.
    """
    began = last = time.monotonic()
    fresh: list[Batch] = []
    written, stopped = 0, False

    def write(*, complete: bool) -> None:
        nonlocal last, written
        snapshots = {layer: state.snapshot() for layer, state in progress.layers.items()}
        keep_rows(progress, fresh, snapshots)
        fresh.clear()
        checkpoint(progress, snapshots, complete=complete)
        last, written = time.monotonic(), written + 1

    shown = tqdm(
        total=config.max_rows, initial=progress.rows, unit="row", desc="collect", disable=not bar, smoothing=0.1
    )
    try:
        with ThreadPoolExecutor(max(1, torch.get_num_threads())) as pool, shown:
            for batch in batches:
                take(subject, batch, progress, config=config, pool=pool)
                fresh.append(batch)
                shown.update(len(batch.rows))
                shown.total = _expected(progress, config) or shown.total
                shown.set_postfix_str(f"{progress.n_tokens:,} tokens", refresh=False)
                if stopped := stop():
                    break
                if time.monotonic() - last >= every:
                    write(complete=False)
    except CorpusError:  # raised between batches: every layer has seen the same rows
        if fresh:
            write(complete=False)
        raise
    write(complete=not stopped)
    bad = {layer: int(s.snapshot().statistics.nonfinite.sum()) for layer, s in progress.layers.items()}
    return Outcome(
        progress.rows,
        progress.n_tokens,
        complete=not stopped,
        seconds=time.monotonic() - began,
        checkpoints=written,
        nonfinite={layer: n for layer, n in bad.items() if n},
    )


def take(
    subject: Subject, batch: Batch, progress: Progress, *, config: CollectConfig, pool: ThreadPoolExecutor
) -> None:
    """Take one batch into the collection."""
    mask = counted_positions(batch.length, batch.tokens.shape[1], config)
    counted = Counted.of(mask)
    subject.read(
        torch.from_numpy(batch.tokens),
        {
            layer: (lambda x, state=state: state.update(x, counted, batch.rows, pool))
            for layer, state in progress.layers.items()
        },
    )
    progress.token_count += np.bincount(batch.tokens[mask], minlength=len(progress.token_count))
    progress.rows += len(batch.rows)
    progress.n_tokens += counted.total
    progress.cursor = batch.after


def _expected(progress: Progress, config: CollectConfig) -> int | None:
    """Rows that the run will have at its end, from the share of the corpus's bytes read so far; None where unknown."""
    share = getattr(progress.cursor, "share", 0.0)
    if not share:
        return config.max_rows
    return min(max(progress.rows, round(progress.rows / share)), config.max_rows or 1 << 62)


def counted_positions(
    length: Int64[np.ndarray, "batch"], n_pos: int, config: CollectConfig
) -> Bool[np.ndarray, "batch pos"]:
    """Positions that compete: no padding, and no prepended BOS unless the config counts it."""
    mask = np.arange(n_pos)[None] < length[:, None]
    if config.bos == "prepend" and not config.count_bos:
        mask[:, 0] = False
    return mask


def keep_rows(progress: Progress, fresh: Sequence[Batch], snapshots: Mapping[int, LayerSnapshot]) -> None:
    """Add the new rows, then drop those that no list refers to."""
    parts = [(progress.tokens, progress.length, progress.index), *((b.tokens, b.length, b.rows) for b in fresh)]
    tokens, length, index = (np.concatenate([p[i] for p in parts]) for i in range(3))
    used = np.unique(
        np.concatenate([np.unique(top.row) for s in snapshots.values() for top in s.lists.values()] or [index[:0]])
    )
    keep = np.isin(index, used)
    progress.tokens, progress.length, progress.index = tokens[keep], length[keep], index[keep]
