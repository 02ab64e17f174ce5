"""What a store's examples say, computed again: are weights, tokenizer, site, BOS and dtype those that it was made with?

Made for stores that were imported from pages, where nothing but the pages says how they were made; no corpus is needed.
Each text is compared activation by activation. Where the subject as it stands does not say the same, the usual suspects
are tried on some of the rows: another site, SoLU's folded LayerNorm, a BOS that was put before or left out, values
shifted by one, bfloat16, other checkpoints. The one that fits is named.
Invariant: a suspect is named only where it fits much better than what was asked for. Cost: one forward pass over the
chosen rows, and where they do not agree some ten over at most `SUSPECT_ROWS` of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor
from tqdm import tqdm

from neurolocal.collect.replay import FLOOR, TOLERANCE
from neurolocal.errors import StoreError, SubjectError
from neurolocal.neuroscope.resolve import Resolver, Row
from neurolocal.records import Site
from neurolocal.store import Store
from neurolocal.subject import Subject

BATCH = 8
"""Rows a forward pass."""

SUSPECT_ROWS = 32
"""Rows that suspects are tried on."""

ROUNDED = 1e-6
"""What six decimals, and float32 behind them, cannot say; of pages."""

ENOUGH = 0.99
"""Share of the texts that must be within the tolerance."""

ALIKE = 0.999
"""Correlation over all activations under which nothing agrees, however wide bfloat16's tolerance is."""

BETTER = 0.5
"""A suspect must have less than this share of the error of what was asked for."""

FOLDED = "post, LayerNorm folded"
"""`post` of a `solu_ln` model whose LayerNorm's weights are folded into the out projection, as TransformerLens does."""


class Way(NamedTuple):
    """One way in which the pages may have been made."""

    subject: str
    dtype: str
    """`float32`, `bfloat16`, `float16`, or `autocast`: float32 weights under bfloat16 autocast."""
    bos: str
    """`as shown`, `put before` (the pages do not show it), `left out` (they show one that was not run)."""
    site: str
    shift: int
    """Positions by which the pages' values stand behind their tokens."""

    def unlike(self, asked: Way) -> list[str]:
        """How it differs from what was asked for, in words."""
        said = {
            "subject": f"the subject is {self.subject}, not {asked.subject}",
            "dtype": f"computed in {_DTYPES[self.dtype]}, not {_DTYPES[asked.dtype]}",
            "bos": {"put before": "a BOS that the pages do not show was put before every row",
                    "left out": "the BOS that the pages show was not run"}.get(self.bos, ""),
            "site": f"read at {self.site}, not {asked.site}",
            "shift": f"values stand {abs(self.shift)} position {'behind' if self.shift > 0 else 'before'} their tokens",
        }  # fmt: skip
        return [text for name, text in said.items() if getattr(self, name) != getattr(asked, name)]


_DTYPES = {
    "float32": "float32",
    "bfloat16": "bfloat16",
    "float16": "float16",
    "autocast": "float32 under bfloat16 autocast",
}


class Told(NamedTuple):
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

    told: Told
    n: int
    """Activations compared."""
    same_peak: bool
    """Whether the strongest of them is at the same position."""
    largest: float
    """Largest |difference|."""
    relative: float
    """The same, less what the pages' decimals round, as a share of `told.scale`."""
    moments: Float64[np.ndarray, "5"]
    """Sums of told, computed, their squares and their product, for correlations."""


@dataclass(frozen=True)
class Tried:
    """How well one way fits."""

    way: Way
    texts: int
    error: float
    """Median over the texts of the largest |difference|, as a share of their neuron's largest |activation|."""
    agree: float
    """Share of the texts within the tolerance of its dtype."""
    correlation: float
    """Of all activations compared."""


@dataclass(frozen=True)
class OfNeuron:
    """How the texts of one neuron compare."""

    layer: int
    neuron: int
    texts: int
    same_peak: int
    """Texts whose strongest token is the same."""
    largest: float
    """Largest |difference|."""
    relative: float
    """The same, less what the pages' decimals round, as a share of the neuron's largest |activation|."""
    correlation: float


