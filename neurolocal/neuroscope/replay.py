"""What a store's examples say, computed again: are weights, tokenizer, site, BOS and dtype those that it was made with?

Made for stores that were imported from pages, where nothing but the pages says how they were made; no corpus is needed.
Each text is compared activation by activation (`rerun`). Where the subject as it stands does not say the same, the
usual suspects are tried on some of the rows: another site, SoLU's folded LayerNorm, a BOS that was put before or left
out, values shifted by one, bfloat16, other checkpoints. The one that fits is run over all texts, and named.
Invariant: a suspect is named only where it fits much better than what was asked for, on the same texts.
Cost: one forward pass over the chosen rows; where they do not agree, some ten over at most `SUSPECT_ROWS` of them, and
one more over all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from neurolocal.collect.replay import TOLERANCE
from neurolocal.errors import StoreError, SubjectError
from neurolocal.neuroscope.rerun import FOLDED, Compared, Rows, Text, by_layer, compare, correlation, texts_of
from neurolocal.store import Store
from neurolocal.subject import Subject

SUSPECT_ROWS = 32
"""Rows that suspects are tried on."""

ENOUGH = 0.99
"""Share of the texts that must be within the tolerance of what was computed in."""

NEARLY = 0.95
"""The same, within bfloat16's, where pages may have been made in bfloat16 on another machine."""

ALIKE = 0.99
"""Correlation within each layer under which nothing agrees, however wide bfloat16's tolerance is."""

BETTER = 0.5
"""A suspect must have less than this share of the error of what was asked for."""


