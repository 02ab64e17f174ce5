"""Comparisons within one layer of a store: lists with rows, windows, statistics, and the sample.

Invariant: each comparison follows from FORMAT.md alone, for a collection with any config; see `check`.
Cost: some ten passes over the layer's arrays in memory, and about twice their size.
"""

# pyright: reportUnnecessaryComparison=false
# `faults.reading` ends a block at an error, so that what is read may still be None.

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Int64

from neurolocal.records import CASES, N_BANDS, SIDES, THRESHOLDS, Bands, Side, Statistics, TopK, histogram_edges
from neurolocal.store.faults import Faults
from neurolocal.store.read import Store

LIST = ("neuron", "rank")
"""Axes of a list."""

BAND = ("neuron", "band", "entry")
"""Axes of bands."""


@dataclass(frozen=True)
class RowLookup:
    """The stored rows by row index, and which of their positions are counted and sampled."""

    index: Int64[np.ndarray, "row"]
    """Row index in the corpus of each stored row, ascending."""
    counted: Bool[np.ndarray, "row pos"]
    """Whether each position of them is counted."""
    sample: Int64[np.ndarray, "sample"]
    """The sampled positions as keys, ascending."""
    text: Int64[np.ndarray, "row pos"] | None = None
    """What names the text up to each position, where lists keep each text once."""

    def find(self, rows: Int64[np.ndarray, "*n"]) -> tuple[Int64[np.ndarray, "*n"], Bool[np.ndarray, "*n"]]:
        """Where rows are stored (0 for those that are not), and whether they are."""
        if not len(self.index):
            return np.zeros(rows.shape, np.int64), np.zeros(rows.shape, bool)
        at = np.minimum(np.searchsorted(self.index, rows), len(self.index) - 1)
        there = self.index[at] == rows
        return np.where(there, at, 0), there

    def counts(self, at: Int64[np.ndarray, "*n"], position: Int[np.ndarray, "*n"]) -> Bool[np.ndarray, "*n"]:
        """Whether positions of stored rows are counted; False beyond a row."""
        if not self.counted.size:
            return np.zeros(at.shape, bool)
        inside = (position >= 0) & (position < self.counted.shape[1])
        return inside & self.counted[at, np.where(inside, position, 0)]

    def keys(self, at: Int64[np.ndarray, "*n"], position: Int[np.ndarray, "*n"]) -> Int64[np.ndarray, "*n"]:
        """One number for each position, ascending by row, then position."""
        return at * max(1, self.counted.shape[1]) + position


def check_layer(store: Store, layer: int, rows: RowLookup | None, faults: Faults, looked: dict[str, int]) -> None:
    """Check one layer.

    Args:
        store: opened at the site.
        layer: one of its layers.
        rows: the stored rows; None skips the comparisons that need them.
        faults: receives what is wrong.
        looked: counts of what was read; added to.
    """
    base = f"collect/{store.site}/{layer}"
    _check_neurons(store, layer, faults)
    statistics = None
    with faults.reading(f"{base}/statistics"):
        statistics = _check_statistics(store, layer, store.statistics(layer), faults)
    sampled = None
    with faults.reading(f"{base}/sample"):
        sampled = store.sampled(layer)
        looked["sampled activations"] += sampled.size
        if statistics is not None:
            low, high = statistics.minimum[:, None], statistics.maximum[:, None]
            out = np.isfinite(sampled) & ((sampled < low) | (sampled > high))
            faults.where(
                f"{base}/sample", out, "minimum to maximum", what="activations beyond", axes=("neuron", "entry")
            )
            odd = (~np.isfinite(sampled)).sum(axis=1) > statistics.nonfinite
            faults.where(f"{base}/sample", odd, "at most `nonfinite`", what="neurons with more NaN or infinities",
                         axes=("neuron",))  # fmt: skip
    with faults.reading(f"{base}/experts"):
        _check_experts(store, layer, statistics, sampled, faults)
    with faults.reading(f"{base}/bands"):
        bands = store.bands(layer)
        if bands is None and store.manifest["config"].get("bands", 0) and not store.imported:
            faults.add(f"{base}/bands", "no such group", "examples of bands, since config.bands is above 0")
        if bands is not None and statistics is not None:
            looked["examples"] += int((bands.row >= 0).sum())
            _check_bands(f"{base}/bands", bands, statistics, rows, faults)
    with faults.reading(f"{base}/cases"):
        _check_cases(store, layer, statistics, faults)
    with faults.reading(f"{base}/logits"):
        _check_effects(store, layer, faults)
    with faults.reading(f"neuroscope/{store.site}/{layer}"):
        _check_pages(store, layer, faults)
    for side in store.sides(layer):
        with faults.reading(f"{base}/{side}"):
            top = store.top(layer, side)
            looked["lists"] += len(top.row)
            looked["examples"] += int((top.row >= 0).sum())
            _check_order(f"{base}/{side}", top, side, faults)
            if statistics is not None and side in SIDES:
                _check_extremes(f"{base}/{side}", top, side, statistics, faults)
            if store.manifest["config"].get("dedupe") or top.text is not None:
                _check_texts(f"{base}/{side}", top, rows, faults)
            if rows is not None:
                _check_windows(f"{base}/{side}", top, side, store=store, rows=rows, faults=faults)
                if sampled is not None:
                    _check_against_sample(f"{base}/{side}", top, sampled, rows, faults)


