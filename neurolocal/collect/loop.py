"""The loop: batches of rows run through the subject, every layer is read on the way, checkpoints are written.

Invariant: a store on disk is always whole and states how many rows it covers; a run resumed from it ends in the same
bits as an uninterrupted one on the same batches. A run ends at the end of the corpus, at a signal, or at an error in
the corpus; in each case the results so far are written.
Cost: one read of the activations beside the forward pass; memory is the layers' states and the rows that they refer
to, whatever the size of the corpus. README.md of this folder has the figures.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from neurolocal.collect.rows import RowBuffer
from neurolocal.collect.sample import Sampler
from neurolocal.collect.state import Activations, CountedBatch, Frozen, LayerState, State
from neurolocal.collect.workers import Workers
from neurolocal.config import CollectConfig
from neurolocal.errors import CorpusError
from neurolocal.progress import Bar
from neurolocal.provenance import Parts
from neurolocal.records import Experts, LayerRecord, Place, Site
from neurolocal.words.counted import counted_positions
from neurolocal.words.repeated import text_hashes

CHECKPOINT_SECONDS = 300.0
"""Seconds between checkpoints, which a kill may cost; more where writing one takes over 1.5 s (SHARE)."""

SHARE = 200
"""The time between checkpoints is at least so many times what the last one took: 0.5 % of the run at most."""

SIGN_SITES: tuple[Site, Site] = ("pre", "pre_linear")
"""The sites whose signs decide a gated neuron's sign case."""


@runtime_checkable
class CollectSubject(Protocol):
    """What the loop needs of a model."""

    n_layers: int
    d_mlp: list[int]

    @property
    def sites(self) -> tuple[Site, ...]: ...  # noqa: D102
    @property
    def gated(self) -> bool: ...  # noqa: D102
    @property
    def vocabulary(self) -> Any: ...  # noqa: D102
    def device_of(self, layer: int) -> torch.device: ...  # noqa: D102
    def experts_of(self, layer: int) -> Experts | None: ...  # noqa: D102
    def read(  # noqa: D102
        self, tokens: Tensor, readers: Mapping[int, Any], *, sites: Sequence[Site], routed: bool
    ) -> None: ...


@runtime_checkable
class RowBatch(Protocol):
    """What the loop needs of some rows: see `neurolocal.corpus.RowBatch`."""

    @property
    def tokens(self) -> Int64[np.ndarray, "batch pos"]: ...  # noqa: D102
    @property
    def length(self) -> Int64[np.ndarray, "batch"]: ...  # noqa: D102
    @property
    def rows(self) -> Int64[np.ndarray, "batch"]: ...  # noqa: D102
    @property
    def parts(self) -> Parts: ...  # noqa: D102
    @property
    def after(self) -> Any: ...  # noqa: D102


@dataclass
class Progress:
    """A collection at one moment: the content of a checkpoint, in memory."""

    states: dict[Place, State]
    """By site and layer."""
    sampler: Sampler
    """The positions drawn so far."""
    token_count: Int64[np.ndarray, "d_vocab"]
    """How often each token stood at a counted position."""
    kept: RowBuffer
    """Rows that a list or the sample may still refer to."""
    cursor: Any = None
    """The corpus's cursor after the last batch."""
    rows: int = 0
    """Rows read."""
    n_tokens: int = 0
    """Positions counted."""

    def prune(self) -> None:
        """Drop the rows that no list and no sampled position refers to."""
        self.kept.prune([*(state.rows() for state in self.states.values()), self.sampler.row[: self.sampler.used]])

    def contents(self) -> Contents:
        """What a checkpoint writes while the run waits."""
        return Contents(
            dict(self.states), self.sampler, self.token_count, self.kept, self.cursor, self.rows, self.n_tokens
        )

    def frozen(self) -> Contents | None:
        """A copy for a checkpoint that is written beside the run; None where the run has to wait for it."""
        states: dict[Place, Frozen] = {}
        for place, state in self.states.items():
            one = state.frozen()
            if one is None:
                return None
            states[place] = one
        return dataclasses.replace(
            self.contents(),
            states=states,
            sampler=copy.deepcopy(self.sampler),
            token_count=self.token_count.copy(),
            kept=self.kept.copy(),
        )


