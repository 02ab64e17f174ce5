"""What a notebook shows: small pieces of HTML without scripts, each with the same style.

Invariant: every text is made visible and escaped by the templates (`neurolocal.render.page_templates`).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neurolocal.asking import NeuronOnText, TextAnswer
from neurolocal.asking.terminal import full_activation, quantile
from neurolocal.literals import VERDICTS, Side
from neurolocal.records import Example
from neurolocal.render.page_templates import environment, markup
from neurolocal.render.visible import counted
from neurolocal.render.windows import Window, Windows
from neurolocal.report.facts import run_facts, subject_name
from neurolocal.report.histogram import histogram
from neurolocal.report.layer import Layer
from neurolocal.report.repeats import repeats
from neurolocal.report.rows import NeuronRow, layer_verdicts
from neurolocal.report.sections import figures
from neurolocal.store import Store
from neurolocal.words import Vocabulary

if TYPE_CHECKING:
    from jinja2 import Environment

EXAMPLES = 8
"""Examples that a neuron shows; near-duplicates of a stronger one are left out."""


def store_html(store: Store, *, side: Side) -> str:
    """The facts of the run, and the verdicts of the layers that have some."""
    verdicts = [layer_verdicts(store, layer, side=side) for layer in store.layers]
    judged = [one for one in verdicts if one.counts]
    facts = run_facts(store, [one.layer for one in judged], side)
    return _made("store.html", subject=subject_name(store), facts=facts, layers=judged, verdicts=VERDICTS)


def neuron_html(read: Layer, row: NeuronRow) -> str:
    """One neuron: verdict, description, strongest examples, histogram, figures."""
    every = read.examples(row.neuron)
    distinct = [one for one, same in zip(every, repeats(every), strict=True) if same is None]
    return _made(
        "neuron.html",
        row=row,
        examples=_shown(read, distinct[:EXAMPLES]),
        more=len(every) - len(distinct[:EXAMPLES]),
        words=counted(list(row.words.items())[:20]),
        histogram=histogram(read, row.neuron),
        figures=figures(read, row.neuron),
    )


def examples_html(read: Layer, examples: list[Example]) -> str:
    """Examples, shaded."""
    return _made("examples.html", examples=_shown(read, examples))


def text_html(answer: TextAnswer, one: NeuronOnText, vocabulary: Vocabulary) -> str:
    """One neuron on a text: the text shaded, and every token with its figures."""
    columns = zip(answer.tokens, one.activations.tolist(), one.shares.tolist(), one.quantiles.tolist(), strict=True)
    ids = np.array([token.id for token in answer.tokens], np.int64)
    window = Window(ids, one.activations, one.peak, full_activation(answer, one))
    (shaded,) = Windows(vocabulary, joined=True).html([window])
    return _made("text.html", one=one, side=answer.side, text=markup(shaded), rows=list(columns))


def _shown(read: Layer, examples: list[Example]) -> list[dict[str, Any]]:
    windows = [Window(one.tokens, one.activations, one.peak, one.activation) for one in examples]
    shaded = Windows(read.store.vocabulary, joined=True).html(windows)
    return [
        {"example": one, "subset": read.subset(one), "text": markup(text)}
        for one, text in zip(examples, shaded, strict=True)
    ]


@cache
def _templates() -> Environment:
    templates = Path(__file__).parent / "templates"
    return environment([templates], doing="showing a store in a notebook", filters={"quantile": quantile})


def _made(name: str, **values: Any) -> str:
    return _templates().get_template(name).render(**values)
