"""One neuron of an open store, and its examples: what they say, how they print, how they look in a notebook.

Cost: nothing before the first look; then the tables of the neuron's layer (read once a store) and its own examples.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from neurolocal import report
from neurolocal.notebook.pages import examples_html, neuron_html
from neurolocal.notebook.plot import plot_histogram
from neurolocal.notebook.tables import example_table
from neurolocal.notebook.text import NeuronText
from neurolocal.records import Example
from neurolocal.render.figures import number
from neurolocal.render.visible import LONGEST, visible
from neurolocal.report.layer import Layer
from neurolocal.report.rows import NeuronRow, neuron_row
from neurolocal.report.statistics import NeuronStatistics, neuron_statistics
from neurolocal.words.marked import AFTER, BEFORE, marked

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

    from neurolocal.notebook.store import OpenStore


class StoredNeuron:
    """A neuron of an open store."""

    def __init__(self, opened: OpenStore, layer: int, neuron: int) -> None:
        """A neuron that the store holds; `OpenStore[layer, neuron]` checks that."""
        self._opened, self.layer, self.neuron = opened, layer, neuron

    @property
    def _read(self) -> Layer:
        return self._opened.read(self.layer)

    @cached_property
    def row(self) -> NeuronRow:
        """Everything that the report says of it: verdict, description, words, figures."""
        return neuron_row(self._read, self.neuron)

    @property
    def verdict(self) -> str | None:
        """One of `records.VERDICTS`; None without one."""
        return self.row.verdict

    @property
    def description(self) -> str:
        """What a person would call it; empty without a description."""
        return self.row.description

    @property
    def statistics(self) -> NeuronStatistics:
        """Its activation over the corpus."""
        return neuron_statistics(self._read, self.neuron)

    @cached_property
    def examples(self) -> Examples:
        """Its examples, strongest first."""
        return Examples(self._read.examples(self.neuron), read=self._read)

    def activation_on(self, text: str) -> NeuronText:
        """What it does on a text, token by token, placed in its own distribution. The subject is loaded once.

        Raises:
            NeurolocalError: the subject cannot be loaded, is another one, or cannot read the text.
        """
        asking = self._opened.asking
        return NeuronText(asking.neurons(text, [(self.layer, self.neuron)]), asking.subject.vocabulary)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw its histogram over the corpus, by matplotlib; on these axes, or on new ones.

        Raises:
            NeurolocalError: matplotlib is not installed, or the store holds no histogram of it.
        """
        return plot_histogram(self._read, self.neuron, title=self._title, ax=ax)

    def show(self, *, limit: int | None = None) -> None:
        """Print it as `neurolocal show` does, with `limit` examples (None: all)."""
        out = io.StringIO()
        report.show(self._opened.store, self.layer, self.neuron, out=out, side=self._opened.side, limit=limit)
        print(out.getvalue(), end="")

    def as_json(self) -> dict[str, Any]:
        """It as a plain object, with its examples: `neurolocal show --json`."""
        return report.neuron_object(self._opened.store, self.layer, self.neuron, side=self._opened.side)

    @property
    def _title(self) -> str:
        said = " · ".join(part for part in (self.verdict, visible(self.description, limit=60)) if part)
        return f"layer {self.layer} · neuron {self.neuron}" + (f" · {said}" if said else "")

    def __repr__(self) -> str:
        """One line: place, verdict, description, examples."""
        return f"<Neuron {self._title}; {len(self.examples)} examples, largest {number(self.row.activation)}>"

    def _repr_html_(self) -> str:
        """Verdict, description, histogram, strongest examples shaded, figures."""
        return neuron_html(self._read, self.row)


class Examples(tuple[Example, ...]):
    """The examples of a neuron, strongest first: a tuple that prints as text and shows itself shaded in a notebook."""

    def __new__(cls, examples: Iterable[Example], *, read: Layer) -> Examples:
        """Examples of a neuron of this layer."""
        made = super().__new__(cls, examples)
        made._read = read
        return made

    _read: Layer

    def __repr__(self) -> str:
        """One line each: rank, activation, and the text around the peak word, which stands in `<< >>`."""
        lines = [f"{one.rank + 1:>3} {number(one.activation):>8}  {self._line(one)}" for one in self]
        return "\n".join(lines) or "no examples"

    def _line(self, one: Example) -> str:
        vocabulary = self._read.store.vocabulary
        word = vocabulary.word_at(one.tokens, one.peak)
        low, high = max(word.start - BEFORE, 0), min(word.end + AFTER, len(one.tokens))
        return visible(marked(one.tokens, word.start, word.end, low, high, vocabulary), limit=LONGEST)

    def _repr_html_(self) -> str:
        """All of them, shaded."""
        return examples_html(self._read, list(self))

    def table(self) -> DataFrame:
        """A pandas table, one row each: rank, activation, row, position, subset, peak, text.

        Raises:
            NeurolocalError: pandas is not installed.
        """
        return example_table(self._read, list(self))
