"""A store's texts run through a subject: what it says of each activation, at every site, beside what the store says.

Invariant: one forward pass a row, whatever the texts and sites; a subject's NaN is a difference without bound, a
position that was not run is none. Cost: the pass; in memory one batch's neurons, and 4 bytes a position of each text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64
from torch import Tensor
from tqdm import tqdm

from neurolocal.collect.replay import FLOOR
from neurolocal.neuroscope.resolve import Resolver
from neurolocal.records import Site
from neurolocal.store import Store
from neurolocal.subject import Subject

BATCH = 8
"""Rows a forward pass."""

ROUNDED = 1e-6
"""What six decimals, and float32 behind them, cannot say; of pages."""

SHIFTS = (0, 1, -1)
"""Positions by which values may stand behind their tokens."""

FOLDED = "post, LayerNorm folded"
"""`post` of a `solu_ln` model whose LayerNorm's weights are folded into the out projection, as TransformerLens does."""


class Text(NamedTuple):
    """What a store says of one text."""

    layer: int
    neuron: int
    """Index within the layer."""
    rank: int
    row: int
    """Data index."""
    position: int
    """Of the peak."""
    values: Float32[np.ndarray, "pos"]
    """Over the row; NaN where it does not say."""
    scale: float
    """The neuron's largest |activation|, or `FLOOR` of its layer's."""


class Compared(NamedTuple):
    """One text, as told and as computed."""

    text: Text
    n: int
    """Activations compared."""
    same_peak: bool
    """Whether the strongest of them is at the same position."""
    largest: float
    """Largest |difference|."""
    relative: float
    """The same, less what the pages' decimals round, as a share of `text.scale`."""
    moments: Float64[np.ndarray, "5"]
    """Sums of told, computed, their squares and their product, for correlations."""


def texts_of(store: Store, seed: int) -> Iterator[Text]:
    """The texts of a store, in a random order."""
    tops = {layer: (store.top(layer, "largest"), store.neurons(layer)) for layer in store.layers}
    places = [
        (layer, at, rank)
        for layer, (top, _) in tops.items()
        for at, rank in zip(*(a.tolist() for a in np.nonzero(top.row >= 0)), strict=True)
    ]
    scales = {}
    for layer, (top, _) in tops.items():
        peaks = np.abs(np.where(top.row >= 0, top.activation, 0)).max(axis=1, initial=0)
        scales[layer] = np.maximum(peaks, FLOOR * peaks.max(initial=0))
    before, width = store.manifest["config"]["before"], store.rows_stored[0].shape[1]
    for i in np.random.default_rng(seed).permutation(len(places)).tolist():
        layer, at, rank = places[i]
        top, neurons = tops[layer]
        row, position = int(top.row[at, rank]), int(top.position[at, rank])
        if store.imported:
            values = store.page_activations(layer, at)[rank].copy()  # a view would keep the neuron's whole block
        else:
            values = np.full(width, np.nan, np.float32)
            first = position - before
            low, high = max(first, 0), min(first + top.window.shape[2], width)
            values[low:high] = top.window[at, rank, low - first : high - first]
        yield Text(layer, int(neurons[at]), rank, row, position, values, float(scales[layer][at]) or 1.0)


class Rows:
    """The store's rows in the ids of subjects, as far as these are known and the subject's context reaches."""

    def __init__(self, store: Store) -> None:
        """Nothing resolved yet."""
        self.store = store
        config = store.manifest["config"]
        self.counts_bos = bool(config.get("count_bos")) or config.get("bos") != "prepend"
        self.rounded = ROUNDED if store.imported else 0.0
        self._resolvers: dict[str, Resolver] = {}
        self._rows: dict[tuple[str, int], Int64[np.ndarray, "_"]] = {}

    def resolver(self, subject: Subject) -> Resolver:
        """Of the subject's tokenizer."""
        name = subject.tokenizer_facts()["sha256"]
        if name not in self._resolvers:
            vocabulary = self.store.vocabulary
            self._resolvers[name] = Resolver(subject, vocabulary.str_tokens(range(len(vocabulary.tokens))))
        return self._resolvers[name]

    def of(self, subject: Subject, row: int) -> Int64[np.ndarray, "_"]:
        """The ids of a row, up to the first that is not known."""
        name = subject.tokenizer_facts()["sha256"]
        if (name, row) not in self._rows:
            tokens = self.store.row(row)
            own = name == self.store.manifest["tokenizer"].get("sha256")
            found = tokens.astype(np.int64)
            if not own:
                resolved = self.resolver(subject).resolve(tokens)
                found = resolved.ids[: resolved.known]
            self._rows[name, row] = found
        return self._rows[name, row][: subject.n_ctx]


