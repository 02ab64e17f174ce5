"""Random examples of a store are computed again on the subject: are the stored activations the model's own?

Invariant: an example is reported only where it differs by more than rounding explains; other batch sizes make kernels
add in another order. The subject must have the store's weights, tokenizer and dtype.
Cost: the row indices of every site, layer and side, one at a time; the lists of the chosen neurons; a forward pass over
at most n rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from neurolocal.errors import StoreError
from neurolocal.records import Side, Site, TopK
from neurolocal.subject.batches import Gathered, in_batches

if TYPE_CHECKING:
    from neurolocal.store import Store

TOLERANCE = {"float32": 1e-4, "bfloat16": 1e-1, "float16": 2e-2}
"""Share of a neuron's largest |activation| by which an example may differ, by the dtype of the computation.

On one machine nothing differed at any batch size. Compared with float64, which stands for any other order of adding,
the largest difference in 1,500 windows of stories260k (5 layers) was 2e-6, 8e-2 and 9e-3.
"""

FLOOR = 1e-2
"""A neuron's scale is at least this share of its layer's: rounding depends on the layer's inputs, not on the result."""

BATCH = 8
"""Rows a forward pass on a CPU, and in the first on a GPU."""

WHOLE = 20
"""The lists of a layer are read whole where more than one neuron in so many is chosen."""


@runtime_checkable
class ReplaySubject(Protocol):
    """What a replay needs of a model."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def sha256(self) -> str: ...  # noqa: D102
    @property
    def dtype(self) -> torch.dtype: ...  # noqa: D102
    @property
    def devices(self) -> Sequence[torch.device]: ...  # noqa: D102
    def tokenizer_facts(self) -> dict[str, Any]: ...  # noqa: D102
    def has_tokenizer(self, name: str | None) -> bool: ...  # noqa: D102
    def read(self, tokens: Tensor, readers: Mapping[int, Any], *, sites: Sequence[Site]) -> None: ...  # noqa: D102


class ExampleReplay(NamedTuple):
    """One example: its stored activation, and the activation computed again."""

    site: Site
    layer: int
    side: Side
    neuron: int
    """Index within the layer."""
    rank: int
    row: int
    position: int
    stored: float
    """The activation in the store."""
    now: float
    """The activation computed again."""
    difference: float
    """Largest |difference| over peak and window, as a share of the neuron's largest |activation|; inf for one NaN."""

    def __str__(self) -> str:
        return (
            f"{self.site} layer {self.layer} neuron {self.neuron} {self.side} rank {self.rank}: row {self.row}, "
            f"position {self.position} is {self.stored:.6g} in the store, {self.now:.6g} on the subject; it or its "
            f"window is off by {self.difference:.2g} of the neuron's largest"
        )


@dataclass(frozen=True)
class ReplayReport:
    """The result of a replay."""

    examples: int
    """Examples computed again."""
    rows: int
    """Distinct rows that contain them."""
    tolerance: float
    """Share of a neuron's largest |activation| by which they may differ."""
    largest: float
    """The largest difference, as such a share."""
    of_layer: float
    """The largest |difference| as a share of the layer's largest |activation|."""
    correlation: float
    """Pearson correlation of stored and computed activations at the peaks; NaN for fewer than two examples."""
    off: tuple[ExampleReplay, ...]
    """The examples that differ by more than `tolerance`, largest difference first."""


class _Target(NamedTuple):
    """An example to compute again."""

    site: Site
    layer: int
    side: Side
    at: int
    """Where its neuron is in the layer's arrays."""
    neuron: int
    rank: int
    row: int
    position: int
    activation: float
    window: Float32[np.ndarray, "window"]
    scale: float
    layer_scale: float