@dataclass(frozen=True)
class Replayed:
    """What a replay found."""

    asked: Tried
    """The subject as it stands, on all texts."""
    fits: Tried
    """The way that fits best: `asked`, or a suspect on some of the rows."""
    level: str
    """What `fits` agrees within: `float32`, `bfloat16`, or `nothing`."""
    tried: tuple[Tried, ...]
    """All ways, best first."""
    neurons: tuple[OfNeuron, ...]
    """As asked, worst first."""
    texts: int
    activations: int
    same_peak: int
    largest: float
    """Largest |difference|."""
    relative: float
    """The same, less what the pages' decimals round, as a share of its neuron's largest |activation|."""
    left_out: int
    """Texts whose peak stands behind a token with no known id."""
    absent: int
    """Tokens that the tokenizer does not have."""
    ambiguous: int
    """Tokens for which it has several."""

    @property
    def agrees(self) -> bool:
        """Whether the subject's weights and tokenizer are those of the store, read at a place and in a dtype it has."""
        way = self.fits.way
        plain = way.bos == "as shown" and not way.shift and way.site != FOLDED
        return self.level != "nothing" and way.subject == self.asked.way.subject and plain


Load = Callable[[str | None, str], Subject]
"""Name or path of a subject (None: the one asked for), dtype -> the subject."""


def replay(
    store: Store, load: Load, *, dtype: str, texts: int | None, seed: int = 0, others: Sequence[str] = (),
    say: Callable[[str], None] = print, bar: bool = True,
) -> Replayed:  # fmt: skip
    """Compute texts of a store again, and find the way in which they were made.

    Args:
        store: open at the site that is replayed; imported or collected.
        load: loads subjects.
        dtype: that the subject asked for computes in.
        texts: how many, drawn at random; None is all.
        seed: of the draw.
        others: further checkpoints to try where the subject asked for does not fit.
        say: told what is tried.
        bar: whether to show a progress bar.

    Raises:
        StoreError: no text, or the subject lacks the store's layers, neurons or tokens.
        SubjectError: the subject cannot be loaded, or has not the store's site.
    """
    subject = load(None, dtype)
    _require_fit(store, subject)
    rows = _Rows(store)
    usable, left_out = list[Told](), 0
    for t in _told(store, seed):
        if rows.of(subject, t.row).known > t.position:
            usable.append(t)
        else:
            left_out += 1
        if len(usable) == texts:
            break
    resolver = rows.resolver(subject)
    if not usable and not left_out:
        raise StoreError(f"replaying {store.path}: it holds no example. Import or collect some first.")
    if not usable:
        raise StoreError(
            f"replaying {store.path} on {subject.name}: of {left_out:,} texts none can be put into its token ids "
            f"({resolver.absent:,} tokens that it does not have, {resolver.ambiguous:,} ambiguous). "
            "Give the subject with the tokenizer that the pages were made with."
        )
    asked = Way(subject.name, dtype, "as shown", store.site, 0)
    found = dict(_compare(rows, subject, usable, dtype=dtype, bos="as shown", bar=bar))
    base = _tried(asked, found[asked.site, 0])
    tried = [_tried(asked._replace(site=site, shift=shift), f) for (site, shift), f in found.items()]
    if base.agree < ENOUGH:
        some = _some_rows(usable)
        base_there = _tried(asked, [c for c in found[asked.site, 0] if c.told.row in {t.row for t in some}])
        tried = [base_there, *_suspects(rows, load, subject, some, asked, others, say=say)]
    tried.sort(key=lambda t: (t.error, len(t.way.unlike(asked))))
    fits = tried[0] if tried[0].error < BETTER * base.error and base.agree < ENOUGH else base
    compared = found[asked.site, 0]
    return Replayed(
        asked=base,
        fits=fits,
        level=_level(fits),
        tried=tuple(tried),
        neurons=tuple(_by_neuron(compared)),
        texts=len(compared),
        activations=sum(c.n for c in compared),
        same_peak=sum(c.same_peak for c in compared),
        largest=max(c.largest for c in compared),
        relative=max(c.relative for c in compared),
        left_out=left_out,
        absent=resolver.absent,
        ambiguous=resolver.ambiguous,
    )


