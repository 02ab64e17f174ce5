"""Tables of pandas: neurons, examples, tokens of a text, the neurons that a text excites.

The only place that imports pandas, when a table is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from neurolocal.asking import NeuronOnText, TextAnswer
from neurolocal.errors import NeurolocalError
from neurolocal.literals import Side
from neurolocal.records import Example
from neurolocal.render.visible import plain
from neurolocal.report.layer import Layer
from neurolocal.report.rows import NeuronRow, report_rows, row_fields
from neurolocal.store import Store

if TYPE_CHECKING:
    from pandas import DataFrame

SINGLE = ("int", "float", "str")
"""The types of a row's fields that are one value, as their annotations begin."""


def neuron_table(store: Store, layers: Iterable[int] | None, *, side: Side) -> DataFrame:
    """The report's rows of the layers (None: all), without the fields that are lists or objects; `tokens` stays."""
    rows = [row_fields(row) for row in report_rows(store, layers, side=side)]
    kept = [f.name for f in fields(NeuronRow) if str(f.type).split(" ")[0] in SINGLE or f.name == "tokens"]
    there = set(rows[0]) if rows else set(kept)
    return _table(rows, [name for name in kept if name in there])


def example_table(read: Layer, examples: Sequence[Example]) -> DataFrame:
    """One row an example."""
    vocabulary = read.store.vocabulary
    columns = ["rank", "activation", "row", "position", "subset", "peak", "text"]
    rows = [
        (
            one.rank + 1, one.activation, one.row, one.position, plain(read.subset(one)),
            plain(vocabulary.str_tokens([int(one.tokens[one.peak])])[0]), plain(read.store.text(one)),
        )
        for one in examples
    ]  # fmt: skip
    return _table([dict(zip(columns, row, strict=True)) for row in rows], columns)


def token_table(answer: TextAnswer, one: NeuronOnText) -> DataFrame:
    """One row a token of a text."""
    columns = ["id", "token", "activation", "share", "quantile", "counted"]
    values = zip(answer.tokens, one.activations, one.shares, one.quantiles, strict=True)
    rows = [(t.id, plain(t.text), float(a), float(share), float(q), t.counted) for t, a, share, q in values]
    return _table([dict(zip(columns, row, strict=True)) for row in rows], columns)


def answer_table(answer: TextAnswer) -> DataFrame:
    """One row a neuron of an answer, with its peak."""
    columns = ["layer", "neuron", "share", "token", "activation", "quantile", "verdict", "description"]
    rows = [
        (
            one.layer, one.neuron, one.peak_share, "" if one.peak is None else plain(answer.tokens[one.peak].text),
            one.peak_activation, one.peak_quantile, one.verdict, plain(one.description),
        )
        for one in answer.neurons
    ]  # fmt: skip
    return _table([dict(zip(columns, row, strict=True)) for row in rows], columns)


def _table(rows: list[dict[str, Any]], columns: list[str]) -> DataFrame:
    try:
        import pandas
    except ImportError as error:
        raise NeurolocalError(
            "making a table: pandas is not installed. Run: pip install 'neurolocal[notebook]'."
        ) from error
    return pandas.DataFrame(rows, columns=columns)
