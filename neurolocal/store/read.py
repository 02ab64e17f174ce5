"""Reading a store, believing nothing: every link, shape and type is checked before it is used.

Invariant: what comes out is as FORMAT.md says, or a StoreError says what is not.
Cost: opening reads the manifest; a neuron's examples read k rows of each list and the token rows they point to.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, get_args

import h5py
import numpy as np
from jaxtyping import Int64, Integer

from neurolocal import records
from neurolocal.errors import StoreError
from neurolocal.records import Example, Side, Site, Statistics, TopK
from neurolocal.store.write import FORMAT, VERSION
from neurolocal.words import Vocabulary

TABLES: dict[str, type] = {
    "similarity": records.SimilarityTable,
    "perturbation": records.PerturbationTable,
    "summary": records.SummaryTable,
    "verdict": records.VerdictTable,
}
"""Stage -> the table that it puts into a store."""


class Store:
    """A store opened for reading; a context manager."""

    def __init__(self, path: str | Path) -> None:
        """Open a store.

        Raises:
            StoreError: no such file, no HDF5, another format or version, or damaged.
        """
        self.path = Path(path)
        if not self.path.is_file():
            raise StoreError(f"opening the store {path}: no such file. Make it with `neurolocal collect`.")
        try:
            self._file = h5py.File(self.path, "r")
        except OSError as error:
            raise StoreError(
                f"opening the store {path}: it is no whole HDF5 file. Copy it again, or collect again."
            ) from error
        try:
            self._check_header()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What the store was made from, and how far it is."""
        try:
            manifest = json.loads(self._file.attrs["manifest"])
        except (KeyError, ValueError, TypeError, RecursionError, OSError) as error:
            raise self._bad("the manifest is missing or no JSON") from error
        wanted = ("subject", "tokenizer", "corpus", "config", "rows", "tokens", "complete")
        missing = [key for key in wanted if key not in manifest] if isinstance(manifest, dict) else list(wanted)
        if missing:
            raise self._bad(f"the manifest lacks {', '.join(missing)}")
        return manifest

    @cached_property
    def site(self) -> Site:
        """Where the neurons were read."""
        site = self.manifest["config"].get("site")
        if site not in get_args(Site):
            raise self._bad(f"unknown site {site!r}")
        return site

    @cached_property
    def layers(self) -> list[int]:
        """The layers collected, ascending."""
        group = self._get(f"collect/{self.site}")
        if not isinstance(group, h5py.Group) or not all(name.isdigit() for name in group):
            raise self._bad(f"collect/{self.site} does not hold layers")
        return sorted(int(name) for name in group)

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

    def n_neurons(self, layer: int) -> int:
        """Neurons of a layer."""
        return self._dataset(f"collect/{self.site}/{layer}/largest/activation", "f4", 2).shape[0]

    def top(self, layer: int, side: Side) -> TopK:
        """The lists of all neurons of a layer, in memory."""
        return self._lists(layer, side, slice(None))

    def statistics(self, layer: int) -> Statistics:
        """The statistics of a layer."""
        base, n = f"collect/{self.site}/{layer}/statistics", self.n_neurons(layer)
        types = {"whole": "i8", "fraction": "i8", "positive": "i8", "nonfinite": "i8", "minimum": "f4", "maximum": "f4"}
        columns = {
            name: self._array(f"{base}/{name}", kind, shape=(2, n) if name in ("whole", "fraction") else (n,))
            for name, kind in types.items()
        }
        return Statistics(count=int(self._array(f"{base}/count", "i8", shape=())), **columns)

    def example_lists(self, layer: int, side: Side = "largest") -> list[list[Example]]:
        """The examples of every neuron of a layer, strongest first."""
        top = self.top(layer, side)
        return [self._examples(top, neuron) for neuron in range(len(top.activation))]

    def examples(self, layer: int, neuron: int, side: Side = "largest") -> list[Example]:
        """The examples of one neuron, strongest first.

        Raises:
            StoreError: no such layer or neuron.
        """
        self.require_layers([layer])
        n = self.n_neurons(layer)
        if not 0 <= neuron < n:
            raise StoreError(f"looking for neuron {neuron} of layer {layer} in {self.path}: it has neurons 0 to {n - 1}.")
        return self._examples(self._lists(layer, side, slice(neuron, neuron + 1)), 0)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The bytes of every token id."""
        tokens = self._blobs(self._file, "tokenizer/tokens")
        special = self._array("tokenizer/special", "u1", shape=(len(tokens),))
        return Vocabulary(tokens, special.astype(bool))

    @cached_property
    def token_count(self) -> Int64[np.ndarray, "d_vocab"]:
        """How often each token stood at a counted position of the corpus."""
        return self._array("corpus/token_count", "i8", shape=(len(self.vocabulary.tokens),))

    @cached_property
    def row_index(self) -> Int64[np.ndarray, "row"]:
        """Row indices of the stored rows, ascending."""
        index = self._array("rows/index", "i8", ndim=1)
        if (np.diff(index) <= 0).any():
            raise self._bad("rows/index does not ascend")
        return index

    def row(self, index: int) -> Integer[np.ndarray, "pos"]:
        """The token ids of a stored row, padding cut off.

        Raises:
            StoreError: the store does not hold that row.
        """
        at = int(np.searchsorted(self.row_index, index))
        if at == len(self.row_index) or self.row_index[at] != index:
            raise self._bad(f"an example refers to row {index}, which is not in rows/index")
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
        return None if group is None else self._table(group, TABLES[stage])

    def inputs(self, stage: str, layer: int, side: Side = "largest") -> dict[str, Any] | None:
        """What a table was made from, or None where the stage has not been there."""
        group = self._evidence_group(stage, layer, side)
        if group is None:
            return None
        try:
            return json.loads(group.attrs["inputs"])
        except (KeyError, ValueError, TypeError) as error:
            raise self._bad(f"{group.name} does not say what it was made from") from error

    def rest(self) -> Integer[np.ndarray, "_"]:
        """The tokens that a stopped collection goes on with."""
        return self._array("resume/rest", "u4", ndim=1) if "resume/rest" in self._file else np.empty(0, np.uint32)

    @property
    def rows_stored(self) -> tuple[Any, Any]:
        """All stored token rows, padding included, and their lengths, in memory."""
        return self._rows

    @cached_property
    def _rows(self) -> tuple[Any, Any]:
        n = len(self.row_index)
        tokens = self._get("rows/tokens")
        if not isinstance(tokens, h5py.Dataset) or tokens.dtype.str[1:] not in ("u2", "u4") or tokens.ndim != 2:
            raise self._bad("rows/tokens is no table of uint16 or uint32")
        if tokens.shape[0] != n:
            raise self._bad(f"rows/tokens has {tokens.shape[0]} rows, rows/index {n}")
        length = self._array("rows/length", "i8", shape=(n,))
        if n and not (0 < length.min() and length.max() <= tokens.shape[1]):
            raise self._bad("rows/length is outside the rows")
        values = tokens[:]
        if n and values.max() >= len(self.vocabulary.tokens):
            raise self._bad(f"rows/tokens holds id {values.max()}, the vocabulary {len(self.vocabulary.tokens)} tokens")
        return values, length

    def _lists(self, layer: int, side: Side, neurons: slice) -> TopK:
        base = f"collect/{self.site}/{layer}/{side}"
        activation = self._dataset(f"{base}/activation", "f4", 2)
        row = self._dataset(f"{base}/row", "i8", 2)
        position = self._dataset(f"{base}/position", "i4", 2)
        window = self._dataset(f"{base}/window", "f4", 3)
        if not activation.shape == row.shape == position.shape == window.shape[:2]:
            raise self._bad(f"the lists in {base} differ in shape")
        return TopK(activation[neurons], row[neurons], position[neurons], window[neurons])

    def _examples(self, top: TopK, neuron: int) -> list[Example]:
        before = int(self.manifest["config"]["before"])
        found = []
        for rank, (activation, row, position) in enumerate(
            zip(top.activation[neuron], top.row[neuron], top.position[neuron], strict=True)
        ):
            if row < 0:
                break
            tokens = self.row(int(row))
            if not 0 <= position < len(tokens):
                raise self._bad(f"an example stands at position {position} of row {row}, which has {len(tokens)}")
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
        if name not in self._file:
            return None
        group = self._get(name)
        if not isinstance(group, h5py.Group):
            raise self._bad(f"{name} is no group")
        return group

    def _table(self, group: h5py.Group, kind: type) -> Any:
        columns: dict[str, Any] = {}
        for column in dataclasses.fields(kind):
            name = f"{group.name}/{column.name}"
            if column.type == "SubstituteTable":
                columns[column.name] = self._table(self._get(name), records.SubstituteTable)
            elif column.type == "list[str]":
                columns[column.name] = [b.decode("utf-8", "replace") for b in self._blobs(group, column.name)]
            else:
                values = self._array(name, None, ndim=1)
                columns[column.name] = values.astype(bool) if str(column.type).startswith("Bool") else values
        lengths = {name: len(v) for name, v in columns.items() if not dataclasses.is_dataclass(v)}
        if len(set(lengths.values())) > 1:
            raise self._bad(f"the columns of {group.name} differ in length: {lengths}")
        return kind(**columns)

    def _blobs(self, group: h5py.Group, name: str) -> list[bytes]:
        base = f"{group.name.rstrip('/')}/{name}"
        data = self._array(f"{base}/bytes", "u1", ndim=1).tobytes()
        offsets = self._array(f"{base}/offsets", "i8", ndim=1)
        if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(data) or (np.diff(offsets) < 0).any():
            raise self._bad(f"{base}/offsets does not fit {base}/bytes")
        return [data[a:b] for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)]

    def _array(self, name: str, kind: str | None, *, ndim: int | None = None, shape: tuple[int, ...] | None = None) -> Any:
        found = self._dataset(name, kind, len(shape) if shape is not None else ndim)
        if shape is not None and found.shape != shape:
            raise self._bad(f"{name} has the shape {found.shape}, expected {shape}")
        return found[()]

    def _dataset(self, name: str, kind: str | None, ndim: int | None) -> h5py.Dataset:
        found = self._get(name)
        if not isinstance(found, h5py.Dataset):
            raise self._bad(f"{name} is no dataset")
        if found.external or found.is_virtual:
            raise self._bad(f"{name} lies outside the file")
        numeric = found.dtype.kind in "iuf" and found.dtype.byteorder in "<=|"
        if not numeric or (kind is not None and found.dtype.str[1:] != kind):
            raise self._bad(f"{name} is of type {found.dtype}, expected {kind or 'little-endian numbers'}")
        if ndim is not None and found.ndim != ndim:
            raise self._bad(f"{name} has {found.ndim} dimensions, expected {ndim}")
        return found

    def _get(self, name: str) -> Any:
        """The object of a name, reached by hard links alone."""
        place: Any = self._file
        try:
            for part in name.strip("/").split("/"):
                if not isinstance(place, h5py.Group) or part not in place:
                    raise self._bad(f"{name} is missing")
                if not isinstance(place.get(part, getlink=True), h5py.HardLink):
                    raise self._bad(f"{name} is a link")
                place = place[part]
        except (KeyError, OSError, RuntimeError, ValueError) as error:
            raise self._bad(f"{name} cannot be read ({str(error).splitlines()[0][:80]})") from error
        return place

    def _check_header(self) -> None:
        try:
            kind, version = self._file.attrs.get("format"), self._file.attrs.get("version")
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            raise self._bad("its attributes cannot be read") from error
        if kind != FORMAT:
            raise StoreError(
                f"opening {self.path}: an HDF5 file, but no neurolocal store (its attribute `format` is {kind!r}). "
                "Give a file made by `neurolocal collect`."
            )
        if version != VERSION:
            raise StoreError(
                f"opening {self.path}: a store of version {version}, this program reads version {VERSION}. "
                "Use the neurolocal that wrote it, or collect again."
            )

    def _bad(self, what: str) -> StoreError:
        return StoreError(f"reading the store {self.path}: {what}. The file is damaged; copy it again or collect again.")


def _ranges(numbers: list[int]) -> str:
    """0,1,2,5 -> 0-2,5."""
    parts: list[str] = []
    for i, n in enumerate(numbers):
        if i and n == numbers[i - 1] + 1:
            parts[-1] = f"{parts[-1].split('-')[0]}-{n}"
        else:
            parts.append(str(n))
    return ",".join(parts)