def _level(tried: Tried) -> str:
    """What a way agrees within; float32 may also agree as far as the pages' own bfloat16 lets it."""
    if tried.way.dtype == "float32" and tried.agree >= ENOUGH:
        return "float32"
    near = tried.correlation > ALIKE
    if near and tried.way.dtype != "float32" and tried.agree >= ENOUGH:
        return "bfloat16"
    return "bfloat16" if near and tried.error <= TOLERANCE["bfloat16"] / 4 else "nothing"


def _require_fit(store: Store, subject: Subject) -> None:
    for layer in store.layers:
        neuron = int(store.neurons(layer).max(initial=0))
        if layer >= subject.n_layers or neuron >= subject.d_mlp[layer]:
            raise StoreError(
                f"replaying {store.path} on {subject.name}: the store has neuron {neuron} of layer {layer}, the "
                f"subject {subject.n_layers} layers of {max(subject.d_mlp)} neurons. Give the model of the pages."
            )
    if store.site not in subject.sites:
        raise SubjectError(
            f"replaying {store.path} on {subject.name}: the store was read at {store.site}, the subject has "
            f"{', '.join(subject.sites)}. Give the model that the pages are of, or import them with --site."
        )


def _told(store: Store, seed: int) -> Iterator[Told]:
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
            values = store.page_activations(layer, at)[rank]
        else:
            values = np.full(width, np.nan, np.float32)
            first = position - before
            low, high = max(first, 0), min(first + top.window.shape[2], width)
            values[low:high] = top.window[at, rank, low - first : high - first]
        yield Told(layer, int(neurons[at]), rank, row, position, values, float(scales[layer][at]) or 1.0)