@dataclass(frozen=True)
class Contents:
    """A collection at one moment, as a checkpoint writes it; fields as in `Progress`."""

    states: Mapping[Place, Frozen]
    sampler: Sampler
    token_count: Int64[np.ndarray, "d_vocab"]
    kept: RowBuffer
    cursor: Any
    rows: int
    n_tokens: int

    def records(self) -> Iterator[tuple[Place, LayerRecord]]:
        """Each layer as the store holds it, one at a time, since a copy of the whole state would double the memory."""
        order = self.sampler.order()
        for place, state in self.states.items():
            yield place, state.snapshot(order)


@dataclass(frozen=True)
class Outcome:
    """How a collection ended."""

    rows: int
    """Rows read, those of earlier runs included."""
    n_tokens: int
    """Positions counted."""
    complete: bool
    """Whether the end of the corpus (or `max_rows`) was reached."""
    seconds: float
    """Seconds of this run."""
    checkpoints: int
    """Stores written by this run."""
    nonfinite: dict[Place, int]
    """Site and layer -> NaN or infinite activations, where there were any."""


@runtime_checkable
class Checkpoint(Protocol):
    """Writes the store; returns the number of NaN and infinite activations of each layer that has any."""

    def __call__(self, contents: Contents, *, complete: bool) -> dict[Place, int]: ...  # noqa: D102


class _Checkpoints:
    """When a checkpoint is due, how many were written, and the one that is being written beside the run.

    A state on the CPU is written while the run waits. A state on a GPU is copied to the host, and another thread writes
    it while the next batches run; at most one at a time. The store's file is replaced as a whole, so a kill leaves the
    one before.
    """

    def __init__(
        self, progress: Progress, write: Checkpoint, *, every: float | None, every_rows: int | None
    ) -> None:  # fmt: skip
        self._progress, self._write, self._every, self._every_rows = progress, write, every, every_rows
        self._last, self._took = time.monotonic(), 0.0
        self.written, self.written_rows, self.nonfinite = 0, progress.rows, dict[Place, int]()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._running: Future[dict[Place, int]] | None = None

    def __enter__(self) -> _Checkpoints:
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.shutdown(wait=True)

    def begin(self) -> None:
        """Write one, beside the run where that is possible."""
        self._one(self._progress.frozen, complete=False)

    def write(self, *, complete: bool) -> None:
        """Write one now, and wait for it."""
        self._one(lambda: None, complete=complete)

    def _one(self, copied: Callable[[], Contents | None], *, complete: bool) -> None:
        self.wait()
        began = time.monotonic()
        self._progress.prune()
        contents = copied()
        if contents is None:
            self.nonfinite = self._write(self._progress.contents(), complete=complete)
        else:
            self._running = self._writer.submit(self._write, contents, complete=complete)
        self._last, self.written, self.written_rows = time.monotonic(), self.written + 1, self._progress.rows
        self._took = self._last - began

    def wait(self) -> None:
        """Wait for the one that is being written; raises what it raised."""
        if self._running is not None:
            running, self._running = self._running, None
            self.nonfinite = running.result()

    @property
    def due(self) -> bool:
        """Whether one is to be written after this batch; raises what the last one raised."""
        if self._running is not None:
            if not self._running.done():
                return False
            self.wait()
        if self._every_rows is not None and self._progress.rows - self.written_rows >= self._every_rows:
            return True
        seconds = max(CHECKPOINT_SECONDS, SHARE * self._took) if self._every is None else self._every
        return time.monotonic() - self._last >= seconds


