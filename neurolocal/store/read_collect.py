"""Reading what a collection stored of one layer: `collect/{site}/{layer}/`, here called `base`.

Invariant: each function returns what FORMAT.md describes, or raises a StoreError that names the dataset at fault.
Cost: each reads its datasets whole, except `read_lists`, which reads the rows of the neurons asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64, Integer

from neurolocal.records import (
    BINS,
    HISTOGRAM_EVERY,
    N_BANDS,
    THRESHOLDS,
    Bands,
    CaseStatistics,
    Example,
    Experts,
    LogitEffects,
    Side,
    Statistics,
    TopK,
)
from neurolocal.store.checked import CheckedFile

CONVENTIONS = {"thresholds": list(THRESHOLDS), "histogram_every": HISTOGRAM_EVERY, "bins": BINS}
"""The manifest's `statistics`: the only value that version 1 knows."""

MOST = 1 << 56
"""Most positions of a store; more could not be added to others without an overflow."""


def read_neurons(file: CheckedFile, base: str) -> Int64[np.ndarray, "neuron"]:
    """The index within the layer of each collected neuron, ascending."""
    n = file.dataset(f"{base}/largest/activation", "f4", 2).shape[0]
    if not file.has(f"{base}/neuron"):
        return np.arange(n)
    neurons = file.array(f"{base}/neuron", "i8", shape=(n,))
    if (neurons[:1] < 0).any() or (neurons[1:] <= neurons[:-1]).any():
        raise file.bad(f"{base}/neuron does not ascend from 0 or more")
    return neurons


def read_k(file: CheckedFile, base: str, side: Side) -> int:
    """The length of a layer's lists."""
    return file.dataset(f"{base}/{side}/activation", "f4", 2).shape[1]


def read_lists(file: CheckedFile, base: str, neurons: slice, *, width: int) -> TopK:
    """The lists of some neurons.

    Args:
        file: the store.
        base: of the lists: `collect/{site}/{layer}/{side}`.
        neurons: which entries of the layer's arrays.
        width: positions of a window.
    """
    activation = file.dataset(f"{base}/activation", "f4", 2)
    row = file.dataset(f"{base}/row", "i8", 2)
    position = file.dataset(f"{base}/position", "i4", 2)
    window = file.dataset(f"{base}/window", "f4", 3)
    if not activation.shape == row.shape == position.shape == window.shape[:2]:
        raise file.bad(f"the lists in {base} differ in shape")
    if window.shape[2] != width:
        raise file.bad(f"the windows in {base} are not as long as the manifest says")
    text = file.dataset(f"{base}/text", "i8", 2) if file.has(f"{base}/text") else None
    if text is not None and text.shape != row.shape:
        raise file.bad(f"the lists in {base} differ in shape")
    with file.reading(base):
        top = TopK(
            activation[neurons],
            row[neurons],
            position[neurons],
            window[neurons],
            None if text is None else text[neurons],
        )
    used = top.row >= 0
    if (used[:, 1:] > used[:, :-1]).any() or not np.array_equal(np.isfinite(top.activation), used):
        raise file.bad(f"the lists in {base} have holes")
    if (np.where(used, top.position, 0) < 0).any():
        raise file.bad(f"an example in {base} stands before its row")
    return top


def read_bands(file: CheckedFile, base: str, neurons: slice, *, shape: tuple[int, int]) -> Bands | None:
    """The examples of each band of some neurons; None where none were collected.

    Args:
        file: the store.
        base: of the layer.
        neurons: which entries of the layer's arrays.
        shape: neurons of the layer, and entries of a band.
    """
    base = f"{base}/bands"
    if not file.has(base):
        return None
    whole = (shape[0], N_BANDS, shape[1])
    kinds = {"activation": "f4", "row": "i8", "position": "i4", "count": "i8"}
    found = {name: file.dataset(f"{base}/{name}", kind, 2 if name == "count" else 3) for name, kind in kinds.items()}
    for name, dataset in found.items():
        if dataset.shape != (whole[:2] if name == "count" else whole):
            raise file.bad(f"{base}/{name} has the shape {dataset.shape}, expected {whole}")
    with file.reading(base):
        bands = Bands(**{name: dataset[neurons] for name, dataset in found.items()})
    used = bands.row >= 0
    if (used[:, :, 1:] > used[:, :, :-1]).any() or not np.array_equal(np.isfinite(bands.activation), used):
        raise file.bad(f"the entries of {base} have holes")
    if (np.where(used, bands.position, 0) < 0).any():
        raise file.bad(f"an example in {base} stands before its row")
    if (used.sum(axis=2) != np.minimum(bands.count, shape[1])).any():
        raise file.bad(f"{base}/count does not fit the entries")
    return bands


def examples_of(
    file: CheckedFile, top: TopK, at: int, *, row: Callable[[int], Integer[np.ndarray, "pos"]], before: int
) -> list[Example]:
    """The examples of one neuron, strongest first, with the tokens of their windows.

    Args:
        file: the store that `top` was read from.
        top: lists.
        at: where the neuron is in them.
        row: row index in the corpus -> its token ids, without padding.
        before: positions of a window before the peak.
    """
    examples: list[Example] = []
    columns = (top.activation[at].tolist(), top.row[at].tolist(), top.position[at].tolist(), top.window[at])
    for rank, (activation, number, position, window) in enumerate(zip(*columns, strict=True)):
        if number < 0:
            break
        tokens, first = row(number), position - before
        if not 0 <= position < len(tokens):
            raise file.bad(f"an example stands at position {position} of row {number}, which has {len(tokens)}")
        start, stop = max(first, 0), min(first + len(window), len(tokens))
        cut = window[start - first : stop - first]
        examples.append(Example(rank, number, position, activation, start, tokens[start:stop], cut))
    return examples