class _Rows:
    """The store's rows in the ids of subjects."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.counts_bos = (
            bool(store.manifest["config"].get("count_bos")) or store.manifest["config"].get("bos") != "prepend"
        )
        self.rounded = ROUNDED if store.imported else 0.0
        self._resolvers: dict[str, Resolver] = {}
        self._rows: dict[tuple[str, int], Row] = {}

    def resolver(self, subject: Subject) -> Resolver:
        name = subject.tokenizer_facts()["sha256"]
        if name not in self._resolvers:
            vocabulary = self.store.vocabulary
            self._resolvers[name] = Resolver(subject, vocabulary.str_tokens(range(len(vocabulary.tokens))))
        return self._resolvers[name]

    def of(self, subject: Subject, row: int) -> Row:
        name = subject.tokenizer_facts()["sha256"]
        if (name, row) not in self._rows:
            tokens = self.store.row(row)
            own = name == self.store.manifest["tokenizer"].get("sha256")
            found = Row(tokens.astype(np.int64)) if own else self.resolver(subject).resolve(tokens)
            self._rows[name, row] = found
        return self._rows[name, row]


def _some_rows(told: Sequence[Told]) -> list[Told]:
    """The texts of `SUSPECT_ROWS` rows: those that hold most of them."""
    counts: dict[int, int] = {}
    for t in told:
        counts[t.row] = counts.get(t.row, 0) + 1
    best = set(sorted(counts, key=lambda row: (-counts[row], row))[:SUSPECT_ROWS])
    return [t for t in told if t.row in best]


def _suspects(
    rows: _Rows, load: Load, subject: Subject, told: Sequence[Told], asked: Way, others: Sequence[str], *,
    say: Callable[[str], None],
) -> list[Tried]:  # fmt: skip
    """Every other way, on some texts."""
    found: list[Tried] = []

    def measure(one: Subject, dtype: str, bos: str) -> None:
        for (site, shift), compared in _compare(rows, one, told, dtype=dtype, bos=bos, bar=False):
            way = Way(one.name, dtype, bos, site, shift)
            if compared and way != asked:
                found.append(_tried(way, compared))

    say("replay: it does not agree; trying sites, BOS, dtypes and other checkpoints")
    for bos in ("as shown", "put before", "left out"):
        measure(subject, asked.dtype, bos)
    nearest = min(found, key=lambda t: t.error).way
    dtypes = [d for d in ("float32", "autocast", "bfloat16") if d != asked.dtype]
    for dtype in dtypes:
        one = subject if dtype == "autocast" and asked.dtype == "float32" else load(None, _loaded(dtype))
        for bos in dict.fromkeys(("as shown", nearest.bos)):
            measure(one, dtype, bos)
    for other in others:
        try:
            one = load(other, _loaded(asked.dtype))
        except SubjectError as error:
            say(f"replay: {other} cannot be tried: {error}")
            continue
        if (one.n_layers, one.d_mlp) == (subject.n_layers, subject.d_mlp):
            measure(one, asked.dtype, "as shown")
    return found


def _loaded(dtype: str) -> str:
    return "float32" if dtype == "autocast" else dtype


def _tried(way: Way, compared: Sequence[Compared]) -> Tried:
    tolerance = TOLERANCE[way.dtype if way.dtype in TOLERANCE else "bfloat16"]
    relative = np.array([c.relative for c in compared])
    within = [c.relative <= tolerance for c in compared]
    moments = np.sum([c.moments for c in compared], axis=0)
    return Tried(
        way, len(compared), float(np.median(relative)), float(np.mean(within)),
        _correlation(moments, sum(c.n for c in compared)),
    )  # fmt: skip


def _by_neuron(compared: Sequence[Compared]) -> list[OfNeuron]:
    of: dict[tuple[int, int], list[Compared]] = {}
    for c in compared:
        of.setdefault((c.told.layer, c.told.neuron), []).append(c)
    found = [
        OfNeuron(
            layer, neuron, len(some), sum(c.same_peak for c in some), max(c.largest for c in some),
            max(c.relative for c in some),
            _correlation(np.sum([c.moments for c in some], axis=0), sum(c.n for c in some)),
        )
        for (layer, neuron), some in of.items()
    ]  # fmt: skip
    return sorted(found, key=lambda one: (-one.relative, one.layer, one.neuron))


def _correlation(moments: Float64[np.ndarray, "5"], n: int) -> float:
    """Pearson's; NaN where one of the two does not vary."""
    a, b, aa, bb, ab = moments / max(n, 1)
    variance = (aa - a * a) * (bb - b * b)
    return float((ab - a * b) / np.sqrt(variance)) if variance > 0 else float("nan")


SHIFTS = (0, 1, -1)


def _compare(
    rows: _Rows, subject: Subject, told: Sequence[Told], *, dtype: str, bos: str, bar: bool
) -> list[tuple[tuple[str, int], list[Compared]]]:
    """Every text at every site and shift, in one pass over the rows."""
    of_row: dict[int, list[Told]] = {}
    for t in told:
        of_row.setdefault(t.row, []).append(t)
    order = sorted(of_row, key=lambda row: (rows.of(subject, row).known, row))
    sites = [*subject.sites, *([FOLDED] if "mid" in subject.sites else [])]
    found: dict[tuple[str, int], list[Compared]] = {(site, shift): [] for site in sites for shift in SHIFTS}
    around: AbstractContextManager[Any] = (
        torch.autocast(subject.device.type, torch.bfloat16) if dtype == "autocast" else nullcontext()
    )
    for low in tqdm(range(0, len(order), BATCH), "replay", unit="batch", disable=not bar):
        some = order[low : low + BATCH]
        batch = [_with_bos(rows.of(subject, row), subject, bos) for row in some]
        with around:
            computed = _computed(subject, [ids for ids, _ in batch], [of_row[row] for row in some], sites)
        for i, row in enumerate(some):
            for j, t in enumerate(of_row[row]):
                for s, site in enumerate(sites):
                    ours = _aligned(computed[i][j][s], batch[i][1], len(t.values))
                    for shift in SHIFTS if bos == "as shown" else (0,):
                        one = _compared(t, _shifted(ours, shift), counts_bos=rows.counts_bos, rounded=rows.rounded)
                        if one is not None:
                            found[site, shift].append(one)
    return [(key, compared) for key, compared in found.items() if compared]