def _before(store: Store) -> int:
    return store.manifest["config"]["before"]


def _check_neurons(store: Store, layer: int, faults: Faults) -> None:
    """The number of neurons, or the neurons, that the manifest states."""
    place, manifest = f"collect/{store.site}/{layer}", store.manifest
    neurons, chosen, widths = store.neurons(layer), manifest["config"].get("neurons"), manifest["subject"].get("d_mlp")
    if chosen is not None:
        if neurons.tolist() != chosen:
            faults.add(f"{place}/neuron", f"{len(neurons)} neurons, other ones", "the manifest's config.neurons")
    elif store.imported:  # pages of some of them
        if isinstance(widths, list) and layer < len(widths) and neurons.max(initial=-1) >= widths[layer]:
            faults.add(place, f"neuron {neurons.max()}", f"under {widths[layer]}, as the manifest's subject.d_mlp says")
    elif isinstance(widths, list) and layer < len(widths) and len(neurons) != widths[layer]:
        faults.add(place, f"{len(neurons):,} neurons", f"{widths[layer]}, as the manifest's subject.d_mlp says")


def _check_statistics(store: Store, layer: int, s: Statistics, faults: Faults) -> Statistics:
    """Compare counts with each other, the extremes and the other layers; returns them with the manifest's count."""
    base, tokens = f"collect/{store.site}/{layer}/statistics", store.manifest["tokens"]
    if s.count != tokens:
        faults.add(f"{base}/count", f"{s.count:,}", f"the manifest's {tokens:,} tokens, the same in every layer")
        s = dataclasses.replace(s, count=tokens)
    finite = s.count - s.nonfinite
    levels = np.array(THRESHOLDS, np.float32)[:, None]
    unlike = ((s.positive > 0) != (s.maximum > 0)) | (s.positive > finite)
    unlike_above = ((s.above > 0) != (s.maximum > levels)).any(axis=0)
    rising = (np.diff(np.vstack([s.positive, s.above]), axis=0) > 0).any(axis=0)
    for name, wrong, expected in (
        ("fraction", ((s.fraction < 0) | (s.fraction >= 1 << 60)).any(axis=0), "0 to 2^60 - 1"),
        ("maximum", np.isfinite(s.maximum) != (finite > 0), "finite where there is a finite position, else -inf"),
        ("minimum", np.isfinite(s.minimum) != (finite > 0), "finite where there is a finite position, else +inf"),
        ("minimum", (s.minimum > s.maximum) & (finite > 0), "at most the maximum"),
        ("positive", unlike, "above 0 where the maximum is"),
        ("above", unlike_above, "above 0 where the maximum is over the level"),
        ("above", rising & ~unlike & ~unlike_above, "fewer at every higher level"),
        ("histogram", (s.histogram.sum(axis=1) < s.sampled - s.nonfinite), "sums of all that was drawn and is finite"),
    ):
        faults.where(f"{base}/{name}", wrong, expected, what="neurons that differ", axes=("neuron",))
    stored = store.checked.array(f"{base}/mean", "f8", shape=(len(s.maximum),))
    off = ~np.isclose(stored, s.mean, rtol=1e-9, atol=0, equal_nan=True)
    faults.where(f"{base}/mean", off, "the exact sum / finite positions", what="neurons that differ", axes=("neuron",))
    return s