def replay(
    store: Store, subject: ReplaySubject, *, n: int, seed: int = 0, tolerance: float | None = None,
    say: Callable[[str], object] | None = None,
) -> ReplayReport:  # fmt: skip
    """Compute random examples of a store again.

    Args:
        store: open; examples come from all of its sites.
        subject: what the store was collected from, in the same dtype.
        n: examples, spread evenly over sites, layers and sides, in distinct rows where there are enough.
        seed: of the choice.
        tolerance: share of a neuron's largest |activation|; None is `TOLERANCE` of the dtype.
        say: receives a line where memory ran out and the batches become smaller.

    Raises:
        StoreError: the store was made with other weights, another tokenizer or another dtype, or is damaged.
        SubjectError: not even one row fits into memory.
    """
    dtype = _require_same(store, subject)
    limit = TOLERANCE[dtype] if tolerance is None else tolerance
    chosen = _choose(store, n, np.random.default_rng(seed))
    tokens, length = store.rows_stored
    found = list[tuple[ExampleReplay, float]]()
    of_row: dict[int, list[_Target]] = {}
    for c in chosen:
        of_row.setdefault(c.row, []).append(c)
    at = dict(zip(rows := sorted(of_row), np.searchsorted(store.row_index, rows).tolist(), strict=True))

    def run(some: Sequence[int]) -> list[tuple[_Target, Float32[np.ndarray, "pos"]]]:
        ids = torch.from_numpy(tokens[[at[row] for row in some]].astype(np.int64))
        return _computed(subject, ids, [of_row[row] for row in some])

    batches = in_batches(
        subject, rows, run, size=BATCH, tokens=tokens.shape[1], doing=f"replaying {store.path}", say=say
    )
    for _, computed in batches:
        found += [_compared(c, values, int(length[at[c.row]]), store) for c, values in computed]
    stored, now = (np.array([getattr(one, name) for one, _ in found]) for name in ("stored", "now"))
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = float(np.corrcoef(stored, now)[0, 1]) if len(found) > 1 else float("nan")
    off = sorted((one for one, _ in found if not one.difference <= limit), key=lambda one: -one.difference)
    return ReplayReport(
        examples=len(found),
        rows=len(rows),
        tolerance=limit,
        largest=max((one.difference for one, _ in found), default=0.0),
        of_layer=max((share for _, share in found), default=0.0),
        correlation=correlation,
        off=tuple(off),
    )


def _require_same(store: Store, subject: ReplaySubject) -> str:
    """The dtype of both.

    Raises:
        StoreError: the subject is not the one that the store was made with.
    """
    there, known = store.manifest, store.manifest["tokenizer"].get("sha256")
    own = str(subject.dtype).removeprefix("torch.")
    for what, mine, stored in (
        ("weights", subject.sha256, there["subject"].get("sha256")),
        ("tokenizer", known if subject.has_tokenizer(known) else subject.tokenizer_facts()["sha256"], known),
        ("dtype", own, there["config"].get("dtype")),
    ):
        if mine != stored or (what == "dtype" and own not in TOLERANCE):
            raise StoreError(
                f"replaying {store.path} on {subject.name}: the store was made with another {what} "
                f"({str(stored)[:12]}, this is {mine[:12]}). Give the subject that it was collected with."
            )
    return own


def _choose(store: Store, n: int, rng: np.random.Generator) -> list[_Target]:
    """Random examples, spread evenly over sites, layers and sides, in rows not chosen yet where there are any."""
    from neurolocal.store import Store

    opened: dict[Site, Store] = {site: Store(store.path, site=site) for site in store.sites}
    try:
        places: list[tuple[Site, int, Side]] = [
            (site, layer, side) for site, one in opened.items() for layer in one.layers for side in one.sides(layer)
        ]
        each = np.bincount(rng.permutation(max(1, len(places)))[np.arange(n) % max(1, len(places))])
        found, taken = list[_Target](), set[int]()
        scales = _Scales()
        for (site, layer, side), wanted in zip(places, each.tolist(), strict=False):
            if wanted:
                scale = scales.of(opened[site], layer)
                found += _choose_at(opened[site], layer, side, scale, wanted=wanted, taken=taken, rng=rng)
        return found
    finally:
        for one in opened.values():
            one.close()


class _Scales:
    """The largest |activation| of each neuron; the statistics of a layer are read once for all of its sides."""

    def __init__(self) -> None:
        self._last: tuple[tuple[Site, int], Float32[np.ndarray, "neuron"]] | None = None

    def of(self, store: Store, layer: int) -> Float32[np.ndarray, "neuron"]:
        if self._last is None or self._last[0] != (store.site, layer):
            statistics = store.statistics(layer)
            size = np.maximum(np.abs(statistics.minimum), np.abs(statistics.maximum))
            self._last = (store.site, layer), size
        return self._last[1]