def collect(
    subject: CollectSubject,
    batches: Iterator[RowBatch],
    progress: Progress,
    *,
    config: CollectConfig,
    checkpoint: Checkpoint,
    every: float | None = None,
    every_rows: int | None = None,
    end: Callable[[], Any] = lambda: None,
    stop: Callable[[], bool] = lambda: False,
    bar: bool = True,
) -> Outcome:
    """Read the batches to their end and write the store.

    Args:
        subject: the model under study.
        batches: the rows after `progress.cursor`, ascending.
        progress: from `start`, or restored from a checkpoint; changed in place.
        config: the conventions, `resolved`.
        checkpoint: writes the store.
        every: seconds between checkpoints; None is CHECKPOINT_SECONDS, and longer where writing takes long.
        every_rows: rows between checkpoints; None is by time alone.
        end: gives the corpus's cursor after its last batch, called when the batches have ended: a shard's own last
            batch may come earlier.
        stop: called after every batch; True ends the run with a checkpoint. A signal handler sets it. An exception in
            the middle of a batch is never caught here, because some layers would be ahead of others.
        bar: whether to show a progress bar.

    Raises:
        CorpusError: the corpus cannot be read further; the results so far were written first.
    """
    began, stopped = time.monotonic(), False
    shown = Bar(
        total=config.max_rows, initial=progress.rows, unit="row", desc="collect", disable=not bar, smoothing=0.1
    )
    with _Checkpoints(progress, checkpoint, every=every, every_rows=every_rows) as checkpoints:
        try:
            with Workers(torch.get_num_threads()) as workers, shown:
                for batch in batches:
                    take(subject, batch, progress, config=config, workers=workers)
                    shown.total = _expected(progress, config) or shown.total
                    shown.set_postfix_str(_tokens(progress, shown.format_dict["rate"]), refresh=False)
                    shown.update(len(batch.rows))
                    if stopped := stop():
                        break
                    if checkpoints.due:
                        checkpoints.begin()
        except CorpusError:  # raised between batches: every layer has seen the same rows
            if progress.rows > checkpoints.written_rows:
                checkpoints.write(complete=False)
            checkpoints.wait()
            raise
        if not stopped:
            progress.cursor = end() or progress.cursor
        checkpoints.write(complete=not stopped)
    return Outcome(
        progress.rows,
        progress.n_tokens,
        complete=not stopped,
        seconds=time.monotonic() - began,
        checkpoints=checkpoints.written,
        nonfinite=checkpoints.nonfinite,
    )


def _tokens(progress: Progress, rate: float | None) -> str:
    """Tokens counted so far, and a second; `rate` is rows a second, None where it is not known yet."""
    counted = f"{progress.n_tokens:,} tokens"
    return f"{counted}, {rate * progress.n_tokens / progress.rows:,.0f} tokens/s" if rate and progress.rows else counted


def take(
    subject: CollectSubject, batch: RowBatch, progress: Progress, *, config: CollectConfig, workers: Workers
) -> None:
    """Take one batch into the collection."""
    own = config.sites or ()
    special = subject.vocabulary.special
    mask = counted_positions(batch.tokens, batch.length, special=special, config=vars(config), parts=batch.parts)
    text = text_hashes(batch.tokens) if config.dedupe else None
    counted = CountedBatch.of(batch.rows, mask, progress.sampler, text=text)
    sites = tuple(dict.fromkeys((*own, *(SIGN_SITES if config.sign_cases else ()))))
    signs = tuple(sites.index(site) for site in SIGN_SITES) if config.sign_cases else None

    def reader(layer: int) -> Callable[..., None]:
        mine = [(i, progress.states[site, layer], site) for i, site in enumerate(sites) if site in own]
        on_host = any(isinstance(state, LayerState) for _, state, _ in mine)

        def see(*x: Activations) -> None:
            if on_host:
                x = tuple(one.to(torch.device("cpu")) for one in x)
            for i, state, site in mine:
                cases = (x[signs[0]], x[signs[1]]) if signs is not None and site == "post" else None
                state.update(x[i], cases, counted, workers)

        return see

    layers = {layer for _, layer in progress.states}
    subject.read(torch.from_numpy(batch.tokens), {layer: reader(layer) for layer in layers}, sites=sites, routed=True)
    progress.token_count += np.bincount(batch.tokens[mask], minlength=len(progress.token_count))
    progress.rows += len(batch.rows)
    progress.n_tokens += counted.total
    progress.cursor = batch.after
    progress.kept.add(batch.tokens, batch.length, batch.rows, batch.parts)
    if progress.kept.due:
        progress.prune()


def _expected(progress: Progress, config: CollectConfig) -> int | None:
    """Rows that the run will have at its end, from the share of the corpus's bytes read so far; None where unknown."""
    share = getattr(progress.cursor, "share", 0.0)
    if not share:
        return config.max_rows
    return min(max(progress.rows, round(progress.rows / share)), config.max_rows or 1 << 62)
