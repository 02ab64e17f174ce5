"""Reading a store, believing nothing: every link, shape and type is checked before it is used.

Invariant: what comes out is as FORMAT.md says, or a StoreError says what is not.
Cost: opening reads the manifest; a neuron's examples read k rows of each list and the token rows they point to.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast, get_args

import h5py
import numpy as np
from jaxtyping import Float32, Int64, Integer

from neurolocal import records
from neurolocal.errors import StoreError
from neurolocal.provenance import Parts
from neurolocal.records import (
    BINS,
    CASES,
    HISTOGRAM_EVERY,
    SIDES,
    THRESHOLDS,
    CaseStatistics,
    Example,
    LayerRecord,
    LogitEffects,
    Maxima,
    PageLists,
    Sample,
    Side,
    Site,
    Statistics,
    TopK,
    table_of,
)
from neurolocal.store.checked import CheckedFile
from neurolocal.words import Vocabulary

if TYPE_CHECKING:
    cached_property = property  # type checkers take a cached_property for no property of a protocol
else:
    from functools import cached_property

LATER: dict[type, tuple[str, ...]] = {records.SummaryTable: ("candidates", "said")}
"""Columns of strings that a stage's first revision did not write: they are empty there, and missing in any other."""

CONVENTIONS = {"thresholds": list(THRESHOLDS), "histogram_every": HISTOGRAM_EVERY, "bins": BINS}
"""What a manifest says of the statistics: all that version 1 knows."""

LAYER = re.compile("0|[1-9][0-9]{0,8}")


def column_type(annotation: Any) -> str:
    """The dtype of a column as numpy writes it, from its annotation in `records`: `Float32[...]` -> `f4`."""
    return {"Float32": "f4", "Float64": "f8", "Int32": "i4", "Int64": "i8", "Bool": "u1"}[str(annotation).split("[")[0]]


