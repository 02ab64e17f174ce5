"""Rows, and activations over them -> a store: the last step of every import.

Invariant: the store is what a collection over exactly these rows would have written, with two exceptions: a position
that no source shows counts as not finite, and there are no `smallest` lists. `check` finds no fault in it.
Cost: one pass over the rows to find the counted positions, then one neuron at a time.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64

from neurolocal.neuroscope.form import AFTER, BEFORE
from neurolocal.neuroscope.imports.layer_builder import (
    CountedPositions,
    LayerBuilder,
    NeuronActivations,
    Signs,
    drawn,
    order,
)
from neurolocal.neuroscope.imports.row_table import ImportedCorpus
from neurolocal.records import BINS, HISTOGRAM_EVERY, THRESHOLDS, LayerRecord, PageLists, Place, Sample, Site
from neurolocal.store import Blocks, StoreContent, write_collected
from neurolocal.words.counted import counted_positions

SLAB = 256
"""Rows that are processed together."""


class ImportedNeuron(NamedTuple):
    """The content of a source for one neuron, texts in the order of the source."""

    shown: NeuronActivations
    number: Int32[np.ndarray, "text"]
    """Number of each text on its page."""
    largest: Float64[np.ndarray, "text"]
    """Largest activation of each text's row, as printed; NaN without one."""
    smallest: Float64[np.ndarray, "text"]
    """The same of the smallest."""
    range: float
    """The largest value that the page's colours show; NaN where the source has none."""
    signs: Signs | None = None
    """Outputs of the gate and the in projection, if sign cases are kept."""
    maximum: float | None = None
    """The neuron's largest activation, if it is known without an example."""
    trusted: bool = True
    """False where the source is known to be unreliable for this neuron."""


NeuronSource = Callable[[Place, int], ImportedNeuron]
"""A site with a layer, and a neuron there -> its content."""


def write_import(
    out: Path, manifest: Mapping[str, Any], corpus: ImportedCorpus, neurons: Mapping[Place, Sequence[int]],
    source: NeuronSource, *,
    problems: Sequence[str] = (),
) -> None:  # fmt: skip
    """Write a store.

    Args:
        out: its path; an existing file is replaced.
        manifest: everything except what follows from the rows.
        corpus: rows and vocabulary.
        neurons: of each site and layer, ascending.
        source: called twice for each neuron.
        problems: one line for each thing that could not be read.

    Raises:
        StoreError: the disk is full or the folder cannot be written.
    """
    config, mask = manifest["config"], PositionMask(corpus, manifest["config"])
    k, width = config["k"], corpus.rows.tokens.shape[1]
    counted = mask.counted()
    page_lists: dict[Place, PageLists] = {}

    def layers() -> Iterator[tuple[Place, LayerRecord]]:
        for place, some in neurons.items():
            cases = config["sign_cases"] and place[0] == "post"
            builder = LayerBuilder(np.array(some, np.int64), k, counted, before=BEFORE, after=AFTER, cases=cases)
            page_lists[place] = lists = _empty_lists(len(some), k)
            for at, neuron in enumerate(some):
                one = source(place, neuron)
                builder.add(at, one.shown, one.signs)
                _fill(lists, at, one)
            yield place, builder.record()

    def whole(place: Place, some: Sequence[int]) -> Iterator[Float32[np.ndarray, "1 k pos"]]:
        for neuron in some:
            shown, found = source(place, neuron).shown, np.full((1, k, width), np.nan, np.float32)
            found[0, : len(shown.row), : shown.values.shape[1]] = shown.values[order(shown)]
            yield found

    def pages() -> Iterator[tuple[Place, PageLists, Blocks]]:
        for place, some in neurons.items():
            yield place, page_lists[place], Blocks((len(some), k, width), "<f4", whole(place, some))

    write_collected(
        out,
        StoreContent(
            manifest=_completed(manifest, corpus, neurons, counted.n),
            layers=layers(),
            sample=Sample(np.empty(0, np.int64), np.empty(0, np.int32)),
            rows=lambda: corpus.rows,
            token_count=mask.token_count(),
            vocabulary=corpus.vocabulary,
            pages=pages(),
            problems=problems,
        ),
    )  # fmt: skip


