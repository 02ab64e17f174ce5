"""Rows, and activations known over them -> a store like any other: where imports end.

Invariant: the store is what a collection over exactly these rows would have written, but that a position which nobody
showed counts as not finite, and that there are no `smallest` lists; `check` finds no fault in it.
Cost: one pass over the rows for what counts, then one neuron at a time.
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

from neurolocal.neuroscope.gathered import Stored
from neurolocal.neuroscope.known import Counted, Known, LayerBuilder, Signs, drawn, order
from neurolocal.neuroscope.writing import AFTER, BEFORE
from neurolocal.records import BINS, HISTOGRAM_EVERY, THRESHOLDS, LayerRecord, PageLists, Place, Sample, Site
from neurolocal.store import Blocks, StoreContent, write_collected
from neurolocal.words.counted import counted_positions

SLAB = 256
"""Rows that are looked at together."""


class Told(NamedTuple):
    """What is said of one neuron, texts in the order of their source."""

    known: Known
    number: Int32[np.ndarray, "text"]
    """Of each text on its page."""
    printed: Float64[np.ndarray, "text 2"]
    """Largest and smallest activation of its row, as printed; NaN where not."""
    range: float
    """What the page's colours reach to; NaN where not said."""
    signs: Signs | None = None
    """Gate and in projections' outputs, where sign cases are kept."""
    maximum: float | None = None
    """The neuron's largest activation, where it is known without an example."""
    trusted: bool = True
    """Whether that may be believed."""


Of = Callable[[Place, int], Told]
"""A place and a neuron there -> what is said of it."""


def write_known(
    out: Path, manifest: Mapping[str, Any], stored: Stored, neurons: Mapping[Place, Sequence[int]], of: Of, *,
    problems: Sequence[str] = (),
) -> None:  # fmt: skip
    """Write a store.

    Args:
        out: where; what is there is replaced.
        manifest: all but what follows from the rows.
        stored: rows and vocabulary.
        neurons: of each place, ascending.
        of: asked twice for each neuron.
        problems: what could not be read, one line each.

    Raises:
        StoreError: the disk is full or the folder cannot be written.
    """
    config, mask = manifest["config"], Mask(stored, manifest["config"])
    k, width = config["k"], stored.rows.tokens.shape[1]
    counted = mask.counted()

    besides: dict[Place, PageLists] = {}

    def layers() -> Iterator[tuple[Place, LayerRecord]]:
        for place, some in neurons.items():
            cases = config["sign_cases"] and place[0] == "post"
            made = LayerBuilder(np.array(some, np.int64), k, counted, before=BEFORE, after=AFTER, cases=cases)
            besides[place] = lists = _empty_lists(len(some), k)
            for at, neuron in enumerate(some):
                told = of(place, neuron)
                made.add(at, told.known, told.signs)
                _fill(lists, at, told)
            yield place, made.record()

    def whole(place: Place, some: Sequence[int]) -> Iterator[Float32[np.ndarray, "1 k pos"]]:
        for neuron in some:
            known, found = of(place, neuron).known, np.full((1, k, width), np.nan, np.float32)
            found[0, : len(known.row), : known.values.shape[1]] = known.values[order(known)]
            yield found

    def pages() -> Iterator[tuple[Place, PageLists, Blocks]]:
        for place, some in neurons.items():
            yield place, besides[place], Blocks((len(some), k, width), "<f4", whole(place, some))

    subsets = Counter[str]()
    names = stored.rows.parts["subsets"]
    for i, length in zip(np.asarray(stored.rows.parts["subset"]).tolist(), stored.rows.length.tolist(), strict=True):
        subsets[str(names[i])] += length
    corpus = {"subsets": dict(sorted(subsets.items())), "rows_sha256": _rows_sha256(stored)}
    write_collected(
        out,
        StoreContent(
            manifest={
                **manifest,
                "config": {**config, "layers": sorted({layer for _, layer in neurons})},
                "corpus": {**manifest["corpus"], **corpus, "documents": len(stored.rows.index)},
                "statistics": {"thresholds": list(THRESHOLDS), "histogram_every": HISTOGRAM_EVERY, "bins": BINS},
                "versions": {"neurolocal": version("neurolocal")},
                "rows": len(stored.rows.index), "tokens": counted.n, "complete": True,
            },
            layers=layers(),
            sample=Sample(np.empty(0, np.int64), np.empty(0, np.int32)),
            rows=lambda: stored.rows,
            token_count=mask.token_count(),
            vocabulary=stored.vocabulary,
            pages=pages(),
            problems=problems,
        ),
    )  # fmt: skip


