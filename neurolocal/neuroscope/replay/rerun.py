"""A store's texts run through a subject: the subject's activations at every site, compared with the store's.

Invariant: one forward pass a row, whatever the texts and sites. A NaN of the subject counts as an infinite difference;
a position that was not run counts as no difference.
Cost: the forward pass; memory for the neurons of one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64
from torch import Tensor

from neurolocal.neuroscope.replay.texts import StoreText, SubjectRows
from neurolocal.progress import Bar
from neurolocal.records import Site
from neurolocal.subject import Subject
from neurolocal.subject.batches import Gathered, in_batches

BATCH = 8
"""Rows a forward pass on a CPU, and in the first on a GPU."""

SHIFTS = (0, 1, -1)
"""Positions by which a page's values may be shifted against their tokens."""

FOLDED = "post, LayerNorm folded"
"""`post` of a `solu_ln` model whose LayerNorm's weights are folded into the out projection, as TransformerLens does."""


class Computed(NamedTuple):
    """What a subject computes over one row, for one neuron."""

    values: Float32[np.ndarray, "pos"]
    """0 where it was not run."""
    run: Bool[np.ndarray, "pos"]
    """The positions that were run."""


class TextDifference(NamedTuple):
    """One text of the store, compared with the subject."""

    text: StoreText
    n: int
    """Activations compared."""
    same_peak: bool
    """Whether the largest of them is at the same position."""
    largest: float
    """Largest |difference|."""
    relative: float
    """The same, minus the rounding error of the pages' decimals, as a share of `text.scale`."""
    moments: Float64[np.ndarray, "5"]
    """Sums of the store's values, the subject's, their squares and their product, for correlations."""


def rerun(
    rows: SubjectRows, subject: Subject, texts: Sequence[StoreText], *, dtype: str, bos: str, bar: bool
) -> dict[tuple[str, int], list[TextDifference]]:
    """Compare every text at every site and shift, in one pass over their rows.

    Args:
        rows: of the texts' store, in the subject's ids.
        subject: to run.
        texts: to compare.
        dtype: `autocast` runs float32 weights under bfloat16 autocast; others are the subject's own.
        bos: `as shown`, `put before` or `left out`; see `Hypothesis.bos`.
        bar: whether to show a progress bar.
    """
    shifts = SHIFTS if bos == "as shown" else (0,)
    found: dict[tuple[str, int], list[TextDifference]] = {}
    for text, of_sites in computed(rows, subject, texts, dtype=dtype, bos=bos, bar=bar):
        for site, (ours, run) in of_sites.items():
            for shift in shifts:
                one = _difference(text, shifted(ours, shift), shifted(run, shift), rows)
                if one is not None:
                    found.setdefault((site, shift), []).append(one)
    return found


def computed(
    rows: SubjectRows, subject: Subject, texts: Sequence[StoreText], *, dtype: str, bos: str, bar: bool
) -> Iterator[tuple[StoreText, dict[str, Computed]]]:
    """Each text with what the subject computes at its positions, by site; row by row, not in the order of `texts`.

    The arguments are those of `rerun`.
    """
    of_row: dict[int, list[StoreText]] = {}
    for text in texts:
        of_row.setdefault(text.row, []).append(text)
    order = sorted(of_row, key=lambda row: (len(rows.of(subject, row)), row))
    sites = [*subject.sites, *([FOLDED] if "mid" in subject.sites else [])]

    def run(some: Sequence[int]) -> list[tuple[int, list[dict[str, np.ndarray]]]]:
        batch = [_with_bos(rows.of(subject, row), subject, bos) for row in some]
        around = torch.autocast(subject.device.type, torch.bfloat16) if dtype == "autocast" else nullcontext()
        with around:
            found = _computed(subject, [ids for ids, _ in batch], [of_row[row] for row in some], sites)
        return [(first, of_texts) for (_, first), of_texts in zip(batch, found, strict=True)]

    longest = len(rows.of(subject, order[-1])) if order else 0
    with Bar(total=len(order), desc="replay", unit="row", disable=not bar) as shown:
        for some, of_batch in in_batches(subject, order, run, size=BATCH, tokens=longest, doing="replaying pages"):
            shown.update(len(some))
            for row, (first, of_texts) in zip(some, of_batch, strict=True):
                for text, of_sites in zip(of_row[row], of_texts, strict=True):
                    yield text, {site: _aligned(of_sites[site], first, len(text.values)) for site in sites}


