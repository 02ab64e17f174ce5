"""One neuron on a terminal: verdict, evidence beside its null, statistics, and its examples with the peak marked.

On a terminal the activation shades the text and the peak is underlined; in a pipe or a file the peak stands in double
brackets, `a [[poly]]gon`. Line breaks and hidden characters of the corpus are made visible.
"""

from __future__ import annotations

from math import isfinite

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from neurolocal.errors import StoreError
from neurolocal.records import CASES, THRESHOLDS, Example, Side
from neurolocal.render.figures import number, percent
from neurolocal.render.spans import SHADES, Span, spans
from neurolocal.render.terminal import Out, console, verdict_text
from neurolocal.render.visible import counted, visible
from neurolocal.report.layer import MEANT, Layer, read_layer
from neurolocal.report.rows import NeuronRow, neuron_row
from neurolocal.report.sections import figures
from neurolocal.store import Store

LONGEST = 200
"""Characters of one token that are shown."""


def show(
    store: Store,
    layer: int,
    neuron: int,
    *,
    out: Out,
    side: Side = "largest",
    limit: int | None = None,
    width: int | None = None,
    color: bool | None = None,
) -> None:
    """Print one neuron, with `limit` of its examples (None: all). A neuron that isn't there is a `StoreError`."""
    store.require_layers([layer])
    read = read_layer(store, layer, side=side, whole=False)
    if neuron not in read.index:
        held = f"{len(read.index):,} of its neurons, {min(read.index, default=0)} to {max(read.index, default=-1)}"
        raise StoreError(f"showing neuron {neuron} of layer {layer}: the store holds {held}")
    row = neuron_row(read, neuron)
    screen = console(out, width=width, color=color)
    _header(screen, row)
    _evidence(screen, read, row)
    _statistics(screen, read, neuron)
    _logits(screen, read, neuron)
    _origin(screen, read, neuron)
    _examples(screen, read, neuron, limit=limit)


def _header(screen: Console, row: NeuronRow) -> None:
    line = Text.assemble((f"layer {row.layer} · neuron {row.neuron}", "bold"), " · ", verdict_text(row.verdict))
    if isfinite(row.score):
        line.append(f" · score {row.score:.3f} · rank {row.rank}")
    screen.print(line)
    if row.description:
        screen.print(
            Text.assemble((visible(row.description, limit=LONGEST), "bold"), (f"  ({visible(row.source)})", "dim"))
        )
    if row.reason:
        screen.print(Text(visible(row.reason, limit=300)))


def _evidence(screen: Console, read: Layer, row: NeuronRow) -> None:
    screen.print(Text("\nevidence", style="dim"))
    found = figures(read, row.neuron)
    grid = Table.grid(padding=(0, 2, 0, 0))
    for column in range(4):
        grid.add_column(justify="right" if column == 1 else "left", no_wrap=column < 3)
    for f in found:
        grid.add_row(Text(f.name), Text(f.value, style="bold"), Text(f.null, style="dim"), Text(f.test))
    screen.print(
        Padding(grid if found else Text("none yet: neither similarity nor perturbation"), (0, 0, 0, 2), expand=False)
    )
    for name, tried in (
        ("raise it", [s for s in read.substitutes(row.neuron, *MEANT) if s.relative > 1]),
        ("neighbours", read.substitutes(row.neuron, "neighbour")),
        ("lower it", [s for s in read.substitutes(row.neuron, "neighbour", "reach", lowest=True) if s.relative < 0.5]),
        ("new words", read.substitutes(row.neuron, "reach")),
        ("variants", read.substitutes(row.neuron, "variant", "form")),
        ("controls", read.substitutes(row.neuron, "control")),
    ):
        if tried:
            said = ", ".join(f"{visible(s.word, limit=24)} {percent(s.relative)}" for s in tried)
            screen.print(Padding(Text.assemble((f"{name}  ", "dim"), said), (0, 0, 0, 2), expand=False))
    if row.words:
        said = Text.assemble(("words  ", "dim"), counted(list(row.words.items())[:30]))
        screen.print(Padding(said, (0, 0, 0, 2), expand=False))


