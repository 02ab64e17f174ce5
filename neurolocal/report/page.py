"""One self-contained HTML page: the facts of the run, verdicts a layer, the ranked table, and a card for the best.

Invariant: the page asks nothing of any network (its policy forbids it), and whatever the corpus, the subject or the LLM
said is text: made visible, then escaped by the template; nothing of it enters the style or the script, whose hashes
alone the policy allows to run. The same store gives the same bytes.
Cost: about 300 bytes a table row and 10 to 30 KB a card.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import isfinite, nan
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from neurolocal.files import write_text
from neurolocal.records import VERDICTS, Example, Side
from neurolocal.render.figures import fixed, number, percent
from neurolocal.render.inline import digest, environment, markup
from neurolocal.render.spans import Span, spans
from neurolocal.render.visible import counted, visible
from neurolocal.report.layer import Layer, Substitute, read_layer
from neurolocal.report.rows import NeuronRow, neuron_row, report_object
from neurolocal.report.sections import Figure, figures
from neurolocal.store import Store

if TYPE_CHECKING:
    from jinja2 import Environment

LONGEST = 200
"""Characters of one piece of text that are shown."""


@dataclass(frozen=True)
class Card:
    """What the page says of one neuron."""

    row: NeuronRow
    figures: list[Figure]
    neighbours: list[Substitute]
    controls: list[Substitute]
    statistics: str
    examples: list[tuple[Example, list[Span]]]
    """With their pieces, already made visible."""


@dataclass(frozen=True)
class LayerSummary:
    """The verdicts of a whole layer, also of the neurons that the table leaves out."""

    layer: int
    neurons: int
    counts: dict[str, int]
    """Every verdict with its number of neurons, in the order of `VERDICTS`; empty without a verdict."""


def write_page(
    store: Store,
    layers: Iterable[int] | None = None,
    *,
    path: Path,
    side: Side = "largest",
    rows: int = 500,
    cards: int = 30,
) -> None:
    """Write the page of the layers (None: all), whole or not at all: `rows` neurons and `cards` cards a layer, by rank.

    A layer that was not collected is a `StoreError`; without jinja2 (extra `site`) a `NeurolocalError` says so.
    """
    write_text(path, page(store, layers, side=side, rows=rows, cards=cards))


def page(
    store: Store, layers: Iterable[int] | None = None, *, side: Side = "largest", rows: int = 500, cards: int = 30
) -> str:
    """The page as text; see `write_page`."""
    environment = _environment()
    listed: list[NeuronRow] = []
    detailed: list[Card] = []
    summaries: list[LayerSummary] = []
    for layer in store.require_layers(None if layers is None else list(layers)):
        read = read_layer(store, layer, side=side)
        best = [neuron_row(read, neuron) for neuron in read.ranked()[:rows]]
        listed += best
        detailed += [_card(read, row) for row in best[:cards] if row.verdict != "dead"]
        summaries.append(_summary(read))
    style, script = (_source(environment, name) for name in ("page.css", "page.js"))
    return environment.get_template("page.html").render(
        style=markup(style),
        script=markup(script),
        policy=(
            f"default-src 'none'; style-src {digest(style)}; script-src {digest(script)}; "
            "base-uri 'none'; form-action 'none'"
        ),
        facts=[*_facts(store.manifest), *_vectors(store, [s.layer for s in summaries], side)],
        provenance=json.dumps({**report_object(store, listed, side=side), "neurons": len(listed)}, indent=1),
        side=side,
        summaries=summaries,
        verdicts=VERDICTS,
        rows=listed,
        cards=detailed,
        carded={(card.row.layer, card.row.neuron) for card in detailed},
        left_out=sum(s.neurons for s in summaries) - len(listed),
    )


def _vectors(store: Store, layers: Iterable[int], side: Side) -> list[tuple[str, str]]:
    """How good the word vectors were, where similarity has said it; the same of all layers, or several lines."""
    pairs: dict[tuple[str, str], None] = {}
    for layer in layers:
        facts = _table(_table(store.inputs("similarity", layer, side)).get("facts"))
        rhos = [_table(facts.get(name)).get("spearman") for name in ("wordsim353", "simlex999")]
        tokens = _table(facts.get("coverage")).get("tokens")
        if facts:
            said = " · ".join("–" if rho is None else f"{rho:.2f}" for rho in rhos)
            pairs |= {("word vectors", str(facts.get("name"))): None, ("WordSim-353 · SimLex-999", said): None}
            pairs[("running words with a vector", percent(nan if tokens is None else tokens))] = None
    return list(pairs)


def _card(read: Layer, row: NeuronRow) -> Card:
    s, neuron, at = read.statistics, row.neuron, read.index[row.neuron]
    finite = s.count - int(s.nonfinite[at])
    imported = "source" in read.store.manifest  # the positions that its page shows are all that is known
    said = f"{finite:,} positions, all that its page shows" if imported else f"{s.count:,} positions"
    if finite:
        said += f", positive at {percent(int(s.positive[at]) / finite)}"
        said += f", mean {number(float(s.mean[at]))} ± {number(float(s.variance[at]) ** 0.5)}"
        said += f", {number(float(s.minimum[at]))} to {number(float(s.maximum[at]))}"
    return Card(
        row,
        figures(read, neuron),
        read.substitutes(neuron, "neighbour"),
        read.substitutes(neuron, "control"),
        said,
        [(example, _joined(spans(example, read.store.vocabulary))) for example in read.examples(neuron)],
    )


def _joined(pieces: list[Span]) -> list[Span]:
    """The pieces made visible, neighbours without a shade put together: a third of the page's size."""
    made: list[Span] = []
    for piece in (replace(piece, text=visible(piece.text, limit=LONGEST)) for piece in pieces):
        last = made[-1] if made else None
        if last and not (piece.shade or piece.peak or piece.special or last.shade or last.peak or last.special):
            made[-1] = replace(last, text=last.text + piece.text)
        else:
            made.append(piece)
    return made