def _with_bos(ids: Int64[np.ndarray, "pos"], subject: Subject, bos: str) -> tuple[Int64[np.ndarray, "run"], int]:
    """The ids to run, and the position in the row of the first of them."""
    if bos == "left out":
        return ids[1:], 1
    if bos == "put before" and subject.bos is not None:
        return np.concatenate([[subject.bos], ids])[: subject.n_ctx], -1
    return ids, 0


def _computed(
    subject: Subject, ids: Sequence[np.ndarray], texts: Sequence[Sequence[StoreText]], sites: Sequence[str]
) -> list[list[dict[str, np.ndarray]]]:
    """For each row and text, the activations of the text's neuron over the row, by site."""
    tokens = np.zeros((len(ids), max(1, max(map(len, ids)))), np.int64)
    for i, row in enumerate(ids):
        tokens[i, : len(row)] = row
    real: tuple[Site, ...] = subject.sites
    gathered = Gathered()

    def reader(layer: int) -> Callable[..., None]:
        def see(*x: Tensor) -> None:
            seen: dict[str, Tensor] = dict(zip(real, x, strict=True))
            if FOLDED in sites:
                mid = seen["mid"].float()
                seen[FOLDED] = torch.nn.functional.layer_norm(mid, mid.shape[-1:], eps=1e-5)
            gathered.add(
                [
                    ((i, j, site), seen[site][i, : len(ids[i]), text.neuron])
                    for i, some in enumerate(texts)
                    for j, text in enumerate(some)
                    if text.layer == layer
                    for site in sites
                ]
            )

        return see

    layers = {text.layer for some in texts for text in some}
    subject.read(torch.from_numpy(tokens), {layer: reader(layer) for layer in layers}, sites=real)
    values = gathered.arrays()
    return [[{site: values[i, j, site] for site in sites} for j in range(len(some))] for i, some in enumerate(texts)]


def _aligned(ours: Float32[np.ndarray, "run"], first: int, length: int) -> Computed:
    """The computed values at the positions of the row, and which of these were run."""
    found, run = np.zeros(length, np.float32), np.zeros(length, bool)
    ours, start = ours[max(-first, 0) :], max(first, 0)
    n = min(len(ours), length - start)
    found[start : start + n], run[start : start + n] = ours[:n], True
    return Computed(found, run)


def shifted(x: np.ndarray, shift: int) -> np.ndarray:
    """Each position's value from `shift` positions before; 0 or False beyond the row."""
    if not shift:
        return x
    found = np.zeros_like(x)
    found[max(shift, 0) : len(x) + min(shift, 0)] = x[max(-shift, 0) : len(x) - max(shift, 0)]
    return found


def _difference(
    text: StoreText, ours: Float32[np.ndarray, "pos"], run: Bool[np.ndarray, "pos"], rows: SubjectRows
) -> TextDifference | None:
    """One text compared; None if no position can be compared."""
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
    return TextDifference(text, len(a), peak == text.position, gap, max(gap - rows.rounded, 0.0) / text.scale, moments)


def correlation(compared: Sequence[TextDifference]) -> float:
    """Pearson's correlation over all activations compared; NaN if one side is constant or not finite."""
    n = sum(c.n for c in compared)
    a, b, aa, bb, ab = np.sum([c.moments for c in compared], axis=0) / max(n, 1)
    with np.errstate(invalid="ignore"):
        variance = (aa - a * a) * (bb - b * b)
    return float((ab - a * b) / np.sqrt(variance)) if variance > 0 else float("nan")


def by_layer(compared: Sequence[TextDifference]) -> Mapping[int, list[TextDifference]]:
    """The texts of each layer."""
    found: dict[int, list[TextDifference]] = {}
    for c in compared:
        found.setdefault(c.text.layer, []).append(c)
    return found
