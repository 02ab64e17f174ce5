"""Compute a store's examples again: are weights, tokenizer, site, BOS and dtype those that the store was made with?

This is for stores that were imported from pages, which do not state how they were made; no corpus is needed. Each text
is compared activation by activation (`rerun`), and each layer is judged by itself (`layers`). If the requested subject
is not the same, common alternatives are tried on some of the rows: another site, SoLU's folded LayerNorm, a BOS that
was put before or left out, values shifted by one, bfloat16, other checkpoints. The best one is run over all texts, and
named. What is still not the same is compared with the rounding of the pages' dtype, if that is lower than float32.
Invariant: an alternative is named only if it fits much better than the requested subject, on the same texts.
Cost: one forward pass over the chosen rows; if it is not the same, some ten passes over at most `TRIAL_ROWS` of them,
one more over all, and two to four to measure rounding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from neurolocal.errors import StoreError, SubjectError
from neurolocal.neuroscope.replay.hypothesis import Fit, Hypothesis, measure_fit
from neurolocal.neuroscope.replay.layers import LayerFit, exact_layers, rounded_layers
from neurolocal.neuroscope.replay.leading_spaces import lost_spaces
from neurolocal.neuroscope.replay.replay_result import ReplayResult, by_neuron
from neurolocal.neuroscope.replay.rerun import TextDifference, rerun
from neurolocal.neuroscope.replay.rounding import measure_rounding
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
    name: str | None
    """Name or path of its subject; None is the requested one."""


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
    fits, tried, name, best = base, [base], None, compared
    layers = exact_layers(compared)
    little = left_out > len(compared)
    if not little and any(one.why for one in layers):
        some = _some_rows(usable)
        measured = _alternatives(rows, load, subject, some, asked, others, say=say)
        measured.sort(key=lambda one: (one.fit.error, len(one.fit.way.unlike(asked))))
        there = {t.row for t in some}
        here = measure_fit(asked, [c for c in compared if c.text.row in there])
        tried = sorted([here, *(one.fit for one in measured)], key=lambda t: (t.error, len(t.way.unlike(asked))))
        if measured and measured[0].fit.error < BETTER * here.error:
            way = measured[0].fit.way
            one = load(measured[0].name, _loaded(way.dtype))
            again = rerun(rows, one, usable, dtype=way.dtype, bos=way.bos, bar=bar)[way.site, way.shift]
            if measure_fit(way, again).error < BETTER * base.error:
                fits, name, best = measure_fit(way, again), measured[0].name, again
                layers = exact_layers(again)
    rounding = None
    stated = _stated(store)
    if not little and any(one.why for one in layers):
        for dtype in _rounders(stated, fits.way.dtype):
            judged = _rounded(rows, lambda kind: load(name, kind), usable, fits.way, best, dtype)
            if rounding is None or not any(one.why for one in judged):
                layers, rounding = judged, dtype
            if not any(one.why for one in layers):
                break
    resolver = rows.resolver(subject)
    return ReplayResult(
        asked=base,
        fits=fits,
        tried=tuple(tried),
        layers=layers,
        rounding=rounding,
        stated=stated,
        neurons=tuple(by_neuron(compared)),
        texts=len(compared),
        activations=sum(c.n for c in compared),
        same_peak=sum(c.same_peak for c in compared),
        largest=max(c.largest for c in compared),
        relative=max(c.relative for c in compared),
        left_out=left_out,
        absent=resolver.absent,
        ambiguous=resolver.ambiguous,
        spaces=lost_spaces(resolver.strings, subject.vocabulary, subject.name),
    )


def _stated(store: Store) -> str | None:
    """The dtype that a store states; None for pages that do not, whose config has only a default."""
    return store.manifest["source"]["own"].get("dtype") if store.imported else store.manifest["config"].get("dtype")


def _rounders(stated: str | None, dtype: str) -> list[str]:
    """The dtypes whose rounding may explain the pages: what they state, else what was computed in, and bfloat16."""
    if stated is not None:
        return [] if stated == "float32" else [stated]
    return list(dict.fromkeys([*([] if dtype == "float32" else [dtype]), "autocast", "bfloat16"]))


def _rounded(
    rows: SubjectRows, load: Callable[[str], Subject], texts: Sequence[StoreText], way: Hypothesis,
    compared: Sequence[TextDifference], dtype: str,
) -> tuple[LayerFit, ...]:  # fmt: skip
    """Each layer, judged by what a dtype rounds in the subject."""
    return rounded_layers(compared, measure_rounding(rows, load, texts, way, dtype), dtype)


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
            f"{lost_spaces(resolver.strings, subject.vocabulary, subject.name)}"
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
                found.append(Alternative(measure_fit(way, compared), name))

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