def settings(
    stored: Stored, own: Mapping[str, Any], *, sites: Sequence[Site], k: int, cases: bool = False
) -> dict[str, Any]:
    """The config of an imported store: what its pages say of how they were made, else the site's conventions."""
    return {
        "row_length": int(stored.rows.tokens.shape[1]), "k": k, "dtype": own.get("dtype", "float32"),
        "packing": "concat", "bos": own.get("bos", "none" if stored.bos is None else "prepend"),
        "count_bos": own.get("count_bos", stored.bos is not None), "before": BEFORE, "after": AFTER,
        "layers": None, "max_rows": None, "batch_size": 1, "sites": list(sites), "sign_cases": cases,
        "neurons": None, "skip_special": own.get("skip_special", False), "sample": 0, "logits": 0,
        "text_field": "text", "strict": False, "shard": 0, "shards": 1, "seed": 0,
    }  # fmt: skip


def _empty_lists(n: int, k: int) -> PageLists:
    none = np.full((n, k), np.nan)
    return PageLists(
        np.full((n, k), -1, np.int32), none, none.copy(), np.full(n, np.nan), np.full(n, np.nan), np.zeros(n, bool)
    )


def _fill(lists: PageLists, at: int, told: Told) -> None:
    """Put what is said of one neuron into its place."""
    known, maximum = told.known, np.nan if told.maximum is None else told.maximum
    if len(known.row):
        best = order(known)
        lists.text[at, : len(best)] = told.number[best]
        lists.largest[at, : len(best)], lists.smallest[at, : len(best)] = told.printed[best].T
        maximum = known.values[best[0], known.position[best[0]]]
    lists.range[at], lists.maximum[at] = told.range, maximum
    lists.trusted[at] = told.trusted and np.isfinite(maximum)


class Mask:
    """Which positions of some rows count."""

    def __init__(self, stored: Stored, config: Mapping[str, Any]) -> None:
        """By a store's config."""
        self._rows, self._special, self._config = stored.rows, stored.vocabulary.special, config

    def of(self, rows: Int64[np.ndarray, "text"]) -> Bool[np.ndarray, "text pos"]:
        """Of rows by their index."""
        return self._at(np.searchsorted(self._rows.index, rows))

    def _at(self, at: Int64[np.ndarray, "text"]) -> Bool[np.ndarray, "text pos"]:
        rows = self._rows
        return counted_positions(rows.tokens[at], rows.length[at], special=self._special, config=self._config)

    def _slabs(self) -> Iterator[tuple[Int64[np.ndarray, "text"], Bool[np.ndarray, "text pos"]]]:
        for low in range(0, len(self._rows.index), SLAB):
            at = np.arange(low, min(low + SLAB, len(self._rows.index)))
            yield at, self._at(at)

    def counted(self) -> Counted:
        """All of them."""
        n = among = 0
        for at, mask in self._slabs():
            row, position = np.nonzero(mask)
            n += len(row)
            among += drawn(self._rows.index[at][row], position.astype(np.int32), 0)
        return Counted(self.of, n, among, 0)

    def token_count(self) -> Int64[np.ndarray, "d_vocab"]:
        """How often each token stands at one."""
        count = np.zeros(len(self._special), np.int64)
        for at, mask in self._slabs():
            count += np.bincount(self._rows.tokens[at][mask], minlength=len(count))
        return count


def _rows_sha256(stored: Stored) -> str:
    """Names the text: row indices, lengths and tokens, row by row."""
    found = hashlib.sha256()
    for i, (index, length) in enumerate(zip(stored.rows.index.tolist(), stored.rows.length.tolist(), strict=True)):
        found.update(np.array([index, length], "<i8").tobytes())
        found.update(stored.rows.tokens[i, :length].astype("<u4").tobytes())
    return found.hexdigest()