def compare(
    rows: Rows, subject: Subject, texts: Sequence[Text], *, dtype: str, bos: str, bar: bool
) -> dict[tuple[str, int], list[Compared]]:
    """Every text at every site and shift, in one pass over their rows.

    Args:
        rows: of the texts' store.
        subject: to run.
        texts: to compare.
        dtype: `autocast` runs float32 weights under bfloat16 autocast; others are the subject's own.
        bos: `as shown`, `put before` or `left out`.
        bar: whether to show a progress bar.
    """
    of_row: dict[int, list[Text]] = {}
    for text in texts:
        of_row.setdefault(text.row, []).append(text)
    order = sorted(of_row, key=lambda row: (len(rows.of(subject, row)), row))
    sites = [*subject.sites, *([FOLDED] if "mid" in subject.sites else [])]
    shifts = SHIFTS if bos == "as shown" else (0,)
    found: dict[tuple[str, int], list[Compared]] = {(site, shift): [] for site in sites for shift in shifts}
    for low in tqdm(range(0, len(order), BATCH), "replay", unit="batch", disable=not bar):
        some = order[low : low + BATCH]
        batch = [_with_bos(rows.of(subject, row), subject, bos) for row in some]
        around = torch.autocast(subject.device.type, torch.bfloat16) if dtype == "autocast" else nullcontext()
        with around:
            computed = _computed(subject, [ids for ids, _ in batch], [of_row[row] for row in some], sites)
        for (_, first), row, of_texts in zip(batch, some, computed, strict=True):
            for text, of_sites in zip(of_row[row], of_texts, strict=True):
                for site in sites:
                    ours, run = _aligned(of_sites[site], first, len(text.values))
                    for shift in shifts:
                        one = _compared(text, _shifted(ours, shift), _shifted(run, shift), rows)
                        if one is not None:
                            found[site, shift].append(one)
    return {key: compared for key, compared in found.items() if compared}


def _with_bos(ids: Int64[np.ndarray, "pos"], subject: Subject, bos: str) -> tuple[Int64[np.ndarray, "run"], int]:
    """The ids to run, and where in the row the first of them stands."""
    if bos == "left out":
        return ids[1:], 1
    if bos == "put before" and subject.bos is not None:
        return np.concatenate([[subject.bos], ids])[: subject.n_ctx], -1
    return ids, 0


def _computed(
    subject: Subject, ids: Sequence[np.ndarray], texts: Sequence[Sequence[Text]], sites: Sequence[str]
) -> list[list[dict[str, np.ndarray]]]:
    """For each row and text, what the text's neuron does over the row, by site."""
    tokens = np.zeros((len(ids), max(1, max(map(len, ids)))), np.int64)
    for i, row in enumerate(ids):
        tokens[i, : len(row)] = row
    real: tuple[Site, ...] = subject.sites
    found: list[list[dict[str, np.ndarray]]] = [[{} for _ in some] for some in texts]

    def reader(layer: int) -> Callable[..., None]:
        def see(*x: Tensor) -> None:
            seen: dict[str, Tensor] = dict(zip(real, x, strict=True))
            if FOLDED in sites:
                mid = seen["mid"].float()
                seen[FOLDED] = torch.nn.functional.layer_norm(mid, mid.shape[-1:], eps=1e-5)
            for i, some in enumerate(texts):
                for j, text in enumerate(some):
                    if text.layer == layer:
                        for site in sites:
                            values = seen[site][i, : len(ids[i]), text.neuron]
                            found[i][j][site] = values.float().cpu().numpy().copy()  # a view would keep the layer

        return see

    layers = {text.layer for some in texts for text in some}
    subject.read(torch.from_numpy(tokens), {layer: reader(layer) for layer in layers}, sites=real)
    return found


def _aligned(
    ours: Float32[np.ndarray, "run"], first: int, length: int
) -> tuple[Float32[np.ndarray, "pos"], Bool[np.ndarray, "pos"]]:
    """What was computed, at the positions of the row, and which of these were run."""
    found, run = np.zeros(length, np.float32), np.zeros(length, bool)
    ours, start = ours[max(-first, 0) :], max(first, 0)
    n = min(len(ours), length - start)
    found[start : start + n], run[start : start + n] = ours[:n], True
    return found, run


def _shifted(x: np.ndarray, shift: int) -> np.ndarray:
    """What stands `shift` positions before each; 0 or False where that is beyond the row."""
    if not shift:
        return x
    found = np.zeros_like(x)
    found[max(shift, 0) : len(x) + min(shift, 0)] = x[max(-shift, 0) : len(x) - max(shift, 0)]
    return found


def _compared(
    text: Text, ours: Float32[np.ndarray, "pos"], run: Bool[np.ndarray, "pos"], rows: Rows
) -> Compared | None:
    both = np.isfinite(text.values) & run
    if not both.any():
        return None
    a, b = text.values[both].astype(np.float64), ours[both].astype(np.float64)
    gap = float(np.abs(a - b).max()) if np.isfinite(b).all() else float("inf")
    competing = both.copy()
    competing[0] &= rows.counts_bos
    peak = int(np.argmax(np.where(competing, np.nan_to_num(ours), -np.inf))) if competing.any() else -1
    with np.errstate(invalid="ignore", over="ignore"):
        moments = np.array([a.sum(), b.sum(), (a * a).sum(), (b * b).sum(), (a * b).sum()])
    return Compared(text, len(a), peak == text.position, gap, max(gap - rows.rounded, 0.0) / text.scale, moments)


def correlation(compared: Sequence[Compared]) -> float:
    """Pearson's over all activations compared; NaN where one of the two does not vary, or is not finite."""
    n = sum(c.n for c in compared)
    a, b, aa, bb, ab = np.sum([c.moments for c in compared], axis=0) / max(n, 1)
    with np.errstate(invalid="ignore"):
        variance = (aa - a * a) * (bb - b * b)
    return float((ab - a * b) / np.sqrt(variance)) if variance > 0 else float("nan")


def by_layer(compared: Sequence[Compared]) -> Mapping[int, list[Compared]]:
    """The texts of each layer."""
    found: dict[int, list[Compared]] = {}
    for c in compared:
        found.setdefault(c.text.layer, []).append(c)
    return found