def _check_experts(
    store: Store, layer: int, statistics: Statistics | None, sampled: np.ndarray | None, faults: Faults
) -> None:
    """The layer's experts are the manifest's; a neuron has activations where its expert is asked, at most."""
    base, experts, subject = f"collect/{store.site}/{layer}/experts", store.experts(layer), store.manifest["subject"]
    columns = [subject.get(name) for name in ("experts", "d_expert", "d_shared")]
    if not all(isinstance(column, list) and layer < len(column) for column in columns):
        if experts is not None:
            faults.add(base, f"{len(experts.count)} experts", "none, as the manifest's subject says")
        return
    n, width, shared = [column[layer] for column in columns if isinstance(column, list)]
    expected = [*(e * width for e in range(n + 1)), *([n * width + shared] if shared else [])] if n else []
    if (experts.offsets.tolist() if experts else []) != expected:
        faults.add(
            f"{base}/offsets", "other neurons", f"{n} experts of {width} neurons, as the manifest's subject says"
        )
        return
    if experts is None or statistics is None:
        return
    neurons, count = store.neurons(layer), statistics.count
    own = len(experts.count) - experts.shared
    faults.where(f"{base}/count", experts.count[own:] != count, f"{count:,} at an expert that always runs",
                 what="experts that differ", axes=("expert",))  # fmt: skip
    routed = experts.routed(neurons)
    fewer = statistics.nonfinite < count - routed
    faults.where(f"collect/{store.site}/{layer}/statistics/nonfinite", fewer, "at least the positions routed elsewhere",
                 what="neurons with fewer", axes=("neuron",))  # fmt: skip
    if sampled is None or own == 0:
        return
    of, first = np.unique(np.searchsorted(experts.offsets, neurons, side="right") - 1, return_index=True)
    there = np.logical_or.reduceat(np.isfinite(sampled), first, axis=0).sum(axis=1)
    more = np.zeros(len(experts.count), bool)
    more[of] = there > experts.count[of]
    faults.where(f"{base}/count", more, "at least the sampled positions of the expert", what="experts with fewer",
                 axes=("expert",))  # fmt: skip


def _check_cases(store: Store, layer: int, statistics: Statistics | None, faults: Faults) -> None:
    """Every finite position is in one sign case, and a list is empty exactly where its case never occurs."""
    base, cases = f"collect/{store.site}/{layer}", store.cases(layer)
    if cases is None:
        return
    if statistics is not None:
        off = cases.count.sum(axis=0) != statistics.count - statistics.nonfinite
        faults.where(f"{base}/cases/count", off, "all finite positions", what="neurons that sum to something else",
                     axes=("neuron",))  # fmt: skip
    for number, side in enumerate(CASES):
        used = (store.top(layer, side).row >= 0).sum(axis=1)
        off = ((used > 0) != (cases.count[number] > 0)) | (used > cases.count[number])
        faults.where(f"{base}/{side}", off, "examples where the case occurs, no more than it does",
                     what="neurons without or with too many", axes=("neuron",))  # fmt: skip


def _check_effects(store: Store, layer: int, faults: Faults) -> None:
    """Strongest first."""
    effects, base = store.logit_effects(layer), f"collect/{store.site}/{layer}/logits"
    if effects is None:
        return
    for name, falling in (("promoted", effects.promoted_effect), ("suppressed", -effects.suppressed_effect)):
        faults.where(f"{base}/{name}_effect", ~(falling[:, 1:] <= falling[:, :-1]), "strongest first",
                     what="entries out of order", axes=LIST)  # fmt: skip