class Store:
    """A store opened for reading; a context manager."""

    def __init__(self, path: str | Path, *, site: Site | None = None) -> None:
        """Open a store.

        Args:
            path: the file.
            site: which of its sites is looked at; None is the first.

        Raises:
            StoreError: no such file, no HDF5, another format or version, or damaged; a site that is not there, at its
                first use.
        """
        self._file, self._asked = CheckedFile(Path(path)), site

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._file.root.close()

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return self._file.path

    @property
    def checked(self) -> CheckedFile:
        """The file itself, for whoever checks it."""
        return self._file

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What the store was made from, and how far it is."""
        manifest = self._file.json(self._file.root, "manifest")
        wanted = {"subject": dict, "tokenizer": dict, "corpus": dict, "config": dict}
        wanted |= {"rows": int, "tokens": int, "complete": bool}
        missing = [key for key, kind in wanted.items() if type(manifest.get(key)) is not kind]
        if missing:
            raise self._file.bad(f"the manifest lacks {', '.join(missing)}, or has something else there")
        return manifest

    @property
    def imported(self) -> bool:
        """Whether it was made from pages of another site (`neuroscope import`) and not from a corpus."""
        return isinstance(self.manifest.get("source"), dict)

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """Where neurons were read."""
        sites = self.manifest["config"].get("sites")
        known = isinstance(sites, list) and sites and all(isinstance(s, str) and s in get_args(Site) for s in sites)
        if not known:
            raise self._file.bad(f"unknown sites {ascii(sites)[:80]}")
        return tuple(cast("list[Site]", sites))

    @cached_property
    def site(self) -> Site:
        """The site that is looked at.

        Raises:
            StoreError: the store does not hold it.
        """
        if self._asked is None:
            return self.sites[0]
        if self._asked not in self.sites:
            raise StoreError(
                f"looking for the site {self._asked} in {self.path}: it holds {', '.join(self.sites)}. "
                "Choose from these, or collect that site."
            )
        return self._asked

    @cached_property
    def layers(self) -> list[int]:
        """The layers collected, ascending."""
        group = self._file.get(f"collect/{self.site}")
        with self._file.reading(f"collect/{self.site}"):
            names = list(group) if isinstance(group, h5py.Group) else [""]
        if not all(LAYER.fullmatch(name) for name in names):
            raise self._file.bad(f"collect/{self.site} does not hold layers")
        return sorted(int(name) for name in names)

    def require_layers(self, layers: list[int] | None) -> list[int]:
        """The given layers, checked; all where none are given.

        Raises:
            StoreError: a layer that the store does not hold.
        """
        absent = [layer for layer in layers or [] if layer not in self.layers]
        if absent:
            raise StoreError(
                f"looking for layer {', '.join(map(str, absent))} in {self.path}: it holds layers "
                f"{_ranges(self.layers)} (numbered from 0). Choose from these, or collect that layer."
            )
        return list(self.layers) if layers is None else sorted(set(layers))

    def neurons(self, layer: int) -> Int64[np.ndarray, "neuron"]:
        """The neurons of a layer that were collected, ascending: what each entry of its arrays stands for."""
        base = f"collect/{self.site}/{layer}"
        n = self._file.dataset(f"{base}/largest/activation", "f4", 2).shape[0]
        if not self._file.has(f"{base}/neuron"):
            return np.arange(n)
        neurons = self._file.array(f"{base}/neuron", "i8", shape=(n,))
        if (neurons[:1] < 0).any() or (neurons[1:] <= neurons[:-1]).any():
            raise self._file.bad(f"{base}/neuron does not ascend from 0 or more")
        return neurons

    def k(self, layer: int, side: Side = "largest") -> int:
        """The length of a layer's lists."""
        return self._file.dataset(f"collect/{self.site}/{layer}/{side}/activation", "f4", 2).shape[1]

    def sides(self, layer: int) -> list[Side]:
        """The lists that a layer has: largest, smallest, and the sign cases where they were collected.

        A store that was imported from pages has no smallest ones: pages show the largest.
        """
        always = ("largest",) if self.imported else SIDES
        return [
            side for side in (*SIDES, *CASES) if side in always or self._file.has(f"collect/{self.site}/{layer}/{side}")
        ]

    def top(self, layer: int, side: Side) -> TopK:
        """The lists of all neurons of a layer, in memory."""
        return self._lists(layer, side, slice(None))

    def statistics(self, layer: int) -> Statistics:
        """The statistics of a layer."""
        base, n = f"collect/{self.site}/{layer}/statistics", len(self.neurons(layer))
        conventions = self.manifest.get("statistics", CONVENTIONS)
        if conventions != CONVENTIONS:
            raise self._file.bad(f"the manifest's statistics are {ascii(conventions)[:80]}, expected {CONVENTIONS}")
        shapes: dict[str, tuple[int, ...]] = {"whole": (4, n), "fraction": (4, n), "histogram": (n, BINS)}
        shapes |= {"above": (len(THRESHOLDS), n)} | dict.fromkeys(("positive", "nonfinite"), (n,))
        columns = {name: self._file.array(f"{base}/{name}", "i8", shape=shape) for name, shape in shapes.items()}
        columns |= {name: self._file.array(f"{base}/{name}", "f4", shape=(n,)) for name in ("minimum", "maximum")}
        count, sampled = (int(self._file.array(f"{base}/{name}", "i8", shape=())) for name in ("count", "sampled"))
        counts = [columns[name] for name in ("positive", "nonfinite", "above")]
        if not all(((column >= 0) & (column <= count)).all() for column in counts):
            raise self._file.bad(f"{base} counts more positions than there were")
        bins = columns["histogram"]  # each bin on its own first: a sum of forged ones may overflow
        if not ((bins >= 0) & (bins <= sampled)).all() or (bins.sum(axis=1) > sampled).any() or sampled > count:
            raise self._file.bad(f"{base}/histogram counts more positions than were drawn")
        return Statistics(count=count, sampled=sampled, **columns)

    def pages(self, layer: int) -> PageLists | None:
        """What pages say beyond the examples; None where the store was not imported from pages."""
        base, shape = f"neuroscope/{self.site}/{layer}", (len(self.neurons(layer)), self.k(layer))
        if not self._file.has(base):
            return None
        types = {"text": "i4", "largest": "f8", "smallest": "f8"}
        columns = {name: self._file.array(f"{base}/{name}", kind, shape=shape) for name, kind in types.items()}
        columns |= {name: self._file.array(f"{base}/{name}", "f8", shape=shape[:1]) for name in ("range", "maximum")}
        trusted = self._file.array(f"{base}/trusted", "u1", shape=shape[:1])
        return PageLists(**columns, trusted=trusted.astype(bool))

    def page_activations(self, layer: int, at: int) -> Float32[np.ndarray, "k pos"]:
        """The activations over the whole row of each example in one neuron's list, as its page says them.

        Args:
            layer: of a store that was imported from pages.
            at: where the neuron stands in `neurons`.

        NaN where the page does not say, beyond the row, and in unused slots.
        """
        name = f"neuroscope/{self.site}/{layer}/activation"
        found = self._file.dataset(name, "f4", 3)
        k, pos = self.k(layer), self.rows_stored[0].shape[1]
        if found.shape != (len(self.neurons(layer)), k, pos):
            raise self._file.bad(f"{name} has the shape {found.shape}")
        with self._file.reading(name):
            return found[at]

    @cached_property
    def problems(self) -> list[str]:
        """What could not be read of the pages that the store was imported from, one line each."""
        return self._file.texts("neuroscope", "problems") if self._file.has("neuroscope/problems") else []

    def maxima(self, layer: int) -> Maxima:
        """The largest activation of each neuron over the whole corpus."""
        neurons, pages = self.neurons(layer), self.pages(layer)
        if pages is not None:
            return Maxima(neurons, np.where(pages.trusted, pages.maximum, np.nan))
        seen = self.statistics(layer).maximum.astype(np.float64)
        return Maxima(neurons, np.where(np.isfinite(seen), seen, np.nan))

    def cases(self, layer: int) -> CaseStatistics | None:
        """How often each neuron is in each sign case; None where they were not collected."""
        base, n = f"collect/{self.site}/{layer}/cases", len(self.neurons(layer))
        if not self._file.has(base):
            return None
        columns = {
            name: self._file.array(f"{base}/{name}", "i8", shape=(4, n)) for name in ("count", "whole", "fraction")
        }
        if (columns["count"] < 0).any():
            raise self._file.bad(f"{base}/count is negative")
        return CaseStatistics(**columns)

    @cached_property
    def sample(self) -> Sample:
        """The positions drawn at random, the same for all neurons."""
        row = self._file.array("sample/row", "i8", ndim=1)
        position = self._file.array("sample/position", "i4", shape=row.shape)
        same = row[1:] == row[:-1]
        ascending = (row[1:] > row[:-1]) | (same & (position[1:] > position[:-1]))
        if not ascending.all() or (row[:1] < 0).any() or (position < 0).any():
            raise self._file.bad("sample is not in order")
        return Sample(row, position)

    def sampled(self, layer: int) -> Float32[np.ndarray, "neuron sample"]:
        """The activation of every neuron of a layer at the positions of `sample`."""
        shape = (len(self.neurons(layer)), len(self.sample.row))
        return self._file.array(f"collect/{self.site}/{layer}/sample", "f4", shape=shape)

    def logit_effects(self, layer: int) -> LogitEffects | None:
        """The tokens that each neuron promotes and suppresses; None where they were not computed."""
        base, n = f"collect/{self.site}/{layer}/logits", len(self.neurons(layer))
        if not self._file.has(base):
            return None
        types = {"promoted": "i4", "promoted_effect": "f4", "suppressed": "i4", "suppressed_effect": "f4"}
        columns = {name: self._file.array(f"{base}/{name}", kind, ndim=2) for name, kind in types.items()}
        if len({column.shape for column in columns.values()}) > 1 or columns["promoted"].shape[0] != n:
            raise self._file.bad(f"the columns of {base} differ in shape")
        tokens = np.concatenate([columns["promoted"].ravel(), columns["suppressed"].ravel()])
        if tokens.size and not 0 <= tokens.min() <= tokens.max() < len(self.vocabulary.tokens):
            raise self._file.bad(f"{base} holds ids that the vocabulary does not have")
        return LogitEffects(**columns)

    def record(self, layer: int) -> LayerRecord:
        """All that a collection says of a layer."""
        base = f"collect/{self.site}/{layer}"
        return LayerRecord(
            {side: self.top(layer, side) for side in self.sides(layer)},
            self.statistics(layer),
            self.sampled(layer),
            cases=self.cases(layer),
            neurons=self.neurons(layer) if self._file.has(f"{base}/neuron") else None,
            effects=self.logit_effects(layer),
        )

    def example_lists(self, layer: int, side: Side = "largest") -> list[list[Example]]:
        """The examples of every collected neuron of a layer, strongest first, in the order of `neurons`."""
        top = self.top(layer, side)
        return [self._examples(top, i) for i in range(len(top.activation))]

    def examples(self, layer: int, neuron: int, side: Side = "largest") -> list[Example]:
        """The examples of one neuron, strongest first.

        Raises:
            StoreError: no such layer or neuron.
        """
        at = self.index_of(layer, neuron)
        return self._examples(self._lists(layer, side, slice(at, at + 1)), 0)

    def index_of(self, layer: int, neuron: int) -> int:
        """Where a neuron stands in the arrays of its layer.

        Raises:
            StoreError: no such layer or neuron.
        """
        self.require_layers([layer])
        neurons = self.neurons(layer)
        at = int(np.searchsorted(neurons, neuron))
        if at == len(neurons) or neurons[at] != neuron:
            raise StoreError(
                f"looking for neuron {neuron} of layer {layer} in {self.path}: it has neurons "
                f"{_ranges(neurons.tolist())}."
            )
        return at

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The bytes of every token id."""
        tokens = self._file.blobs(self._file.root, "tokenizer/tokens")
        special = self._file.array("tokenizer/special", "u1", shape=(len(tokens),))
        return Vocabulary(tokens, special.astype(bool))

    @cached_property
    def token_count(self) -> Int64[np.ndarray, "d_vocab"]:
        """How often each token stood at a counted position of the corpus."""
        return self._file.array("corpus/token_count", "i8", shape=(len(self.vocabulary.tokens),))

    @cached_property
    def row_index(self) -> Int64[np.ndarray, "row"]:
        """Row indices of the stored rows, ascending."""
        index = self._file.array("rows/index", "i8", ndim=1)
        if (index[:1] < 0).any() or (index[1:] <= index[:-1]).any():
            raise self._file.bad("rows/index does not ascend from 0 or more")
        return index

    def _require_rows(self, at: np.ndarray, rows: np.ndarray) -> None:
        """That `at` is where these rows are stored."""
        index = self.row_index
        wrong = rows[(at >= len(index)) | (index[np.minimum(at, len(index) - 1)] != rows)] if len(index) else rows
        if wrong.size:
            raise self._file.bad(f"an example refers to row {wrong.flat[0]}, which is not in rows/index")

    def row(self, index: int) -> Integer[np.ndarray, "pos"]:
        """The token ids of a stored row, padding cut off.

        Raises:
            StoreError: the store does not hold that row.
        """
        at = int(np.searchsorted(self.row_index, index))
        if at == len(self.row_index) or self.row_index[at] != index:
            raise self._file.bad(f"an example refers to row {index}, which is not in rows/index")
        tokens, length = self._rows
        return tokens[at][: length[at]]

    def iter_rows(self) -> Iterator[Integer[np.ndarray, "pos"]]:
        """All stored rows, padding cut off, in corpus order."""
        tokens, length = self._rows
        for row, n in zip(tokens, length, strict=True):
            yield row[:n]

    def evidence(self, stage: str, layer: int, side: Side = "largest") -> Any:
        """The table of a stage for a layer, or None where the stage has not been there."""
        group = self._evidence_group(stage, layer, side)
        return None if group is None else self._table(group, table_of(stage), self.neurons(layer))

    def inputs(self, stage: str, layer: int, side: Side = "largest") -> dict[str, Any] | None:
        """What a table was made from, or None where the stage has not been there."""
        group = self._evidence_group(stage, layer, side)
        return None if group is None else self._file.json(group, "inputs")

    @cached_property
    def parts(self) -> Parts:
        """Which documents the stored rows are made of, in the order of `row_index`."""
        columns: dict[str, Any] = {
            name: self._file.array(f"rows/parts/{name}", kind, ndim=1)
            for name, kind in {"offsets": "i8", "position": "i4", "subset": "i4"}.items()
        }
        columns |= {
            name: self._file.array(f"rows/parts/{name}", "i8", ndim=1) for name in ("file", "record", "character")
        }
        columns["subsets"] = self._file.texts("rows/parts", "subsets")
        try:
            parts = Parts.from_columns(columns)
        except ValueError as error:
            raise self._file.bad(str(error)) from error
        if len(parts) != len(self.row_index):
            raise self._file.bad(f"rows/parts speaks of {len(parts)} rows, rows/index of {len(self.row_index)}")
        return parts

    @property
    def subset_names(self) -> tuple[str, ...]:
        """The corpus's subsets that stored rows come from; the empty name is "in none"."""
        return self.parts.subsets

    def subsets(self, layer: int, side: Side = "largest") -> Float32[np.ndarray, "neuron subset"]:
        """The share of each neuron's examples that comes from each of `subset_names`; NaN without examples."""
        top = self.top(layer, side)
        used = top.row >= 0
        rows = np.searchsorted(self.row_index, np.where(used, top.row, self.row_index[:1].sum()))
        self._require_rows(rows, np.where(used, top.row, self.row_index[:1].sum()))
        part = self.parts.at(rows, np.where(used, top.position, 0))
        names = len(self.parts.subsets)
        cell = np.arange(len(used))[:, None] * names + self.parts.subset[part]
        counts = np.bincount(cell[used], minlength=len(used) * names).reshape(len(used), names)
        with np.errstate(invalid="ignore"):
            return (counts / used.sum(axis=1, keepdims=True)).astype(np.float32)

    def rest(self) -> dict[str, Any]:
        """What a stopped collection goes on with: the columns of `neurolocal.corpus.rest_arrays`; none if complete."""
        if not self._file.has("resume"):
            return {}
        types = {"tokens": "u4", "character": "i8", "offsets": "i8", "file": "i8", "record": "i8"}
        columns: dict[str, Any] = {
            name: self._file.array(f"resume/{name}", kind, ndim=1) for name, kind in types.items()
        }
        return columns | {"subset": self._file.texts("resume", "subset")}

    @property
    def rows_stored(self) -> tuple[Any, Any]:
        """All stored token rows, padding included, and their lengths, in memory."""
        return self._rows

    @cached_property
    def _rows(self) -> tuple[Any, Any]:
        n = len(self.row_index)
        values = self._file.array("rows/tokens", None, ndim=2)
        if values.dtype.str[1:] not in ("u2", "u4"):
            raise self._file.bad("rows/tokens is no table of uint16 or uint32")
        if values.shape[0] != n:
            raise self._file.bad(f"rows/tokens has {values.shape[0]} rows, rows/index {n}")
        length = self._file.array("rows/length", "i8", shape=(n,))
        if n and not (length.min() > 0 and length.max() <= values.shape[1]):
            raise self._file.bad("rows/length is outside the rows")
        if values.size and values.max() >= len(self.vocabulary.tokens):
            raise self._file.bad(
                f"rows/tokens holds id {values.max()}, the vocabulary {len(self.vocabulary.tokens)} tokens"
            )
        return values, length

    def _lists(self, layer: int, side: Side, neurons: slice) -> TopK:
        base = f"collect/{self.site}/{layer}/{side}"
        if side != "largest" and side not in self.sides(layer):
            raise StoreError(
                f"looking at {side} of layer {layer} in {self.path}: it holds {', '.join(self.sides(layer))}. "
                f"{'Pages show the largest activations. ' if self.imported else ''}Choose from these."
            )
        activation = self._file.dataset(f"{base}/activation", "f4", 2)
        row = self._file.dataset(f"{base}/row", "i8", 2)
        position = self._file.dataset(f"{base}/position", "i4", 2)
        window = self._file.dataset(f"{base}/window", "f4", 3)
        if not activation.shape == row.shape == position.shape == window.shape[:2]:
            raise self._file.bad(f"the lists in {base} differ in shape")
        if window.shape[2] != self._window[0] + 1 + self._window[1]:
            raise self._file.bad(f"the windows in {base} are not as long as the manifest says")
        with self._file.reading(base):
            top = TopK(activation[neurons], row[neurons], position[neurons], window[neurons])
        used = top.row >= 0
        if (used[:, 1:] > used[:, :-1]).any() or not np.array_equal(np.isfinite(top.activation), used):
            raise self._file.bad(f"the lists in {base} have holes")
        if (np.where(used, top.position, 0) < 0).any():
            raise self._file.bad(f"an example in {base} stands before its row")
        return top

    def _examples(self, top: TopK, neuron: int) -> list[Example]:
        before, found = self._window[0], []
        for rank, (activation, row, position) in enumerate(
            zip(top.activation[neuron], top.row[neuron], top.position[neuron], strict=True)
        ):
            if row < 0:
                break
            tokens = self.row(int(row))
            if not 0 <= position < len(tokens):
                raise self._file.bad(f"an example stands at position {position} of row {row}, which has {len(tokens)}")
            window, first = top.window[neuron, rank], int(position) - before
            start, stop = max(first, 0), min(first + len(window), len(tokens))
            found.append(
                Example(
                    rank, int(row), int(position), float(activation), start, tokens[start:stop],
                    window[start - first : stop - first],
                )
            )  # fmt: skip
        return found

    def _evidence_group(self, stage: str, layer: int, side: Side) -> h5py.Group | None:
        name = f"{stage}/{self.site}/{layer}/{side}"
        if not self._file.has(name):
            return None
        group = self._file.get(name)
        if not isinstance(group, h5py.Group):
            raise self._file.bad(f"{name} is no group")
        return group

    @cached_property
    def _window(self) -> tuple[int, int]:
        """Positions of a window before and after the peak."""
        config = self.manifest["config"]
        before, after = config.get("before"), config.get("after")
        if type(before) is not int or type(after) is not int or before < 0 or after < 0:
            raise self._file.bad("the manifest's config lacks before or after")
        return before, after

    def _table(self, group: h5py.Group, kind: type, neurons: Int64[np.ndarray, "neuron"]) -> Any:
        columns: dict[str, Any] = {}
        for column in dataclasses.fields(kind):
            name = f"{group.name}/{column.name}"
            if str(column.type).endswith("Table"):
                inner = self._file.get(name)
                if not isinstance(inner, h5py.Group):
                    raise self._file.bad(f"{name} is no group")
                inner_kind = getattr(sys.modules[kind.__module__], str(column.type))
                columns[column.name] = self._table(inner, inner_kind, neurons)
            elif column.name in LATER.get(kind, ()) and self._file.json(group, "inputs").get("revision") == 1:
                columns[column.name] = [""] * len(columns["neuron"])
            elif column.type == "list[str]":
                columns[column.name] = self._file.texts(group.name or "", column.name)
            else:
                values = self._file.array(name, column_type(column.type), ndim=1)
                columns[column.name] = values.astype(bool) if str(column.type).startswith("Bool") else values
        lengths = {name: len(v) for name, v in columns.items() if not dataclasses.is_dataclass(v)}
        if len(set(lengths.values())) > 1:
            raise self._file.bad(f"the columns of {group.name} differ in length: {lengths}")
        neuron = columns["neuron"]
        if not np.isin(neuron, neurons).all():
            raise self._file.bad(f"{group.name} speaks of neurons that layer does not have")
        strange = set(columns.get("verdict", ())) - set(records.VERDICTS)
        if strange:
            raise self._file.bad(f"{group.name} holds the unknown verdict {ascii(sorted(strange)[0])[:40]}")
        return kind(**columns)


def _ranges(numbers: list[int]) -> str:
    """0,1,2,5 -> 0-2,5."""
    parts: list[str] = []
    for i, n in enumerate(numbers):
        if i and n == numbers[i - 1] + 1:
            parts[-1] = f"{parts[-1].split('-')[0]}-{n}"
        else:
            parts.append(str(n))
    return ",".join(parts)