class Way(NamedTuple):
    """One way in which the pages may have been made."""

    subject: str
    """What it is called."""
    weights: str
    """Their SHA-256."""
    dtype: str
    """`float32`, `bfloat16`, `float16`, or `autocast`: float32 weights under bfloat16 autocast."""
    bos: str
    """`as shown`, `put before` (the pages do not show it), `left out` (they show one that was not run)."""
    site: str
    shift: int
    """Positions by which the pages' values stand behind their tokens."""

    def unlike(self, asked: Way) -> list[str]:
        """How it differs from what was asked for, in words."""
        other = self.subject if self.subject != asked.subject else f"another {self.subject} ({self.weights[:8]}…)"
        said = {
            "weights": f"the subject is {other}, not {asked.subject}",
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


@dataclass(frozen=True)
class Tried:
    """How well one way fits."""

    way: Way
    texts: int
    error: float
    """Median over the texts of the largest |difference|, as a share of their neuron's largest |activation|."""
    agree: float
    """Share of the texts within the tolerance of its dtype."""
    near: float
    """Share of the texts within bfloat16's."""
    correlation: float
    """Of all activations compared, in the layer where it is lowest."""

    @property
    def level(self) -> str:
        """What it agrees within: a dtype, or `nothing`."""
        low = "bfloat16" if self.way.dtype == "autocast" else self.way.dtype
        if self.agree >= ENOUGH and (low == "float32" or self.correlation > ALIKE):
            return low
        rounded = self.error <= TOLERANCE["bfloat16"] / 4 and self.near >= NEARLY and self.correlation > ALIKE
        return "bfloat16" if rounded else "nothing"


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
    """The way that fits best, on all texts: `asked`, or a suspect."""
    tried: tuple[Tried, ...]
    """All ways on some of the rows, best first; `asked` alone where it agrees."""
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
    """Texts whose peak stands behind a token with no known id, or beyond the subject's context."""
    absent: int
    """Tokens that the tokenizer does not have."""
    ambiguous: int
    """Tokens for which it has several."""

    @property
    def level(self) -> str:
        """What `fits` agrees within: a dtype, or `nothing`."""
        return self.fits.level

    @property
    def agrees(self) -> bool:
        """Whether the subject's weights and tokenizer are those of the store, read at a place and in a dtype it has."""
        way = self.fits.way
        plain = way.bos == "as shown" and not way.shift and way.site != FOLDED
        return self.level != "nothing" and way.weights == self.asked.way.weights and plain


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
    rows = Rows(store)
    usable, left_out = _usable(rows, subject, texts, seed)
    asked = Way(subject.name, subject.sha256, dtype, "as shown", store.site, 0)
    found = compare(rows, subject, usable, dtype=dtype, bos="as shown", bar=bar)
    compared = found[asked.site, 0]
    base = judged(asked, compared)
    fits, tried = base, [base]
    if base.level == "nothing" or base.agree < ENOUGH:
        some = _some_rows(usable)
        measured = _suspects(rows, load, subject, some, asked, others, say=say)
        measured.sort(key=lambda pair: (pair[0].error, len(pair[0].way.unlike(asked))))
        there = {t.row for t in some}
        here = judged(asked, [c for c in compared if c.text.row in there])
        tried = sorted([here, *(t for t, _ in measured)], key=lambda t: (t.error, len(t.way.unlike(asked))))
        if measured and measured[0][0].error < BETTER * here.error:
            way, one = measured[0][0].way, measured[0][1]()
            again = compare(rows, one, usable, dtype=way.dtype, bos=way.bos, bar=bar)
            best = judged(way, again[way.site, way.shift])
            fits = best if best.error < BETTER * base.error else base
    resolver = rows.resolver(subject)
    return Replayed(
        asked=base,
        fits=fits,
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


def judged(way: Way, compared: Sequence[Compared]) -> Tried:
    """How well a way fits, by the texts as it computes them."""
    tolerance = TOLERANCE[way.dtype if way.dtype in TOLERANCE else "bfloat16"]
    relative = np.array([c.relative for c in compared])
    each = [correlation(some) for some in by_layer(compared).values()]
    return Tried(
        way, len(compared), float(np.median(relative)), float(np.mean(relative <= tolerance)),
        float(np.mean(relative <= TOLERANCE["bfloat16"])), min((r for r in each if r == r), default=float("nan")),
    )  # fmt: skip


def _usable(rows: Rows, subject: Subject, texts: int | None, seed: int) -> tuple[list[Text], int]:
    """As many texts as asked for whose peaks the subject can be run up to, and how many others came before."""
    store, usable, left_out = rows.store, list[Text](), 0
    for text in texts_of(store, seed):
        if len(rows.of(subject, text.row)) > text.position:
            usable.append(text)
        else:
            left_out += 1
        if len(usable) == texts:
            break
    if not usable and not left_out:
        raise StoreError(f"replaying {store.path}: it holds no example. Import or collect some first.")
    if not usable:
        resolver = rows.resolver(subject)
        raise StoreError(
            f"replaying {store.path} on {subject.name}: of {left_out:,} texts none can be put into its token ids "
            f"({resolver.absent:,} tokens that it does not have, {resolver.ambiguous:,} ambiguous). "
            "Give the subject with the tokenizer that the pages were made with."
        )
    return usable, left_out


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


def _some_rows(texts: Sequence[Text]) -> list[Text]:
    """The texts of `SUSPECT_ROWS` rows: those that hold most of them."""
    counts = Counter(t.row for t in texts)
    best = set(sorted(counts, key=lambda row: (-counts[row], row))[:SUSPECT_ROWS])
    return [t for t in texts if t.row in best]


def _suspects(
    rows: Rows, load: Load, subject: Subject, texts: Sequence[Text], asked: Way, others: Sequence[str], *,
    say: Callable[[str], None],
) -> list[tuple[Tried, Callable[[], Subject]]]:  # fmt: skip
    """Every other way, on some texts, and how its subject is loaded."""
    found: list[tuple[Tried, Callable[[], Subject]]] = []

    def measure(name: str | None, dtype: str, bos: str, one: Subject) -> None:
        for (site, shift), compared in compare(rows, one, texts, dtype=dtype, bos=bos, bar=False).items():
            way = Way(one.name, one.sha256, dtype, bos, site, shift)
            if way != asked:
                found.append((judged(way, compared), lambda: load(name, _loaded(dtype))))

    say("replay: it does not agree; trying sites, BOS, dtypes and other checkpoints")
    for bos in ("as shown", "put before", "left out"):
        measure(None, asked.dtype, bos, subject)
    nearest = min((t for t, _ in found), key=lambda t: t.error).way
    for dtype in [d for d in ("float32", "autocast", "bfloat16") if d != asked.dtype]:
        one = subject if dtype == "autocast" and asked.dtype == "float32" else load(None, _loaded(dtype))
        for bos in dict.fromkeys(("as shown", nearest.bos)):
            measure(None, dtype, bos, one)
    for other in others:
        try:
            one = load(other, _loaded(asked.dtype))
        except SubjectError as error:
            say(f"replay: {other} cannot be tried: {error}")
            continue
        usable = all(len(rows.of(one, t.row)) > t.position for t in texts)
        if (one.n_layers, one.d_mlp) == (subject.n_layers, subject.d_mlp) and usable:
            measure(other, asked.dtype, "as shown", one)
        else:
            say(f"replay: {other} cannot be tried: it has another shape, or another tokenizer")
    return found


def _loaded(dtype: str) -> str:
    return "float32" if dtype == "autocast" else dtype


def _by_neuron(compared: Sequence[Compared]) -> list[OfNeuron]:
    of: dict[tuple[int, int], list[Compared]] = {}
    for c in compared:
        of.setdefault((c.text.layer, c.text.neuron), []).append(c)
    found = [
        OfNeuron(
            layer, neuron, len(some), sum(c.same_peak for c in some), max(c.largest for c in some),
            max(c.relative for c in some), correlation(some),
        )
        for (layer, neuron), some in of.items()
    ]  # fmt: skip
    return sorted(found, key=lambda one: (-one.relative, one.layer, one.neuron))