def _statistics(screen: Console, read: Layer, neuron: int) -> None:
    s, at = read.statistics, read.index[neuron]
    finite = s.count - int(s.nonfinite[at])
    screen.print(Text("\nstatistics", style="dim"))
    imported = "source" in read.store.manifest  # the positions that its page shows are all that is known
    said = f"{finite:,} positions, all that its page shows" if imported else f"{s.count:,} positions"
    if finite:
        share = percent(int(s.positive[at]) / finite)
        spread = float(s.variance[at]) ** 0.5
        said += f" · mean {number(float(s.mean[at]))} ± {number(spread)} · positive {share}"
        said += f" · from {number(float(s.minimum[at]))} to {number(float(s.maximum[at]))}"
    if finite < s.count and not imported:
        said += f" · NaN or infinite at {s.count - finite:,}"
    _line(screen, said)
    if finite:
        above = [f"> {level:g} {percent(int(n) / finite)}" for level, n in zip(THRESHOLDS, s.above[:, at], strict=True)]
        shape = f"skewness {number(float(s.skewness[at]))} · kurtosis {number(float(s.kurtosis[at]))}"
        _line(screen, f"{' · '.join(above)} · {shape}")
    cases = read.store.cases(read.layer)
    for i, case in enumerate(CASES if cases is not None else ()):
        assert cases is not None
        share, mean = percent(float(cases.frequency[i, at])), number(float(cases.mean[i, at]))
        _line(screen, f"{case.replace('_', ' ')}  {share:>5}, mean {mean}")


def _origin(screen: Console, read: Layer, neuron: int) -> None:
    """Which subsets of the corpus the examples come from, where it names any."""
    names = read.store.subset_names
    shares = read.store.subsets(read.layer, read.side)[read.index[neuron]] if any(names) else []
    found = sorted(
        ((float(share), name) for share, name in zip(shares, names, strict=False) if share > 0), reverse=True
    )
    if found:
        screen.print(Text("\nexamples from", style="dim"))
        _line(screen, " · ".join(f"{visible(name or 'no subset', limit=LONGEST)} {percent(s)}" for s, name in found))


def _logits(screen: Console, read: Layer, neuron: int) -> None:
    """The tokens that the neuron's output promotes and suppresses."""
    effects = read.store.logit_effects(read.layer)
    if effects is None:
        return
    at, vocabulary = read.index[neuron], read.store.vocabulary
    screen.print(Text("\ndirect logit effect", style="dim"))
    for name, tokens, values in (
        ("promotes", effects.promoted[at], effects.promoted_effect[at]),
        ("suppresses", effects.suppressed[at], effects.suppressed_effect[at]),
    ):
        shown = [
            f"{visible(text, limit=LONGEST)} {number(float(value))}"
            for text, value in zip(vocabulary.str_tokens(tokens), values, strict=True)
        ]
        _line(screen, f"{name} {', '.join(shown)}")


def _line(screen: Console, said: str) -> None:
    screen.print(Padding(Text(said), (0, 0, 0, 2), expand=False))


def _examples(screen: Console, read: Layer, neuron: int, *, limit: int | None) -> None:
    examples = read.examples(neuron)
    shown = examples[:limit]
    more = f" · {len(shown)} of {len(examples)}" if len(shown) < len(examples) else ""
    screen.print(Text(f"\nexamples · {read.side} activation{more}", style="dim"))
    if not examples:
        screen.print(Padding(Text("none"), (0, 0, 0, 2), expand=False))
    for example in shown:
        head = Text.assemble((f"{example.rank:>2}", "dim"), f"  {number(example.activation)}")
        head.append(f"  row {example.row}, position {example.position}", style="dim")
        screen.print(head)
        screen.print(Padding(_window(example, read, marked=not screen.is_terminal), (0, 0, 0, 4), expand=False))


def _window(example: Example, read: Layer, *, marked: bool) -> Text:
    line = Text()
    for span in spans(example, read.store.vocabulary):
        said = visible(span.text, limit=LONGEST)
        line.append(f"[[{said}]]" if marked and span.peak else said, style=None if marked else _style(span))
    return line


def _style(span: Span) -> str:
    """Darker green for more activation, white on top, so it reads on a light and on a dark terminal."""
    if span.special:
        return "dim"
    if not span.shade:
        return "bold underline" if span.peak else ""
    share = span.shade / SHADES
    ground = f"on rgb({round(30 * (1 - share))},{round(70 + 50 * share)},{round(60 + 20 * share)})"
    return f"{'bold underline ' if span.peak else ''}rgb(255,255,255) {ground}"