def _with_bos(row: Row, subject: Subject, bos: str) -> tuple[Int64[np.ndarray, "pos"], int]:
    """The ids to run, and where in the row the first of them stands."""
    ids = row.ids[: row.known]
    if bos == "left out":
        return ids[1:], 1
    if bos == "put before" and subject.bos is not None:
        most = subject.n_ctx or len(ids) + 1
        return np.concatenate([[subject.bos], ids])[:most], -1
    return ids, 0


def _aligned(ours: Float32[np.ndarray, "run"], first: int, length: int) -> Float32[np.ndarray, "pos"]:
    """What was computed, at the positions of the row; NaN elsewhere."""
    found = np.full(length, np.nan, np.float32)
    ours = ours[max(-first, 0) :]
    start = max(first, 0)
    n = min(len(ours), length - start)
    found[start : start + n] = ours[:n]
    return found


def _shifted(ours: Float32[np.ndarray, "pos"], shift: int) -> Float32[np.ndarray, "pos"]:
    if not shift:
        return ours
    found = np.full_like(ours, np.nan)
    found[max(shift, 0) : len(ours) + min(shift, 0)] = ours[max(-shift, 0) : len(ours) - max(shift, 0)]
    return found


def _compared(t: Told, ours: Float32[np.ndarray, "pos"], *, counts_bos: bool, rounded: float) -> Compared | None:
    both = np.isfinite(t.values) & ~np.isnan(ours)
    if not both.any():
        return None
    a, b = t.values[both].astype(np.float64), ours[both].astype(np.float64)
    gap = float(np.abs(a - b).max()) if np.isfinite(b).all() else float("inf")
    competing = both.copy()
    competing[0] &= counts_bos
    peak = int(np.argmax(np.where(competing, ours, -np.inf))) if competing.any() else -1
    with np.errstate(invalid="ignore"):
        moments = np.array([a.sum(), b.sum(), (a * a).sum(), (b * b).sum(), (a * b).sum()])
    return Compared(t, len(a), peak == t.position, gap, max(gap - rounded, 0.0) / t.scale, moments)


def _computed(
    subject: Subject, ids: Sequence[Int64[np.ndarray, "pos"]], told: Sequence[Sequence[Told]], sites: Sequence[str]
) -> list[list[list[Float32[np.ndarray, "pos"]]]]:
    """For each row, text and site what the text's neuron does over the row."""
    width = max(1, max(map(len, ids)))
    tokens = np.zeros((len(ids), width), np.int64)
    for i, row in enumerate(ids):
        tokens[i, : len(row)] = row
    real: tuple[Site, ...] = subject.sites
    found: list[list[list[Any]]] = [[[None] * len(sites) for _ in texts] for texts in told]

    def reader(layer: int) -> Callable[..., None]:
        def see(*x: Tensor) -> None:
            seen: dict[str, Tensor] = dict(zip(real, x, strict=True))
            if FOLDED in sites:
                mid = seen["mid"].float()
                seen[FOLDED] = torch.nn.functional.layer_norm(mid, mid.shape[-1:], eps=1e-5)
            for i, texts in enumerate(told):
                for j, t in enumerate(texts):
                    if t.layer == layer:
                        for s, site in enumerate(sites):
                            found[i][j][s] = seen[site][i, : len(ids[i]), t.neuron].float().cpu().numpy()

        return see

    layers = {t.layer for texts in told for t in texts}
    subject.read(torch.from_numpy(tokens), {layer: reader(layer) for layer in layers}, sites=real)
    return found
