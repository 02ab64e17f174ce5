"""The example lists of a neuron's page: largest, smallest, sign cases, and positions drawn at random.

Invariant: the lists of one page together have at most `BUDGET` bytes; what does not fit is counted.
Cost: linear in the tokens shown.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
from jaxtyping import Float32

from neurolocal.literals import Side
from neurolocal.records import Example
from neurolocal.render.figures import number
from neurolocal.render.page_templates import markup
from neurolocal.render.visible import LONGEST, visible
from neurolocal.render.windows import Window
from neurolocal.report.layer import Layer
from neurolocal.report.repeats import repeats
from neurolocal.site.sources import NeuronExamples, Sources

BUDGET = 130_000
"""Bytes of all examples of a page. The rest of a page is bounded by its own limits, some 40,000 bytes."""

EXAMPLES = 20
"""Examples of a list that a page shows."""

OPEN = 6
"""Examples of the first list that are not folded away."""

SHARES = (0.0, 0.02, 0.1, 0.25, 0.5, 0.75)
"""Which of the random positions are shown: these shares from the strongest activation down."""

BEFORE, AFTER = 20, 10
"""Tokens around a random position."""

TITLES: dict[str, tuple[str, str]] = {
    "largest": ("Largest activations", "the strongest position of each row, strongest first"),
    "smallest": ("Smallest activations", "the other end: the most negative first"),
}
"""Side -> title and explanation; sign cases have their name."""


@dataclass(frozen=True)
class ExampleList:
    """A list of examples as the page shows it."""

    key: str
    """Name for the page's anchors."""
    title: str
    meaning: str
    """What is listed, in one sentence."""
    shown: Any
    """The examples as HTML."""
    folded: Any
    """Examples that are shown on demand, as HTML."""
    n_shown: int
    n_folded: int
    left_out: int
    """Examples that the page has no room for."""


class Room:
    """The bytes that are left for examples on a page."""

    def __init__(self) -> None:
        """All of them."""
        self._left = BUDGET

    def fitting(self, heads: Sequence[str], windows: Iterator[str]) -> list[str]:
        """Examples of these heads and the next windows, as HTML, until one does not fit; their bytes are taken."""
        made = []
        for head, window in zip(heads, islice(windows, len(heads)), strict=True):
            one = f"{head}{window}</li>"
            size = len(one) if one.isascii() else len(one.encode())
            if size > self._left:
                self._left = 0
                continue
            self._left -= size
            made.append(one)
        return made


def example_lists(sources: Sources, read: Layer, neuron: int) -> list[ExampleList]:
    """All lists of a neuron; a list without an example is left out."""
    lists, sampled = sources.examples(read.layer, read.index[neuron])
    chosen: dict[Side, NeuronExamples] = {side: listed for side, listed in lists.items() if listed.examples}
    part = read.ranks_by_part.get(neuron, {})
    heads = [_heads(listed, part if side == read.side else {}) for side, listed in chosen.items()]
    shown = [[_window(e) for e in listed.examples[:EXAMPLES]] for listed in chosen.values()]
    drawn, drawn_heads = _random(sources, sampled, scale=_scale(lists, sampled))
    windows = iter(sources.windows.html([*chain(*shown), *drawn]))
    room, made = Room(), []
    for i, (side, listed) in enumerate(chosen.items()):
        title, meaning = TITLES.get(side, (f"Sign case {side}", "gate and input of these signs, strongest first"))
        fitting = room.fitting(heads[i], windows)
        first, left_out = OPEN if i == 0 else 0, len(listed.examples) - len(fitting)
        made.append(_list(_key(side), title, meaning, fitting[:first], fitting[first:], left_out))
    if fitting := room.fitting(drawn_heads, windows):
        meaning = f"{len(fitting)} of {sources.n_sampled:,} positions drawn at random, by activation"
        made.insert(1, _list("random", "At random", meaning, fitting, [], 0))
    return made


def _list(key: str, title: str, meaning: str, shown: list[str], folded: list[str], left_out: int) -> ExampleList:
    texts = [markup("\n".join(some)) for some in (shown, folded)]
    return ExampleList(key, title, meaning, texts[0], texts[1], len(shown), len(folded), left_out)


def _key(side: Side) -> str:
    """A name without signs: `gate+_in-` -> `gate-p-in-m`."""
    return side.replace("-", "-m").replace("+", "-p").replace("_", "-")


def _window(e: Example) -> Window:
    return Window(e.tokens, e.activations, e.peak, e.activation)


def _heads(listed: NeuronExamples, part: Mapping[int, int]) -> list[str]:
    """What stands before the window of each example, as HTML."""
    examples, made = listed.examples[:EXAMPLES], list[str]()
    for e, place, subset, same in zip(examples, listed.places, listed.subsets, repeats(examples), strict=False):
        where = f" · <bdi>{html.escape(visible(subset, limit=LONGEST))}</bdi>" if subset else ""
        if e.rank in part:
            where += f" · <span class=part>meaning {part[e.rank]}</span>"
        again = f" · <span class=repeats>nearly the text of {same + 1}</span>" if same is not None else ""
        made.append(_head(place, e.start, e.activation, e.row, e.position, where + again))
    return made


def _head(place: int, start: int, activation: float, row: int, position: int, more: str = "") -> str:
    return (
        f"<li data-r={place} data-p={start}><p class=at><b>{number(activation)}</b> row {row}, position {position}"
        f"{more}</p>"
    )


def _scale(lists: dict[Side, NeuronExamples], sampled: Float32[np.ndarray, "sample"]) -> float:
    """The activation of the strongest shade among random positions: the neuron's largest."""
    largest = next((one.examples[0].activation for one in lists.values() if one.examples), 0.0)
    return largest if largest > 0 or not sampled.size else float(np.nanmax(np.abs(sampled), initial=0.0))


def _random(
    sources: Sources, sampled: Float32[np.ndarray, "sample"], *, scale: float
) -> tuple[list[Window], list[str]]:
    """Some of the sampled positions, strongest first, each with the text around it; and what stands before each."""
    known = np.flatnonzero(np.isfinite(sampled))
    if not known.size:
        return [], []
    order = known[np.argsort(-sampled[known], kind="stable")]
    chosen = dict.fromkeys(min(int(share * len(order)), len(order) - 1) for share in SHARES)
    drawn = [_drawn(sources, int(order[i]), float(sampled[order[i]]), scale=scale) for i in chosen]
    return [window for window, _ in drawn], [head for _, head in drawn]


def _drawn(sources: Sources, number_: int, activation: float, *, scale: float) -> tuple[Window, str]:
    sample: Any = sources.store.sample
    row, position = int(sample.row[number_]), int(sample.position[number_])
    tokens = sources.store.row(row)
    first, stop = max(position - BEFORE, 0), min(position + AFTER + 1, len(tokens))
    values = np.full(stop - first, np.nan, np.float32)
    values[position - first] = activation
    window = Window(tokens[first:stop], values, position - first, scale)
    return window, _head(sources.place(row), first, activation, row, position)