def _check_pages(store: Store, layer: int, faults: Faults) -> None:
    """Redundant fields of pages agree with the lists: windows with whole rows, maxima with first examples."""
    lists, base, before = store.pages(layer), f"neuroscope/{store.site}/{layer}", _before(store)
    if lists is None:
        return
    top = store.top(layer, "largest")
    used = top.row >= 0
    faults.where(f"{base}/text", (lists.text >= 0) != used, "a number where there is an example",
                 what="slots that differ", axes=LIST)  # fmt: skip
    other = used.any(axis=1) & (lists.maximum.astype(np.float32) != top.activation[:, 0])
    faults.where(f"{base}/maximum", other, "the first example's activation", what="neurons that differ",
                 axes=("neuron",))  # fmt: skip
    off = np.zeros(used.shape, bool)
    for at in range(len(used)):
        if not used[at].any():  # as in a list of maxima, which has no rows at all
            continue
        whole = store.page_activations(layer, at)
        place = top.position[at][:, None] - before + np.arange(top.window.shape[2])
        inside = (place >= 0) & (place < whole.shape[1])
        seen = np.take_along_axis(whole, np.where(inside, place, 0), axis=1)
        seen = np.where(inside & used[at][:, None], seen, np.nan)
        off[at] = ~((seen == top.window[at]) | (np.isnan(seen) & np.isnan(top.window[at]))).all(axis=1)
    faults.where(f"{base}/activation", off, "the windows of the lists", what="examples that differ", axes=LIST)


def _check_order(place: str, top: TopK, side: Side, faults: Faults) -> None:
    """Strongest first, of equal ones the lower row; each row once."""
    used = top.row >= 0
    strength = np.abs(top.activation) if side in CASES else -top.activation if side == "smallest" else top.activation
    behind, both = strength[:, 1:] > strength[:, :-1], used[:, 1:]
    faults.where(f"{place}/activation", behind & both, "strongest first", what="entries out of order", axes=LIST)
    tied = both & (strength[:, 1:] == strength[:, :-1]) & (top.row[:, 1:] < top.row[:, :-1])
    faults.where(f"{place}/row", tied, "the lower row first", what="equal entries out of order", axes=LIST)
    rows = np.sort(top.row, axis=1)
    twice = ((rows[:, 1:] == rows[:, :-1]) & (rows[:, 1:] >= 0)).any(axis=1)
    faults.where(f"{place}/row", twice, "one example a row", what="neurons with a row twice", axes=("neuron",))
    for name, unused in (
        ("row", top.row[~used] != -1),
        ("position", top.position[~used] != -1),
        ("window", ~np.isnan(top.window[~used]).all(axis=1)),
    ):
        faults.where(f"{place}/{name}", unused, "-1, in windows NaN", what="unused slots with content", axes=("slot",))


def _check_extremes(place: str, top: TopK, side: Side, statistics: Statistics, faults: Faults) -> None:
    """The first of a list is the extreme of all finite positions, and a list is empty only where there is none."""
    extreme, none = (statistics.maximum, -np.inf) if side == "largest" else (statistics.minimum, np.inf)
    first = np.where(top.row[:, 0] >= 0, top.activation[:, 0], np.float32(none))
    faults.where(f"{place}/activation", first != extreme, "the extreme in statistics",
                 what="neurons whose first example is another", axes=("neuron",))  # fmt: skip


def _check_windows(place: str, top: TopK, side: Side, *, store: Store, rows: RowLookup, faults: Faults) -> None:
    """Each example's row is stored, its position is counted, and its window contains it and nothing stronger.

    Of equal activations the first is the example. Pages of another site round, so there a later one of several equal
    values may have been the strongest.
    """
    before = _before(store)
    used = top.row >= 0
    at, there = rows.find(top.row)
    faults.where(f"{place}/row", used & ~there, "rows in rows/index", what="rows that are not stored", axes=LIST)
    good = used & there
    out = good & ~rows.counts(at, top.position)
    faults.where(f"{place}/position", out, "counted positions of their rows", what="positions that are not", axes=LIST)
    centre = np.ascontiguousarray(top.window[:, :, before]).view(np.int32)
    other = used & (centre != np.ascontiguousarray(top.activation).view(np.int32))
    faults.where(f"{place}/window", other, "the activation itself, bit for bit", what="windows with another middle",
                 axes=LIST)  # fmt: skip
    length = rows.counted.shape[1]
    outside, stronger = np.zeros(used.shape, bool), np.zeros(used.shape, bool)
    strength = -top.activation if side == "smallest" else top.activation
    for j in range(top.window.shape[2]):  # column by column: a mask of all windows would be as large as they are
        position, value = top.position + (j - before), top.window[:, :, j]
        inside = (position >= 0) & (position < length)
        outside |= used & ~inside & ~np.isnan(value)
        if side in SIDES and j != before:
            own = -value if side == "smallest" else value
            better = (own >= strength) if j < before and not store.imported else (own > strength)
            some = good & inside & better & np.isfinite(value)
            if some.any():
                stronger |= some & rows.counts(at, position)
    faults.where(f"{place}/window", outside & ~out, "NaN beyond the row", what="windows with values there", axes=LIST)
    faults.where(f"{place}/window", stronger & ~other & ~out, "the strongest of its row, of equals the first",
                 what="examples with a stronger neighbour", axes=LIST)  # fmt: skip


