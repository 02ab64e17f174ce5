"""The tables of what was collected of each layer: statistics, examples, sign cases, sample, effects on the logits.

Invariant: the rows are those of the store, neurons ascending. Cost: of a layer its statistics and its sample, and some
thousand examples with their windows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from neurolocal.config import described
from neurolocal.export.columns import LAYER, NEURON, SIDE, batch, column, lists
from neurolocal.export.table import ROWS, ExportTable, slices
from neurolocal.records import CASES, MOMENTS, CaseStatistics, Example, LogitEffects, Side, Statistics
from neurolocal.store import Store

INTS, FLOATS, STRINGS = pa.list_(pa.int64()), pa.list_(pa.float32()), pa.list_(pa.string())

_STATISTICS = described(Statistics)

STATISTICS = pa.schema([
    LAYER,
    NEURON,
    column("expert", pa.int32(), "Number of its expert within the layer; null in a layer without experts."),
    column("expert_neuron", pa.int64(), "Index within the expert; null in a layer without experts."),
    column("routed", pa.int64(), "Counted positions that were routed to its expert; null in a layer without experts."),
    *(column(name, pa.int64(), _STATISTICS[name]) for name in ("count", "nonfinite")),
    *(column(name, pa.float64(), getattr(Statistics, name).__doc__ or "") for name in MOMENTS),
    *(column(name, pa.float32(), _STATISTICS[name]) for name in ("minimum", "maximum")),
    column("positive", pa.int64(), _STATISTICS["positive"]),
    column("above", INTS, _STATISTICS["above"]),
    column("sampled", pa.int64(), _STATISTICS["sampled"]),
    column("histogram", INTS, _STATISTICS["histogram"]),
])  # fmt: skip

_EXAMPLE = described(Example)

EXAMPLES = pa.schema([
    LAYER,
    NEURON,
    SIDE,
    column("rank", pa.int32(), _EXAMPLE["rank"]),
    *(column(name, pa.int64(), _EXAMPLE[name]) for name in ("row", "position")),
    column("activation", pa.float32(), _EXAMPLE["activation"]),
    column("subset", pa.string(), "Subset of the corpus that the peak stands in; empty: in none."),
    column("peak_token", pa.string(), "Text of the peak token alone."),
    column("start", pa.int64(), _EXAMPLE["start"]),
    column("tokens", INTS, _EXAMPLE["tokens"]),
    column("str_tokens", STRINGS, "Text of each of `tokens` alone; parts of characters are U+FFFD."),
    column("activations", FLOATS, _EXAMPLE["activations"]),
])  # fmt: skip

_CASE = described(CaseStatistics)

SIGN_CASES = pa.schema([
    LAYER,
    NEURON,
    column("case", pa.string(), "The signs of gate and in."),
    column("count", pa.int64(), _CASE["count"]),
    column("frequency", pa.float64(), CaseStatistics.frequency.__doc__ or ""),
    column("mean", pa.float64(), CaseStatistics.mean.__doc__ or ""),
])  # fmt: skip

SAMPLE = pa.schema([
    LAYER, NEURON, column("activations", FLOATS, "Activation at each row of the table `sample_positions`, in order."),
])  # fmt: skip

_EFFECTS = described(LogitEffects)

LOGITS = pa.schema([
    LAYER,
    NEURON,
    *(
        field
        for name in ("promoted", "suppressed")
        for field in (
            column(name, pa.list_(pa.int32()), _EFFECTS[name]),
            column(f"{name}_tokens", STRINGS, "The text of each."),
            column(f"{name}_effect", FLOATS, _EFFECTS[f"{name}_effect"]),
        )
    ),
])  # fmt: skip


def layer_tables() -> list[ExportTable]:
    """The tables of the collection that have rows for each neuron."""
    return [
        ExportTable("statistics", f"{Statistics.__doc__} One row a neuron.", STATISTICS, _statistics),
        ExportTable("examples", "The examples of every neuron and side, strongest first.", EXAMPLES, _examples),
        ExportTable("sign_cases", f"{CaseStatistics.__doc__} One row a neuron and case.", SIGN_CASES, _sign_cases),
        ExportTable("sample", "Activations at positions drawn at random, the same for all.", SAMPLE, _sample),
        ExportTable("logit_effects", "Tokens that each neuron promotes and suppresses most.", LOGITS, _logit_effects),
    ]


def _statistics(store: Store, layers: Sequence[int]) -> Iterator[pa.RecordBatch]:
    for layer in layers:
        s, neurons, experts = store.statistics(layer), store.neurons(layer), store.experts(layer)
        columns: dict[str, Any] = {name: getattr(s, name) for name in (*MOMENTS, "minimum", "maximum", "positive")}
        columns |= {"nonfinite": s.nonfinite, "above": s.above.T, "histogram": s.histogram, "neuron": neurons}
        fixed: dict[str, Any] = {"layer": layer, "count": s.count, "sampled": s.sampled}
        if experts is None:
            fixed |= {"expert": None, "expert_neuron": None, "routed": None}
        else:
            expert = np.searchsorted(experts.offsets, neurons, side="right") - 1
            columns |= {"expert": expert, "expert_neuron": neurons - experts.offsets[expert]}
            columns["routed"] = experts.count[expert]
        for part in slices(len(neurons)):
            yield batch(STATISTICS, fixed | {name: values[part] for name, values in columns.items()})


def _examples(store: Store, layers: Sequence[int]) -> Iterator[pa.RecordBatch]:
    texts = _texts(store)
    for layer in layers:
        for side in store.sides(layer):
            for part in slices(len(store.neurons(layer)), max(ROWS // max(store.k(layer, side), 1), 1)):
                yield _some_examples(store, layer, side, part, texts)


def _some_examples(store: Store, layer: int, side: Side, part: slice, texts: pa.Array) -> pa.RecordBatch:
    """The examples of some neurons: `Store.examples` of each, as columns."""
    top = store.top(layer, side, part)
    neuron, rank = np.nonzero(top.row >= 0)
    row, position = top.row[neuron, rank], top.position[neuron, rank].astype(np.int64)
    at = store.stored_at(row)
    tokens, length = store.rows_stored
    if (position >= length[at]).any():
        raise store.checked.bad(f"an example of layer {layer} lies beyond the end of its row")
    begin = position - store.manifest["config"]["before"]
    places = begin[:, None] + np.arange(top.window.shape[2])
    inside = (places >= 0) & (places < length[at][:, None])
    ids = tokens[at[:, None], np.where(inside, places, 0)][inside].astype(np.int64)
    sizes = inside.sum(axis=1)
    return batch(EXAMPLES, {
        "layer": layer,
        "neuron": store.neurons(layer)[part][neuron],
        "side": side,
        "rank": rank.astype(np.int32),
        "row": row,
        "position": position,
        "activation": top.activation[neuron, rank],
        "subset": _subsets(store, at, position),
        "peak_token": texts.take(pa.array(tokens[at, position].astype(np.int64))),
        "start": np.maximum(begin, 0),
        "tokens": lists(ids, sizes, pa.int64()),
        "str_tokens": lists(texts.take(pa.array(ids)), sizes, pa.string()),
        "activations": lists(top.window[neuron, rank][inside], sizes, pa.float32()),
    })  # fmt: skip


def _subsets(store: Store, at: np.ndarray, position: np.ndarray) -> pa.Array:
    """The subset that each position stands in."""
    parts = store.parts
    part = parts.at(at, position)
    return pa.array(parts.subsets, pa.string()).take(pa.array(parts.subset[part]))


def _sign_cases(store: Store, layers: Sequence[int]) -> Iterator[pa.RecordBatch]:
    for layer in layers:
        cases, neurons = store.cases(layer), store.neurons(layer)
        if cases is None or not len(neurons):
            continue
        columns = {name: getattr(cases, name).T.ravel() for name in ("count", "frequency", "mean")}
        names = list(CASES) * len(neurons)
        yield batch(SIGN_CASES, {"layer": layer, "neuron": np.repeat(neurons, len(CASES)), "case": names, **columns})


def _sample(store: Store, layers: Sequence[int]) -> Iterator[pa.RecordBatch]:
    for layer in layers:
        neurons, values = store.neurons(layer), store.sampled(layer)
        for part in slices(len(neurons), 1024):
            yield batch(SAMPLE, {"layer": layer, "neuron": neurons[part], "activations": values[part]})


def _logit_effects(store: Store, layers: Sequence[int]) -> Iterator[pa.RecordBatch]:
    texts = _texts(store)
    for layer in layers:
        effects, neurons = store.logit_effects(layer), store.neurons(layer)
        for part in slices(0 if effects is None else len(neurons)):
            columns: dict[str, Any] = {"layer": layer, "neuron": neurons[part]}
            for name in ("promoted", "suppressed"):
                ids = getattr(effects, name)[part]
                columns |= {name: ids, f"{name}_effect": getattr(effects, f"{name}_effect")[part]}
                sizes = np.full(len(ids), ids.shape[1])
                columns[f"{name}_tokens"] = lists(texts.take(pa.array(ids.ravel())), sizes, pa.string())
            yield batch(LOGITS, columns)


def _texts(store: Store) -> pa.Array:
    """The text of each token id alone."""
    return pa.array(store.vocabulary.str_tokens(range(len(store.vocabulary.tokens))), pa.string())
