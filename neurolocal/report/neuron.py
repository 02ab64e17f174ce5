"""One neuron on a terminal: verdict, examples with the peak marked, words, evidence beside its null, statistics.

With colour the activation shades the text and the peak is underlined. Without (a pipe, a file, NO_COLOR) the peak is in
double brackets, `a [[poly]]gon`. Line breaks and hidden characters of the corpus are made visible. Lines are as wide as
the terminal, 80 columns without one.
Cost: the examples of this neuron, and the tables of its layer.
"""

from __future__ import annotations

from math import isfinite

from rich.console import Console
from rich.table import Table
from rich.text import Text

from neurolocal.literals import Side
from neurolocal.records import CASES, THRESHOLDS
from neurolocal.render.figures import number, percent
from neurolocal.render.spans import spans
from neurolocal.render.terminal import Out, console, has_colour, indented, shaded, verdict_text
from neurolocal.render.visible import LONGEST, counted, visible
from neurolocal.report.histogram import histogram
from neurolocal.report.intervals import ON_PAGE, intervals
from neurolocal.report.layer import Layer
from neurolocal.report.logit_effects import TokenEffect, fires_and_promotes, measured, promoted, suppressed
from neurolocal.report.meanings import meanings
from neurolocal.report.neuron_json import read_neuron
from neurolocal.report.repeats import repeats
from neurolocal.report.rows import NeuronRow, neuron_row
from neurolocal.report.sections import figures, word_lists
from neurolocal.report.statistics import neuron_statistics
from neurolocal.store import Store

LONGEST_REASON = 300
"""Characters of a verdict's reason that are shown."""

WORDS = 30
"""Peak words that are listed."""

NAME = 38
"""Most columns of a figure's name, so that its null fits beside it in 80."""


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
    """Print one neuron.

    Args:
        store: an open store.
        layer: index of the layer.
        neuron: index within the layer.
        out: the output.
        side: which example lists and which tables.
        limit: the number of examples to print; None is all.
        width: columns; None is the terminal's width.
        color: whether to print in colour; None is whatever the terminal supports.

    Raises:
        StoreError: the store does not contain that layer or neuron.
    """
    read = read_neuron(store, layer, neuron, side=side)
    row = neuron_row(read, neuron)
    screen = console(out, width=width, color=color, otherwise=80)
    _header(screen, row, fires_and_promotes(read, neuron))
    _meanings(screen, read, neuron)
    _examples(screen, read, neuron, limit=limit)
    _intervals(screen, read, neuron)
    _words(screen, read, row)
    _logits(screen, read, neuron)
    _origin(screen, read, neuron)
    _evidence(screen, read, row)
    _statistics(screen, read, neuron)


def _header(screen: Console, row: NeuronRow, does: str) -> None:
    named = f" ({row.name})" if row.name else ""
    line = Text.assemble((f"layer {row.layer} · neuron {row.neuron}{named}", "bold"), " · ", verdict_text(row.verdict))
    if isfinite(row.score):
        line.append(f" · score {row.score:.3f} · rank {row.rank}")
    screen.print(line)
    if row.description:
        screen.print(
            Text.assemble((visible(row.description, limit=LONGEST), "bold"), (f"  ({visible(row.source)})", "dim"))
        )
    if row.reason:
        screen.print(Text(visible(row.reason, limit=LONGEST_REASON)))
    if does:
        screen.print(Text(does))


def _evidence(screen: Console, read: Layer, row: NeuronRow) -> None:
    _heading(screen, "evidence")
    measured = figures(read, row.neuron)
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, max_width=NAME)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column()
    for f in measured:
        name, text = visible(f.name, limit=LONGEST), visible(f.text, limit=LONGEST)
        null = Text(" · ").join(part for part in (Text(f.null_text, style="dim"), Text(f.test)) if part)
        grid.add_row(Text(name), Text(text, style="bold"), null)
    none = "none yet: neither similarity nor perturbation has measured this neuron"
    indented(screen, grid if measured else Text(none))


def _words(screen: Console, read: Layer, row: NeuronRow) -> None:
    """The peak words, and the words that replaced them."""
    if row.words:
        _heading(screen, "words")
        indented(screen, Text(counted(list(row.words.items())[:WORDS])))
    for words in word_lists(read, row.neuron):
        listed = ", ".join(f"{visible(r.word, limit=24)} {percent(r.relative)}" for r in words.words)
        indented(screen, Text.assemble((f"{words.name}  ", "dim"), listed))