def _check_bands(place: str, bands: Bands, s: Statistics, rows: RowLookup | None, faults: Faults) -> None:
    """Each example lies in its band, counted from the neuron's maximum; each row stands once, and is stored."""
    edges, used = histogram_edges(), bands.row >= 0
    top = np.where(s.maximum > 0, np.searchsorted(edges, np.maximum(s.maximum, 0), side="right"), -1)
    number = np.searchsorted(edges, np.where(used, bands.activation, 0), side="right")
    off = used & ((number != top[:, None, None] - np.arange(N_BANDS)[:, None]) | (bands.activation <= 0))
    faults.where(f"{place}/activation", off, "within the band", what="activations outside", axes=BAND)
    none = (bands.count[:, 0] > 0) != (s.maximum > 0)
    faults.where(f"{place}/count", none, "above 0 in the band of the maximum", what="neurons that differ",
                 axes=("neuron",))  # fmt: skip
    every = np.sort(bands.row.reshape(len(used), -1), axis=1)
    twice = ((every[:, 1:] == every[:, :-1]) & (every[:, 1:] >= 0)).any(axis=1)
    faults.where(f"{place}/row", twice, "one example a row", what="neurons with a row twice", axes=("neuron",))
    if rows is not None:
        at, there = rows.find(bands.row)
        faults.where(f"{place}/row", used & ~there, "rows in rows/index", what="rows that are not stored", axes=BAND)
        out = used & there & ~rows.counts(at, bands.position)
        faults.where(f"{place}/position", out, "counted positions of their rows", what="positions that are not",
                     axes=BAND)  # fmt: skip


def _check_texts(place: str, top: TopK, rows: RowLookup | None, faults: Faults) -> None:
    """A list that keeps each text once says which text each example is, and has none twice."""
    if top.text is None:
        faults.add(f"{place}/text", "no such dataset", "what names each text, since config.dedupe is true")
        return
    used = top.row >= 0
    unused = top.text[~used] != 0
    faults.where(f"{place}/text", unused, "0", what="unused slots with content", axes=("slot",))
    texts = np.sort(np.where(used, top.text, -1 - np.arange(top.text.shape[1])), axis=1)
    twice = (texts[:, 1:] == texts[:, :-1]).any(axis=1)
    faults.where(f"{place}/text", twice, "each text once", what="neurons with a text twice", axes=("neuron",))
    if rows is None or rows.text is None or not rows.text.size:
        return
    at, there = rows.find(top.row)
    position = np.clip(top.position, 0, rows.text.shape[1] - 1)
    other = used & there & (rows.text[at, position] != top.text)
    faults.where(f"{place}/text", other, "the hash of its tokens", what="texts that differ", axes=LIST)


def _check_against_sample(place: str, top: TopK, sampled: np.ndarray, rows: RowLookup, faults: Faults) -> None:
    """Where an example is also in the sample, both have the same activation."""
    at, there = rows.find(top.row)
    if not sampled.size or len(rows.sample) != sampled.shape[1]:
        return
    keys = rows.keys(at, top.position)
    entry = np.minimum(np.searchsorted(rows.sample, keys), len(rows.sample) - 1)
    both = (top.row >= 0) & there & (rows.sample[entry] == keys)
    off = both & (np.take_along_axis(sampled, entry, axis=1) != top.activation)
    faults.where(f"{place}/activation", off, "what the layer's sample holds at that position",
                 what="examples that differ from it", axes=LIST)  # fmt: skip