def _summary(read: Layer) -> LayerSummary:
    counts = Counter(read.tables["verdict"].verdict) if read.tables["verdict"] is not None else Counter()
    named = {name: counts[name] for name in VERDICTS} if counts else {}
    return LayerSummary(read.layer, len(read.index), named)


def _facts(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    """The run in a few pairs of name and value; what the manifest doesn't say is left out."""
    subject, corpus = (_table(manifest.get(name)) for name in ("subject", "corpus"))
    config = _table(manifest.get("config"))
    pairs = [
        ("subject", subject.get("name") or subject.get("path")),
        ("layers × neurons", _widths(subject)),
        ("weights", _short(subject.get("sha256"))),
        ("corpus", PurePath(str(corpus["path"])).name if corpus.get("path") else None),
        ("rows' hash", _short(corpus.get("rows_sha256"))),
        ("tokens", _count(manifest.get("tokens"))),
        ("rows", _count(manifest.get("rows"))),
        ("row length", _count(config.get("row_length"))),
        ("dtype", config.get("dtype")),
        (
            "collection",
            None if manifest.get("complete") is None else "whole" if manifest["complete"] else "not finished",
        ),
    ]
    return [(name, str(value)) for name, value in pairs if value not in (None, "")]


def _widths(subject: dict[str, Any]) -> str | None:
    """`30 × 1,536`, or a range where layers differ in width."""
    widths = subject.get("d_mlp")
    if not isinstance(widths, list) or not widths or not all(isinstance(n, int) for n in widths):
        return None
    least, most = min(widths), max(widths)
    return f"{len(widths)} × {most:,}" if least == most else f"{len(widths)} × {least:,} to {most:,}"


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _short(digest: Any) -> str | None:
    return f"{str(digest)[:12]}…" if digest else None


def _count(value: Any) -> str | None:
    return f"{value:,}" if isinstance(value, int) else None


def _environment() -> Environment:
    made = environment([Path(__file__).parent / "templates"], doing="writing the page")
    made.filters |= {
        "seen": lambda text: visible(text, limit=LONGEST),
        "counted": lambda words: counted(list(words.items())[:12]),
        "tokens": lambda tokens: counted(Counter(tokens).most_common(12)),
        "fixed": fixed,
        "number": number,
        "percent": percent,
        "width": lambda share: round(100 * min(max(share, 0.0), 1.0), 1) if isfinite(share) else 0,
        "known": isfinite,
    }
    return made


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]
