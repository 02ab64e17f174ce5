"""The tables of what all layers share: rows, their documents, the sampled positions, the vocabulary.

A store that was imported from pages also has what its pages state.
Cost: all stored token rows and the vocabulary in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from neurolocal.config import described
from neurolocal.export.columns import LAYER, NEURON, batch, column, lists
from neurolocal.export.table import ExportTable, slices
from neurolocal.provenance import Parts
from neurolocal.records import PageLists, Sample
from neurolocal.store import Store

ROW = column("row", pa.int64(), "Row index in the corpus.")

TOKEN_ROWS = pa.schema([ROW, column("tokens", pa.list_(pa.int64()), "Token ids, without padding.")])

_PARTS = described(Parts)

PARTS = pa.schema([
    ROW,
    column("position", pa.int32(), _PARTS["position"]),
    *(column(name, pa.int64(), _PARTS[name]) for name in ("file", "record", "character")),
    column("subset", pa.string(), "Subset of the corpus; empty: in none."),
])  # fmt: skip

SAMPLE_POSITIONS = pa.schema([
    *(column(name, pa.int64(), described(Sample)[name]) for name in ("row", "position")),
    column("explaining", pa.bool_(), Sample.explaining.__doc__ or ""),
])  # fmt: skip

VOCABULARY = pa.schema([
    column("token", pa.int64(), "Token id."),
    column("text", pa.string(), "Its text alone; parts of characters are U+FFFD."),
    column("bytes", pa.binary(), "The bytes that it stands for."),
    column("special", pa.bool_(), "Whether it is a control token such as BOS."),
    column("count", pa.int64(), "How often it occurred at a counted position of the corpus."),
])  # fmt: skip

_PAGE = described(PageLists)

PAGES = pa.schema([
    LAYER,
    NEURON,
    column("text", pa.list_(pa.int32()), _PAGE["text"]),
    *(column(name, pa.list_(pa.float64()), _PAGE[name]) for name in ("largest", "smallest")),
    *(column(name, pa.float64(), _PAGE[name]) for name in ("range", "maximum")),
    column("trusted", pa.bool_(), _PAGE["trusted"]),
])  # fmt: skip


def shared_tables() -> list[ExportTable]:
    """The tables that no layer has for itself, and that of imported pages."""
    return [
        ExportTable("rows", "Every stored row of tokens.", TOKEN_ROWS, _rows),
        ExportTable("parts", "Which documents each row is made of: one row a part of a row.", PARTS, _parts),
        ExportTable("sample_positions", f"{Sample.__doc__}", SAMPLE_POSITIONS, _sample_positions),
        ExportTable("vocabulary", "What each token id stands for.", VOCABULARY, _vocabulary),
        ExportTable("pages", f"{PageLists.__doc__} One row a neuron.", PAGES, _pages),
    ]


def _rows(store: Store, layers: Sequence[int]) -> Iterator[pa.RecordBatch]:
    tokens, length = store.rows_stored
    for part in slices(len(length), 4096):
        inside = np.arange(tokens.shape[1]) < length[part, None]
        ids = lists(tokens[part][inside].astype(np.int64), length[part], pa.int64())
        yield batch(TOKEN_ROWS, {"row": store.row_index[part], "tokens": ids})


def _parts(store: Store, layers: Sequence[int]) -> Iterator[pa.RecordBatch]:
    parts = store.parts
    row = np.repeat(store.row_index, np.diff(parts.offsets))
    subset = pa.array(parts.subsets, pa.string()).take(pa.array(parts.subset))
    for part in slices(len(row)):
        columns = {name: getattr(parts, name)[part] for name in ("position", "file", "record", "character")}
        yield batch(PARTS, {"row": row[part], "subset": subset[part], **columns})


def _sample_positions(store: Store, layers: Sequence[int]) -> Iterator[pa.RecordBatch]:
    sample = store.sample
    for part in slices(len(sample.row)):
        columns = {"row": sample.row[part], "position": sample.position[part].astype(np.int64)}
        yield batch(SAMPLE_POSITIONS, {**columns, "explaining": sample.explaining[part]})


def _vocabulary(store: Store, layers: Sequence[int]) -> Iterator[pa.RecordBatch]:
    tokens, counts = store.vocabulary.tokens, store.token_count
    for part in slices(len(tokens)):
        ids = np.arange(part.start, part.stop)
        columns = {"token": ids, "text": store.vocabulary.str_tokens(ids), "bytes": list(tokens[part])}
        yield batch(VOCABULARY, {**columns, "special": store.vocabulary.special[part], "count": counts[part]})


def _pages(store: Store, layers: Sequence[int]) -> Iterator[pa.RecordBatch]:
    for layer in layers:
        pages, neurons = store.pages(layer), store.neurons(layer)
        for part in slices(0 if pages is None else len(neurons)):
            columns = {name: getattr(pages, name)[part] for name in PAGES.names[2:]}
            yield batch(PAGES, {"layer": layer, "neuron": neurons[part], **columns})