def _statistics(screen: Console, read: Layer, neuron: int) -> None:
    _heading(screen, "statistics")
    s = neuron_statistics(read, neuron)
    line = s.positions
    if s.finite:
        line += f" · mean {number(s.mean)} ± {number(s.deviation)} · positive {percent(s.positive)}"
        line += f" · from {number(s.minimum)} to {number(s.maximum)}"
    if s.nonfinite:
        line += f" · NaN or infinite at {s.nonfinite:,}"
    indented(screen, Text(line))
    if s.finite:
        above = [f"> {level:g} {percent(share)}" for level, share in zip(THRESHOLDS, s.above, strict=True)]
        shape = f"skewness {number(s.skewness)} · kurtosis {number(s.kurtosis)}"
        indented(screen, Text(f"{' · '.join(above)} · {shape}"))
    drawn = histogram(read, neuron)
    if drawn is not None:
        indented(screen, Text(f"{drawn.text}\n{drawn.meaning}"))
    cases, at = read.store.cases(read.layer), read.index[neuron]
    if cases is not None:
        for i, case in enumerate(CASES):
            share, mean = percent(float(cases.frequency[i, at])), number(float(cases.mean[i, at]))
            indented(screen, Text(f"{case.replace('_', ' ')}  {share:>5}, mean {mean}"))


def _logits(screen: Console, read: Layer, neuron: int) -> None:
    """The tokens that the neuron's output promotes and suppresses, by the weights and measured."""
    if read.effects is not None:
        _heading(screen, "direct logit effect")
        _tokens(screen, [("promotes", promoted(read, neuron)), ("suppresses", suppressed(read, neuron))])
    changed = measured(read, neuron)
    if changed:
        _heading(screen, "measured, change of log-probability in nats")
        _tokens(screen, changed)


def _tokens(screen: Console, lists: list[tuple[str, list[TokenEffect]]]) -> None:
    for name, effects in lists:
        shown = [f"{visible(e.token, limit=LONGEST)} {number(e.effect)}" for e in effects]
        indented(screen, Text(f"{name} {', '.join(shown)}"))


def _origin(screen: Console, read: Layer, neuron: int) -> None:
    """The subsets of the corpus that the examples come from, if the corpus has named subsets."""
    names = read.store.subset_names
    shares = read.store.subsets(read.layer, read.side)[read.index[neuron]] if any(names) else []
    found = sorted(
        ((float(share), name) for share, name in zip(shares, names, strict=False) if share > 0), reverse=True
    )
    if found:
        _heading(screen, "examples from")
        listed = (f"{visible(name or 'no subset', limit=LONGEST)} {percent(share)}" for share, name in found)
        indented(screen, Text(" · ".join(listed)))


def _meanings(screen: Console, read: Layer, neuron: int) -> None:
    """The meanings of a neuron that has several."""
    found = meanings(read, neuron)
    if found:
        _heading(screen, f"{len(found)} meanings")
    for one in found:
        indented(screen, Text(f"{one.part}  {visible(one.title, limit=LONGEST_REASON)}"))


def _examples(screen: Console, read: Layer, neuron: int, *, limit: int | None) -> None:
    examples, part = read.examples(neuron), read.ranks_by_part.get(neuron, {})
    shown = examples[:limit]
    more = f" · {len(shown)} of {len(examples)}" if len(shown) < len(examples) else ""
    _heading(screen, f"examples · {read.side} activation{more}")
    if not examples:
        indented(screen, Text("none"))
    for example, same in zip(shown, repeats(shown), strict=True):
        head = Text.assemble((f"{example.rank + 1:>2}", "dim"), f"  {number(example.activation)}")
        subset = visible(read.subset(example), limit=LONGEST)
        origin = f" · {subset}" if subset else ""
        head.append(f"  row {example.row}, position {example.position}{origin}", style="dim")
        if example.rank in part:
            head.append(f" · meaning {part[example.rank]}", style="dim")
        if same is not None:
            head.append(f" · nearly the text of {shown[same].rank + 1}", style="dim")
        screen.print(head)
        window = spans(example, read.store.vocabulary)
        indented(screen, shaded(window, style=has_colour(screen)), columns=4)


def _intervals(screen: Console, read: Layer, neuron: int) -> None:
    """The bands of its activation, each with a few random rows."""
    found = intervals(read, neuron, limit=ON_PAGE)
    if found:
        _heading(screen, "by interval · random rows by their strongest activation")
    for interval in found:
        head = Text(f"{number(interval.low)} to {number(interval.high)}")
        head.append(
            f"  from {percent(interval.low_share)} of the maximum · {interval.rows:,} row{'s' * (interval.rows != 1)}",
            "dim",
        )
        screen.print(head)
        for example in interval.examples:
            indented(screen, shaded(spans(example, read.store.vocabulary), style=has_colour(screen)), columns=4)


def _heading(screen: Console, text: str) -> None:
    screen.print(Text(f"\n{text}", style="dim"))