def _choose_at(
    store: Store, layer: int, side: Side, size: Float32[np.ndarray, "neuron"], *, wanted: int, taken: set[int],
    rng: np.random.Generator,
) -> list[_Target]:  # fmt: skip
    """Random examples of one layer and side; their rows are added to `taken`."""
    rows, neurons = store.example_rows(layer, side), store.neurons(layer)
    most = float(size[np.isfinite(size)].max(initial=0.0))
    at, rank = np.nonzero(rows >= 0)
    order = rng.permutation(len(at))
    fresh: list[int] = []
    for i in order.tolist():
        row = int(rows[at[i], rank[i]])
        if row not in taken:
            taken.add(row)
            fresh.append(i)
            if len(fresh) == wanted:
                break
    used = set(fresh)
    fresh += [i for i in order.tolist() if i not in used][: wanted - len(fresh)] if len(fresh) < wanted else []
    lists = _lists_of(store, layer, side, {int(at[i]) for i in fresh}, of=len(rows))
    found: list[_Target] = []
    for i in fresh:
        (top, own), r = lists[int(at[i])], int(rank[i])
        found.append(
            _Target(
                store.site, layer, side, int(at[i]), int(neurons[at[i]]), r, int(top.row[own, r]),
                int(top.position[own, r]), float(top.activation[own, r]), top.window[own, r],
                max(float(size[at[i]]), FLOOR * most), most,
            )
        )  # fmt: skip
    return found


def _lists_of(store: Store, layer: int, side: Side, wanted: set[int], *, of: int) -> dict[int, tuple[TopK, int]]:
    """The lists that hold each wanted neuron, and where in them: read neuron by neuron, or whole where most are."""
    if WHOLE * len(wanted) >= of:
        top = store.top(layer, side)
        return {at: (top, at) for at in wanted}
    return {at: (store.top(layer, side, slice(at, at + 1)), 0) for at in wanted}


def _computed(
    subject: ReplaySubject, tokens: Tensor, of_rows: Sequence[Sequence[_Target]]
) -> list[tuple[_Target, Float32[np.ndarray, "pos"]]]:
    """The examples of each row of a batch, with the activations of the example's neuron over its whole row."""
    chosen = [(b, c) for b, some in enumerate(of_rows) for c in some]
    sites: tuple[Site, ...] = tuple(dict[Site, None].fromkeys(c.site for _, c in chosen))
    gathered = Gathered()

    def reader(layer: int) -> Callable[..., None]:
        def see(*x: Tensor) -> None:
            gathered.add(
                [(i, x[sites.index(c.site)][b, :, c.neuron]) for i, (b, c) in enumerate(chosen) if c.layer == layer]
            )

        return see

    subject.read(tokens, {c.layer: reader(c.layer) for _, c in chosen}, sites=sites)
    values = gathered.arrays()
    return [(c, values[i]) for i, (_, c) in enumerate(chosen)]


def _compared(c: _Target, values: Float32[np.ndarray, "pos"], length: int, store: Store) -> tuple[ExampleReplay, float]:
    """An example with what was computed, and its difference as a share of the layer's largest |activation|."""
    first = c.position - store.manifest["config"]["before"]
    places = np.arange(max(first, 0), min(first + len(c.window), length))
    stored = np.concatenate([[c.activation], c.window[places - first]]).astype(np.float64)
    now = np.concatenate([[values[c.position]], values[places]]).astype(np.float64)
    with np.errstate(invalid="ignore"):
        gap = np.where((stored == now) | (np.isnan(stored) & np.isnan(now)), 0.0, np.abs(stored - now))
    most = float(np.where(np.isnan(gap), np.inf, gap).max())
    return (
        ExampleReplay(
            c.site, c.layer, c.side, c.neuron, c.rank, c.row, c.position, c.activation, float(values[c.position]),
            most / c.scale if most else 0.0,
        ),
        most / c.layer_scale if most else 0.0,
    )  # fmt: skip
