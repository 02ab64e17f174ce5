"""The loop: batches of rows through the subject, every layer read on the way, a checkpoint now and then.

Invariant: a store on disk is always whole, says how far it is, and going on from it ends in the same bits as a run that
was never stopped (on the same batches). Stops: the end, a signal, an error in the corpus; all write what there is.
Cost: at most some per cent over the bare forward pass (scripts/bench_collect.py); memory is the layers' states and the
rows that they refer to, whatever the corpus.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor
from tqdm import tqdm

from neurolocal.collect import plain
from neurolocal.collect.rows import KeptRows
from neurolocal.collect.sample import Sampler
from neurolocal.collect.state import Counted, DeviceState, LayerState, State
from neurolocal.collect.workers import Workers
from neurolocal.config import CollectConfig
from neurolocal.errors import ConfigError, CorpusError
from neurolocal.provenance import Parts
from neurolocal.records import LayerRecord, Place, Site
from neurolocal.words.counted import counted_positions

CHECKPOINT_SECONDS = 300.0
"""Seconds of work that a kill may cost, unless a checkpoint takes over 1.5 s (SHARE)."""

SHARE = 200
"""A checkpoint waits so many times what the last one took: half a per cent of the run at most."""

SIGN_SITES: tuple[Site, Site] = ("pre", "pre_linear")
"""What says a gated neuron's sign case, beside `post`."""


@runtime_checkable
class Subject(Protocol):
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
    def read(self, tokens: Tensor, readers: Mapping[int, Any], *, sites: Sequence[Site]) -> None: ...  # noqa: D102


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
    def parts(self) -> Parts: ...  # noqa: D102
    @property
    def after(self) -> Any: ...  # noqa: D102


@dataclass
class Progress:
    """A collection at one moment: all that a checkpoint holds, in memory."""

    states: dict[Place, State]
    """By site and layer."""
    sampler: Sampler
    """The positions drawn so far."""
    token_count: Int64[np.ndarray, "d_vocab"]
    """How often each token stood at a counted position."""
    kept: KeptRows
    """Rows that a list or the sample may still refer to."""
    cursor: Any = None
    """The corpus's cursor behind the last batch."""
    rows: int = 0
    """Rows taken in."""
    n_tokens: int = 0
    """Positions that competed and counted."""

    def prune(self) -> None:
        """Drop the rows that nothing refers to any more."""
        self.kept.prune([*(state.rows() for state in self.states.values()), self.sampler.row[: self.sampler.used]])

    def records(self) -> Iterator[tuple[Place, LayerRecord]]:
        """Each layer as the store holds it, one at a time: a copy of the whole state would double the memory."""
        order = self.sampler.order()
        for place, state in self.states.items():
            yield place, state.snapshot(order)


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
    nonfinite: dict[Place, int]
    """Site and layer -> NaN or infinite activations, where there were any."""


@runtime_checkable
class Checkpoint(Protocol):
    """Writes what there is to disk; returns the NaN and infinite activations of each layer that has some."""

    def __call__(self, progress: Progress, *, complete: bool) -> dict[Place, int]: ...  # noqa: D102


def resolved(config: CollectConfig, subject: Subject) -> CollectConfig:
    """The config with what depends on the subject filled in.

    Raises:
        ConfigError: layers, neurons, sites or sign cases that the subject does not have.
    """
    sites = config.sites or (("mid",) if "mid" in subject.sites else ("post",))
    absent = [site for site in sites if site not in subject.sites]
    if absent:
        raise ConfigError(
            f"sites = {', '.join(absent)}: the subject has {', '.join(subject.sites)}. Choose with --sites."
        )
    if config.sign_cases and not (subject.gated and "post" in sites):
        raise ConfigError("sign_cases = true: the subject's MLPs have no gate, so no sign cases; drop the setting")
    layers = range(subject.n_layers) if config.layers is None else config.layers
    wrong = [layer for layer in layers if not 0 <= layer < subject.n_layers]
    if wrong:
        raise ConfigError(
            f"layers {', '.join(map(str, wrong))}: the subject has layers 0 to {subject.n_layers - 1}. "
            "Choose from these with --layers."
        )
    narrow = min(layers, key=lambda layer: subject.d_mlp[layer])
    if config.neurons is not None and not 0 <= min(config.neurons) <= max(config.neurons) < subject.d_mlp[narrow]:
        raise ConfigError(
            f"neurons {min(config.neurons)} to {max(config.neurons)}: layer {narrow} has neurons 0 to "
            f"{subject.d_mlp[narrow] - 1}. Choose from these with --neurons."
        )
    return dataclasses.replace(config, sites=sites)


