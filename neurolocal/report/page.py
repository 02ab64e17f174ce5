"""One self-contained HTML page: facts of the run, verdicts by layer, ranked neurons with excerpts, cards of the best.

Invariant: the page requests nothing from any network; its policy forbids it. All text of the corpus, the subject and
the LLM is made visible, then escaped by the template. None of it enters the style or the script, and the policy allows
only these two, by their hashes. The same store gives the same bytes.
Cost: about 1 KB a table row and 10 to 40 KB a card.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from neurolocal.files import write_text
from neurolocal.literals import VERDICTS, Side
from neurolocal.records import Example
from neurolocal.render.figures import Figure, number, percent
from neurolocal.render.page_templates import Filters, digest, environment, markup, source
from neurolocal.render.visible import LONGEST, counted, visible
from neurolocal.render.windows import Window, Windows
from neurolocal.report.facts import made_from, run_facts, subject_name
from neurolocal.report.histogram import Histogram, histogram
from neurolocal.report.intervals import IntervalTexts, interval_texts
from neurolocal.report.layer import Layer, read_layer
from neurolocal.report.logit_effects import TokenEffect, fires_and_promotes, token_effects
from neurolocal.report.meanings import Meaning, meanings
from neurolocal.report.rows import LayerVerdicts, NeuronRow, layer_verdicts, neuron_row, report_object
from neurolocal.report.sections import WordList, figures, word_lists
from neurolocal.report.statistics import neuron_statistics
from neurolocal.store import Store

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


EXCERPTS = 3
"""Examples of a neuron without a card that the page shows, cut short."""

EXCERPT_BEFORE, EXCERPT_AFTER = 12, 5
"""Tokens around the peak that an excerpt shows."""

HEAD = 1 << 12
"""Bytes at the beginning of a page within which it states what it was made from."""

TOKENS = 6
"""Promoted and suppressed tokens that a card shows."""


class ShownExample(NamedTuple):
    """An example as the page shows it; its texts are already made visible."""

    example: Example
    subset: str
    window: Markup
    """Its tokens, shaded."""
    repeats: int | None
    """Number, from 1, of a stronger example with nearly the same text."""
    meaning: int | None = None
    """Which of several meanings it belongs to."""


@dataclass(frozen=True)
class Card:
    """What the page shows of one neuron in detail."""

    row: NeuronRow
    does: str
    """What it fires on and what it then does to the output; empty where that was not measured."""
    figures: list[Figure]
    word_lists: list[WordList]
    statistics: str
    histogram: Histogram | None
    effects: list[tuple[str, list[TokenEffect]]]
    """`promotes` and `suppresses`, by the weights and measured; empty where the store holds neither."""
    meanings: list[Meaning]
    """Empty where it has one."""
    examples: list[ShownExample]
    intervals: list[IntervalTexts]
    """Bands of activation, each with a few random rows."""


@dataclass(frozen=True)
class Ranked:
    """A neuron of the ranking."""

    row: NeuronRow
    excerpts: list[ShownExample]
    """The strongest examples, cut short; empty where a card shows them whole."""
    carded: bool
    """Whether it has a card."""


def write_page(
    store: Store,
    layers: Iterable[int] | None = None,
    *,
    path: Path,
    side: Side = "largest",
    rows: int = 500,
    cards: int = 30,
) -> None:
    """Write the page of the layers (None: all) to a file, as a whole or not at all.

    Args:
        store: an open store.
        layers: indices of layers.
        path: the file.
        side: which example lists and which tables.
        rows: neurons a layer in the table, by rank.
        cards: neurons a layer with a card, by rank.

    Raises:
        StoreError: a layer was not collected.
        NeurolocalError: jinja2 (extra `site`) is not installed; the file cannot be written.
    """
    write_text(path, page(store, layers, side=side, rows=rows, cards=cards))


def page_is_current(store: Store, layers: Iterable[int] | None = None, *, path: Path, side: Side = "largest") -> bool:
    """Whether a file is a page of these layers, made from what the store holds now; file times are not asked."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(HEAD)
    return made_from(store, store.require_layers(layers), side).encode() in head


