"""Compute a store's examples again: are weights, tokenizer, site, BOS and dtype those that the store was made with?

This is for stores that were imported from pages, which do not state how they were made; no corpus is needed. Each text
is compared activation by activation (`rerun`). If the requested subject does not agree, common alternatives are tried
on some of the rows: another site, SoLU's folded LayerNorm, a BOS that was put before or left out, values shifted by
one, bfloat16, other checkpoints. The best one is run over all texts, and named.
Invariant: an alternative is named only if it fits much better than the requested subject, on the same texts.
Cost: one forward pass over the chosen rows; without agreement, some ten passes over at most `TRIAL_ROWS` of them, and
one more over all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from neurolocal.errors import StoreError, SubjectError
from neurolocal.neuroscope.replay.hypothesis import ENOUGH, Fit, Hypothesis, ReplayResult, by_neuron, measure_fit
from neurolocal.neuroscope.replay.rerun import rerun
from neurolocal.neuroscope.replay.texts import StoreText, SubjectRows, texts_of
from neurolocal.store import Store
from neurolocal.subject import Subject

TRIAL_ROWS = 32
"""Rows that alternatives are tried on."""

BETTER = 0.5
"""An alternative must have less than this share of the requested subject's error."""


SubjectLoader = Callable[[str | None, str], Subject]
"""Name or path of a subject (None: the requested one), and a dtype -> the subject."""


class Alternative(NamedTuple):
    """A hypothesis that was tried."""

    fit: Fit
    """On some of the rows."""
    load: Callable[[], Subject]
    """Loads its subject."""


def replay(
    store: Store, load: SubjectLoader, *, dtype: str, texts: int | None, seed: int = 0, others: Sequence[str] = (),
    say: Callable[[str], None] = print, bar: bool = True,
) -> ReplayResult:  # fmt: skip
    """Compute texts of a store again, and find how they were made.

    Args:
        store: open at the site that is replayed; imported or collected.
        load: loads subjects.
        dtype: that the requested subject computes in.
        texts: how many, drawn at random; None is all.
        seed: of the draw.
        others: further checkpoints to try if the requested subject does not fit.
        say: receives lines about what is tried.
        bar: whether to show a progress bar.

    Raises:
        StoreError: no text, or the subject lacks the store's layers, neurons or tokens.
        SubjectError: the subject cannot be loaded, or does not have the store's site.
    """
    subject = load(None, dtype)
    _require_fit(store, subject)
    rows = SubjectRows(store)
    usable, left_out = _usable(rows, subject, texts, seed)
    asked = Hypothesis(subject.name, subject.sha256, dtype, "as shown", store.site, 0)
    found = rerun(rows, subject, usable, dtype=dtype, bos="as shown", bar=bar)
    compared = found[asked.site, 0]
    base = measure_fit(asked, compared)
    fits, tried = base, [base]
    if base.level == "nothing" or base.agree < ENOUGH:
        some = _some_rows(usable)
        measured = _alternatives(rows, load, subject, some, asked, others, say=say)
        measured.sort(key=lambda one: (one.fit.error, len(one.fit.way.unlike(asked))))
        there = {t.row for t in some}
        here = measure_fit(asked, [c for c in compared if c.text.row in there])
        tried = sorted([here, *(one.fit for one in measured)], key=lambda t: (t.error, len(t.way.unlike(asked))))
        if measured and measured[0].fit.error < BETTER * here.error:
            way, one = measured[0].fit.way, measured[0].load()
            again = rerun(rows, one, usable, dtype=way.dtype, bos=way.bos, bar=bar)
            best = measure_fit(way, again[way.site, way.shift])
            fits = best if best.error < BETTER * base.error else base
    resolver = rows.resolver(subject)
    return ReplayResult(
        asked=base,
        fits=fits,
        tried=tuple(tried),
        neurons=tuple(by_neuron(compared)),
        texts=len(compared),
        activations=sum(c.n for c in compared),
        same_peak=sum(c.same_peak for c in compared),
        largest=max(c.largest for c in compared),
        relative=max(c.relative for c in compared),
        left_out=left_out,
        absent=resolver.absent,
        ambiguous=resolver.ambiguous,
    )


def _usable(rows: SubjectRows, subject: Subject, texts: int | None, seed: int) -> tuple[list[StoreText], int]:
    """The requested number of texts whose peaks the subject can reach, and how many others were skipped."""
    store, usable, left_out = rows.store, list[StoreText](), 0
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
    """Refuse a subject that lacks the store's layers, neurons or site."""
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


def _some_rows(texts: Sequence[StoreText]) -> list[StoreText]:
    """The texts of the `TRIAL_ROWS` rows that hold most texts."""
    counts = Counter(t.row for t in texts)
    best = set(sorted(counts, key=lambda row: (-counts[row], row))[:TRIAL_ROWS])
    return [t for t in texts if t.row in best]


def _alternatives(
    rows: SubjectRows, load: SubjectLoader, subject: Subject, texts: Sequence[StoreText], asked: Hypothesis,
    others: Sequence[str], *, say: Callable[[str], None],
) -> list[Alternative]:  # fmt: skip
    """Every other hypothesis, measured on some texts."""
    found: list[Alternative] = []

    def measure(name: str | None, dtype: str, bos: str, one: Subject) -> None:
        for (site, shift), compared in rerun(rows, one, texts, dtype=dtype, bos=bos, bar=False).items():
            way = Hypothesis(one.name, one.sha256, dtype, bos, site, shift)
            if way != asked:
                found.append(Alternative(measure_fit(way, compared), lambda: load(name, _loaded(dtype))))

    say("replay: it does not agree; trying sites, BOS, dtypes and other checkpoints")
    for bos in ("as shown", "put before", "left out"):
        measure(None, asked.dtype, bos, subject)
    nearest = min((one.fit for one in found), key=lambda fit: fit.error).way
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