def start(subject: Subject, config: CollectConfig) -> Progress:
    """An empty collection, by a `resolved` config."""
    assert config.sites is not None
    states: dict[Place, State] = {}
    reduce = plain.reduced
    for site in config.sites:
        for layer in range(subject.n_layers) if config.layers is None else config.layers:
            device, cases = subject.device_of(layer), config.sign_cases and site == "post"
            if device.type == "cpu":
                states[site, layer] = LayerState(subject.d_mlp[layer], config, cases=cases)
            else:
                if device.type == "cuda" and reduce is plain.reduced:
                    reduce = plain.compiled()
                states[site, layer] = DeviceState(
                    subject.d_mlp[layer], config, cases=cases, device=device, reduce=reduce
                )
    d_vocab = len(subject.vocabulary.tokens)
    return Progress(
        states,
        Sampler(config.sample, seed=config.seed),
        np.zeros(d_vocab, np.int64),
        KeptRows(config.row_length, d_vocab=d_vocab),
    )


def collect(
    subject: Subject,
    batches: Iterator[Batch],
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
        batches: rows behind `progress.cursor`, ascending.
        progress: from `start`, or restored from a checkpoint; changed in place.
        config: the conventions, `resolved`.
        checkpoint: writes the store.
        every: seconds between checkpoints; None is CHECKPOINT_SECONDS, and longer where writing takes long.
        every_rows: rows between checkpoints; None is by time alone.
        end: the corpus's cursor behind its last batch, asked when the batches have ended: a shard's own last batch may
            come earlier.
        stop: asked after every batch; True ends the run with a checkpoint. A signal handler sets it: an exception in
            the middle of a batch would leave some layers ahead of others, so it is never caught here.
        bar: whether to show a progress bar.

    Raises:
        CorpusError: the corpus cannot be read further; what there is was written first.
    """
    began = last = time.monotonic()
    written, written_rows, took, stopped, bad = 0, progress.rows, 0.0, False, dict[Place, int]()

    def write(*, complete: bool) -> None:
        nonlocal last, written, written_rows, took, bad
        now = time.monotonic()
        progress.prune()
        bad = checkpoint(progress, complete=complete)
        last, written, written_rows = time.monotonic(), written + 1, progress.rows
        took = last - now

    def due() -> bool:
        if every_rows is not None and progress.rows - written_rows >= every_rows:
            return True
        seconds = max(CHECKPOINT_SECONDS, SHARE * took) if every is None else every
        return time.monotonic() - last >= seconds

    shown = tqdm(
        total=config.max_rows, initial=progress.rows, unit="row", desc="collect", disable=not bar, smoothing=0.1
    )
    try:
        with Workers(torch.get_num_threads()) as workers, shown:
            for batch in batches:
                take(subject, batch, progress, config=config, workers=workers)
                shown.update(len(batch.rows))
                shown.total = _expected(progress, config) or shown.total
                shown.set_postfix_str(f"{progress.n_tokens:,} tokens", refresh=False)
                if stopped := stop():
                    break
                if due():
                    write(complete=False)
    except CorpusError:  # raised between batches: every layer has seen the same rows
        if progress.rows > written_rows:
            write(complete=False)
        raise
    if not stopped:
        progress.cursor = end() or progress.cursor
    write(complete=not stopped)
    return Outcome(
        progress.rows,
        progress.n_tokens,
        complete=not stopped,
        seconds=time.monotonic() - began,
        checkpoints=written,
        nonfinite=bad,
    )


def take(subject: Subject, batch: Batch, progress: Progress, *, config: CollectConfig, workers: Workers) -> None:
    """Take one batch into the collection."""
    own = config.sites or ()
    mask = counted_positions(batch.tokens, batch.length, special=subject.vocabulary.special, config=vars(config))
    counted = Counted.of(batch.rows, mask, progress.sampler)
    sites = tuple(dict.fromkeys((*own, *(SIGN_SITES if config.sign_cases else ()))))
    signs = tuple(sites.index(site) for site in SIGN_SITES) if config.sign_cases else None

    def reader(layer: int) -> Callable[..., None]:
        mine = [(i, progress.states[site, layer], site) for i, site in enumerate(sites) if site in own]

        def see(*x: Tensor) -> None:
            for i, state, site in mine:
                cases = (x[signs[0]], x[signs[1]]) if signs is not None and site == "post" else None
                state.update(x[i], cases, counted, workers)

        return see

    layers = {layer for _, layer in progress.states}
    subject.read(torch.from_numpy(batch.tokens), {layer: reader(layer) for layer in layers}, sites=sites)
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