def page(
    store: Store, layers: Iterable[int] | None = None, *, side: Side = "largest", rows: int = 500, cards: int = 30
) -> str:
    """The page as text; see `write_page`."""
    templates = _templates()
    windows = Windows(store.vocabulary, joined=True)
    listed: list[Ranked] = []
    detailed: list[Card] = []
    summaries: list[LayerVerdicts] = []
    for layer in store.require_layers(layers):
        read = read_layer(store, layer, side=side)
        for i, neuron in enumerate(read.ranked()[:rows]):
            row = neuron_row(read, neuron)
            carded = i < cards and row.verdict != "dead"
            listed.append(Ranked(row, [] if carded else _excerpts(read, windows, row), carded))
            if carded:
                detailed.append(_card(read, windows, row))
        summaries.append(layer_verdicts(store, layer, side=side))
    style = source(templates, "look.css") + source(templates, "page.css")
    script = source(templates, "page.js")
    return templates.get_template("page.html").render(
        style=markup(style),
        script=markup(script),
        policy=(
            f"default-src 'none'; style-src {digest(style)}; script-src {digest(script)}; "
            "base-uri 'none'; form-action 'none'"
        ),
        made_from=made_from(store, [s.layer for s in summaries], side),
        subject=subject_name(store),
        facts=run_facts(store, [s.layer for s in summaries], side),
        provenance=_provenance(store, [r.row for r in listed], side),
        side=side,
        summaries=summaries,
        verdicts=VERDICTS,
        ranked=listed,
        cards=detailed,
        excerpts=EXCERPTS,
        left_out=sum(s.neurons for s in summaries) - len(listed),
    )


def _provenance(store: Store, rows: list[NeuronRow], side: Side) -> str:
    """The facts of the JSON report, with the number of its neurons, and without what is the same in every report."""
    found = report_object(store, rows, side=side)
    del found["histogram_edges"]
    return json.dumps({**found, "neurons": len(rows)}, indent=1)


def _card(read: Layer, windows: Windows, row: NeuronRow) -> Card:
    s, part = neuron_statistics(read, row.neuron), read.ranks_by_part.get(row.neuron, {})
    line = s.positions
    if s.finite:
        line += f", positive at {percent(s.positive)}, mean {number(s.mean)} ± {number(s.deviation)}"
        line += f", {number(s.minimum)} to {number(s.maximum)}"
    return Card(
        row,
        fires_and_promotes(read, row.neuron),
        figures(read, row.neuron),
        [words for words in word_lists(read, row.neuron) if words.on_page],
        line,
        histogram(read, row.neuron),
        token_effects(read, row.neuron, limit=TOKENS),
        meanings(read, row.neuron),
        [
            _shown(read, windows, example, same)._replace(meaning=part.get(example.rank))
            for example, same in zip(read.examples(row.neuron), row.repeats, strict=True)
        ],
        interval_texts(read, row.neuron),
    )


def _excerpts(read: Layer, windows: Windows, row: NeuronRow) -> list[ShownExample]:
    """The strongest examples cut short; of near-duplicates only the strongest."""
    distinct = [e for e, same in zip(read.examples(row.neuron), row.repeats, strict=True) if same is None]
    return [_shown(read, windows, _cut(example), None) for example in distinct[:EXCERPTS]]


def _cut(example: Example) -> Example:
    """An example with a shorter window."""
    first = max(example.peak - EXCERPT_BEFORE, 0)
    kept = slice(first, example.peak + 1 + EXCERPT_AFTER)
    return replace(
        example,
        start=example.start + first,
        tokens=example.tokens[kept],
        activations=example.activations[kept],
    )


def _shown(read: Layer, windows: Windows, example: Example, same: int | None) -> ShownExample:
    (window,) = windows.html([Window(example.tokens, example.activations, example.peak, example.activation)])
    subset = visible(read.subset(example), limit=LONGEST)
    return ShownExample(example, subset, markup(window), None if same is None else same + 1)


def _templates() -> Environment:
    filters: Filters = {
        "commonest": lambda words: counted(list(words.items())[:12]),
        "tokens": lambda tokens: counted(Counter(tokens).most_common(12)),
    }
    return environment([Path(__file__).parent / "templates"], doing="writing the page", filters=filters)