def _completed(
    manifest: Mapping[str, Any], corpus: ImportedCorpus, neurons: Mapping[Place, Sequence[int]], tokens: int
) -> dict[str, Any]:
    """The manifest with what follows from the rows."""
    rows, subsets = corpus.rows, Counter[str]()
    names = rows.parts["subsets"]
    for i, length in zip(np.asarray(rows.parts["subset"]).tolist(), rows.length.tolist(), strict=True):
        subsets[str(names[i])] += length
    facts = {"subsets": dict(sorted(subsets.items())), "rows_sha256": _rows_sha256(corpus)}
    return {
        **manifest,
        "config": {**manifest["config"], "layers": sorted({layer for _, layer in neurons})},
        "corpus": {**manifest["corpus"], **facts, "documents": len(rows.index)},
        "statistics": {"thresholds": list(THRESHOLDS), "histogram_every": HISTOGRAM_EVERY, "bins": BINS},
        "versions": {"neurolocal": version("neurolocal")},
        "rows": len(rows.index), "tokens": tokens, "complete": True,
    }  # fmt: skip


def import_config(
    corpus: ImportedCorpus, own: Mapping[str, Any], *, sites: Sequence[Site], k: int, cases: bool = False
) -> dict[str, Any]:
    """The config of an imported store: from what its pages state about their making, else by the site's conventions."""
    return {
        "row_length": int(corpus.rows.tokens.shape[1]), "k": k, "dtype": own.get("dtype", "float32"),
        "packing": "concat", "bos": own.get("bos", "none" if corpus.bos is None else "prepend"),
        "count_bos": own.get("count_bos", corpus.bos is not None), "before": BEFORE, "after": AFTER,
        "layers": None, "max_rows": None, "batch_size": 1, "sites": list(sites), "sign_cases": cases,
        "neurons": None, "skip_special": own.get("skip_special", False), "sample": 0, "logits": 0,
        "text_field": "text", "strict": False, "shard": 0, "shards": 1, "seed": 0,
    }  # fmt: skip


def _empty_lists(n: int, k: int) -> PageLists:
    none = np.full((n, k), np.nan)
    return PageLists(
        np.full((n, k), -1, np.int32), none, none.copy(), np.full(n, np.nan), np.full(n, np.nan), np.zeros(n, bool)
    )


def _fill(lists: PageLists, at: int, one: ImportedNeuron) -> None:
    """Write the content of one neuron at index `at`."""
    shown, maximum = one.shown, np.nan if one.maximum is None else one.maximum
    if len(shown.row):
        best = order(shown)
        lists.text[at, : len(best)] = one.number[best]
        lists.largest[at, : len(best)], lists.smallest[at, : len(best)] = one.largest[best], one.smallest[best]
        maximum = shown.values[best[0], shown.position[best[0]]]
    lists.range[at], lists.maximum[at] = one.range, maximum
    lists.trusted[at] = one.trusted and np.isfinite(maximum)


class PositionMask:
    """Which positions of some rows count."""

    def __init__(self, corpus: ImportedCorpus, config: Mapping[str, Any]) -> None:
        """By the rules of a store's config."""
        self._rows, self._special, self._config = corpus.rows, corpus.vocabulary.special, config

    def of(self, rows: Int64[np.ndarray, "text"]) -> Bool[np.ndarray, "text pos"]:
        """The mask of some rows, by row index."""
        return self._at(np.searchsorted(self._rows.index, rows))

    def _at(self, at: Int64[np.ndarray, "text"]) -> Bool[np.ndarray, "text pos"]:
        rows = self._rows
        return counted_positions(rows.tokens[at], rows.length[at], special=self._special, config=self._config)

    def _slabs(self) -> Iterator[tuple[Int64[np.ndarray, "text"], Bool[np.ndarray, "text pos"]]]:
        for low in range(0, len(self._rows.index), SLAB):
            at = np.arange(low, min(low + SLAB, len(self._rows.index)))
            yield at, self._at(at)

    def counted(self) -> CountedPositions:
        """The counted positions of all rows."""
        n = among = 0
        for at, mask in self._slabs():
            row, position = np.nonzero(mask)
            n += len(row)
            among += drawn(self._rows.index[at][row], position.astype(np.int32), 0)
        return CountedPositions(self.of, n, among, 0)

    def token_count(self) -> Int64[np.ndarray, "d_vocab"]:
        """How often each token occurs at a counted position."""
        count = np.zeros(len(self._special), np.int64)
        for at, mask in self._slabs():
            count += np.bincount(self._rows.tokens[at][mask], minlength=len(count))
        return count


def _rows_sha256(corpus: ImportedCorpus) -> str:
    """A hash that identifies the text: row indices, lengths and tokens, row by row."""
    found = hashlib.sha256()
    for i, (index, length) in enumerate(zip(corpus.rows.index.tolist(), corpus.rows.length.tolist(), strict=True)):
        found.update(np.array([index, length], "<i8").tobytes())
        found.update(corpus.rows.tokens[i, :length].astype("<u4").tobytes())
    return found.hexdigest()