def read_statistics(file: CheckedFile, base: str, *, n: int, conventions: Any) -> Statistics:
    """The statistics of a layer's n neurons.

    Args:
        file: the store.
        base: of the layer.
        n: neurons.
        conventions: `statistics` of the manifest, or `CONVENTIONS` where it has none.
    """
    base = f"{base}/statistics"
    if conventions != CONVENTIONS:
        raise file.bad(f"the manifest's statistics are {ascii(conventions)[:80]}, expected {CONVENTIONS}")
    shapes: dict[str, tuple[int, ...]] = {"whole": (4, n), "fraction": (4, n), "histogram": (n, BINS)}
    shapes |= {"above": (len(THRESHOLDS), n)} | dict.fromkeys(("positive", "nonfinite"), (n,))
    columns = {name: file.array(f"{base}/{name}", "i8", shape=shape) for name, shape in shapes.items()}
    columns |= {name: file.array(f"{base}/{name}", "f4", shape=(n,)) for name in ("minimum", "maximum")}
    count, sampled = (int(file.array(f"{base}/{name}", "i8", shape=())) for name in ("count", "sampled"))
    if not 0 <= count <= MOST:
        raise file.bad(f"{base}/count is {count}, which no collection counts")
    counts = [columns[name] for name in ("positive", "nonfinite", "above")]
    if not all(((column >= 0) & (column <= count)).all() for column in counts):
        raise file.bad(f"{base} counts more positions than there were")
    bins = columns["histogram"]  # each bin first: the sum of forged ones may overflow
    if not ((bins >= 0) & (bins <= sampled)).all() or (bins.sum(axis=1) > sampled).any() or sampled > count:
        raise file.bad(f"{base}/histogram counts more positions than were drawn")
    return Statistics(count=count, sampled=sampled, **columns)


def read_cases(file: CheckedFile, base: str, *, n: int) -> CaseStatistics | None:
    """How often each neuron is in each sign case; None where they were not collected."""
    base = f"{base}/cases"
    if not file.has(base):
        return None
    columns = {name: file.array(f"{base}/{name}", "i8", shape=(4, n)) for name in ("count", "whole", "fraction")}
    if (columns["count"] < 0).any():
        raise file.bad(f"{base}/count is negative")
    return CaseStatistics(**columns)


def read_experts(file: CheckedFile, base: str, *, neurons: Int64[np.ndarray, "neuron"]) -> Experts | None:
    """Which neurons of a layer belong to which expert; None for a layer without experts.

    Args:
        file: the store.
        base: of the layer.
        neurons: its collected neurons.
    """
    count = base + "/statistics/count"
    base = f"{base}/experts"
    if not file.has(base):
        return None
    offsets, counts = (file.array(f"{base}/{name}", "i8", ndim=1) for name in ("offsets", "count"))
    shared = int(file.array(f"{base}/shared", "i8", shape=()))
    if len(offsets) < 2 or offsets[0] != 0 or (offsets[1:] <= offsets[:-1]).any():
        raise file.bad(f"{base}/offsets does not rise from 0")
    if len(counts) != len(offsets) - 1 or not 0 <= shared <= 1:
        raise file.bad(f"{base} counts {len(counts)} experts, {shared} of them shared, and has {len(offsets) - 1}")
    if neurons.max(initial=-1) >= offsets[-1]:
        raise file.bad(f"{base}/offsets ends at {offsets[-1]}, before neuron {neurons.max()}")
    if not ((counts >= 0) & (counts <= int(file.array(count, "i8", shape=())))).all():
        raise file.bad(f"{base}/count counts more positions than there were")
    return Experts(offsets, shared, counts)


def read_sampled(
    file: CheckedFile, base: str, neurons: slice, *, shape: tuple[int, int]
) -> Float32[np.ndarray, "neuron sample"]:
    """The activation of some neurons of a layer at the sampled positions; `shape` is the whole layer's."""
    found = file.dataset(f"{base}/sample", "f4", 2)
    if found.shape != shape:
        raise file.bad(f"{base}/sample has the shape {found.shape}, expected {shape}")
    with file.reading(f"{base}/sample"):
        return found[neurons]


def read_logit_effects(file: CheckedFile, base: str, *, n: int, d_vocab: int) -> LogitEffects | None:
    """The tokens that each neuron promotes and suppresses; None where they were not computed."""
    base = f"{base}/logits"
    if not file.has(base):
        return None
    types = {"promoted": "i4", "promoted_effect": "f4", "suppressed": "i4", "suppressed_effect": "f4"}
    columns = {name: file.array(f"{base}/{name}", kind, ndim=2) for name, kind in types.items()}
    if len({column.shape for column in columns.values()}) > 1 or columns["promoted"].shape[0] != n:
        raise file.bad(f"the columns of {base} differ in shape")
    tokens = np.concatenate([columns["promoted"].ravel(), columns["suppressed"].ravel()])
    if tokens.size and not 0 <= tokens.min() <= tokens.max() < d_vocab:
        raise file.bad(f"{base} holds ids that the vocabulary does not have")
    return LogitEffects(**columns)
