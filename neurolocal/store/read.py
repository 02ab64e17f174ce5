"""Reading a store, believing nothing: every link, shape and type is checked before it is used.

Invariant: what comes out is as FORMAT.md says, or a StoreError says what is not.
Cost: opening reads the manifest; a neuron's examples read k rows of each list and the token rows they point to.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast, get_args

import h5py
import numpy as np
from jaxtyping import Int64, Integer

from neurolocal import records
from neurolocal.errors import StoreError
from neurolocal.records import Example, Side, Site, Statistics, TopK
from neurolocal.store.write import FORMAT, VERSION
from neurolocal.words import Vocabulary

if TYPE_CHECKING:
    cached_property = property  # type checkers take a cached_property for no property of a protocol
else:
    from functools import cached_property

TABLES: dict[str, type] = {
    "similarity": records.SimilarityTable,
    "perturbation": records.PerturbationTable,
    "summary": records.SummaryTable,
    "verdict": records.VerdictTable,
}
"""Stage -> the table that it puts into a store."""

LAYER = re.compile("0|[1-9][0-9]{0,8}")

DEFLATE = 1100
"""The most that HDF5's packing can save: deflate holds 1,032 bytes in one at best."""


def column_type(annotation: Any) -> str:
    """The dtype of a column as numpy writes it, from its annotation in `records`: `Float32[...]` -> `f4`."""
    return {"Float32": "f4", "Float64": "f8", "Int32": "i4", "Int64": "i8", "Bool": "u1"}[str(annotation).split("[")[0]]


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
        except Exception as error:  # HDF5 says "damaged" in a dozen ways
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
        manifest = self._json(self._file, "manifest")
        wanted = {"subject": dict, "tokenizer": dict, "corpus": dict, "config": dict}
        wanted |= {"rows": int, "tokens": int, "complete": bool}
        missing = [key for key, kind in wanted.items() if type(manifest.get(key)) is not kind]
        if missing:
            raise self._bad(f"the manifest lacks {', '.join(missing)}, or has something else there")
        return manifest

    @cached_property
    def site(self) -> Site:
        """Where the neurons were read."""
        site = self.manifest["config"].get("site")
        if not isinstance(site, str) or site not in get_args(Site):
            raise self._bad(f"unknown site {site!r}")
        return cast(Site, site)

    @cached_property
    def layers(self) -> list[int]:
        """The layers collected, ascending."""
        group = self._get(f"collect/{self.site}")
        with self._reading(f"collect/{self.site}"):
            names = list(group) if isinstance(group, h5py.Group) else [""]
        if not all(LAYER.fullmatch(name) for name in names):
            raise self._bad(f"collect/{self.site} does not hold layers")
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
        count = int(self._array(f"{base}/count", "i8", shape=()))
        if not all(((columns[name] >= 0) & (columns[name] <= count)).all() for name in ("positive", "nonfinite")):
            raise self._bad(f"{base} counts more positions than there were")
        return Statistics(count=count, **columns)

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
            raise StoreError(
                f"looking for neuron {neuron} of layer {layer} in {self.path}: it has neurons 0 to {n - 1}."
            )
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
        if (index[:1] < 0).any() or (index[1:] <= index[:-1]).any():
            raise self._bad("rows/index does not ascend from 0 or more")
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
        return None if group is None else self._table(group, TABLES[stage], self.n_neurons(layer))

    def inputs(self, stage: str, layer: int, side: Side = "largest") -> dict[str, Any] | None:
        """What a table was made from, or None where the stage has not been there."""
        group = self._evidence_group(stage, layer, side)
        return None if group is None else self._json(group, "inputs")

    def rest(self) -> Integer[np.ndarray, "_"]:
        """The tokens that a stopped collection goes on with."""
        return self._array("resume/rest", "u4", ndim=1) if self._has("resume/rest") else np.empty(0, np.uint32)

    @property
    def rows_stored(self) -> tuple[Any, Any]:
        """All stored token rows, padding included, and their lengths, in memory."""
        return self._rows

    @cached_property
    def _rows(self) -> tuple[Any, Any]:
        n = len(self.row_index)
        values = self._array("rows/tokens", None, ndim=2)
        if values.dtype.str[1:] not in ("u2", "u4"):
            raise self._bad("rows/tokens is no table of uint16 or uint32")
        if values.shape[0] != n:
            raise self._bad(f"rows/tokens has {values.shape[0]} rows, rows/index {n}")
        length = self._array("rows/length", "i8", shape=(n,))
        if n and not (length.min() > 0 and length.max() <= values.shape[1]):
            raise self._bad("rows/length is outside the rows")
        if values.size and values.max() >= len(self.vocabulary.tokens):
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
        if window.shape[2] != self._window[0] + 1 + self._window[1]:
            raise self._bad(f"the windows in {base} are not as long as the manifest says")
        with self._reading(base):
            top = TopK(activation[neurons], row[neurons], position[neurons], window[neurons])
        used = top.row >= 0
        if (used[:, 1:] > used[:, :-1]).any() or not np.array_equal(np.isfinite(top.activation), used):
            raise self._bad(f"the lists in {base} have holes")
        if (np.where(used, top.position, 0) < 0).any():
            raise self._bad(f"an example in {base} stands before its row")
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
        if not self._has(name):
            return None
        group = self._get(name)
        if not isinstance(group, h5py.Group):
            raise self._bad(f"{name} is no group")
        return group

    @cached_property
    def _window(self) -> tuple[int, int]:
        """Positions of a window before and after the peak."""
        config = self.manifest["config"]
        before, after = config.get("before"), config.get("after")
        if type(before) is not int or type(after) is not int or before < 0 or after < 0:
            raise self._bad("the manifest's config lacks before or after")
        return before, after

    def _table(self, group: h5py.Group, kind: type, n: int) -> Any:
        columns: dict[str, Any] = {}
        for column in dataclasses.fields(kind):
            name = f"{group.name}/{column.name}"
            if column.type == "SubstituteTable":
                inner = self._get(name)
                if not isinstance(inner, h5py.Group):
                    raise self._bad(f"{name} is no group")
                columns[column.name] = self._table(inner, records.SubstituteTable, n)
            elif column.type == "list[str]":
                columns[column.name] = [b.decode("utf-8", "replace") for b in self._blobs(group, column.name)]
            else:
                values = self._array(name, column_type(column.type), ndim=1)
                columns[column.name] = values.astype(bool) if str(column.type).startswith("Bool") else values
        lengths = {name: len(v) for name, v in columns.items() if not dataclasses.is_dataclass(v)}
        if len(set(lengths.values())) > 1:
            raise self._bad(f"the columns of {group.name} differ in length: {lengths}")
        neuron = columns["neuron"]
        if len(neuron) and not (neuron.min() >= 0 and neuron.max() < n):
            raise self._bad(f"{group.name} speaks of neurons that layer does not have")
        strange = set(columns.get("verdict", ())) - set(records.VERDICTS)
        if strange:
            raise self._bad(f"{group.name} holds the unknown verdict {ascii(sorted(strange)[0])[:40]}")
        return kind(**columns)

    def _blobs(self, group: h5py.Group, name: str) -> list[bytes]:
        base = f"{str(group.name).rstrip('/')}/{name}"
        data = self._array(f"{base}/bytes", "u1", ndim=1).tobytes()
        offsets = self._array(f"{base}/offsets", "i8", ndim=1)
        if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(data) or (offsets[1:] < offsets[:-1]).any():
            raise self._bad(f"{base}/offsets does not fit {base}/bytes")
        return [data[a:b] for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)]

    def _array(
        self, name: str, kind: str | None, *, ndim: int | None = None, shape: tuple[int, ...] | None = None
    ) -> Any:
        found = self._dataset(name, kind, len(shape) if shape is not None else ndim)
        if shape is not None and found.shape != shape:
            raise self._bad(f"{name} has the shape {found.shape}, expected {shape}")
        with self._reading(name):
            return found[()]

    def _dataset(self, name: str, kind: str | None, ndim: int | None) -> h5py.Dataset:
        found = self._get(name)
        if not isinstance(found, h5py.Dataset):
            raise self._bad(f"{name} is no dataset")
        with self._reading(name):
            outside = bool(found.external or found.is_virtual)
            dtype, dims, size, held = found.dtype, found.ndim, found.size or 0, found.id.get_storage_size()
            unfiltered = found.id.get_create_plist().get_nfilters() == 0
        if outside:
            raise self._bad(f"{name} lies outside the file")
        numeric = dtype.kind in "iuf" and dtype.byteorder in "<=|"
        if not numeric or (kind is not None and dtype.str[1:] != kind):
            raise self._bad(f"{name} is of type {dtype}, expected {kind or 'little-endian numbers'}")
        if ndim is not None and dims != ndim:
            raise self._bad(f"{name} has {dims} dimensions, expected {ndim}")
        # An array that claims terabytes and holds none would be made in memory, and then be full of fill values.
        most = min(held, self.path.stat().st_size) * (1 if unfiltered else DEFLATE)
        if size * dtype.itemsize > most:
            raise self._bad(f"{name} claims {size * dtype.itemsize:,} bytes and holds {held:,}")
        return found

    def _get(self, name: str) -> Any:
        """The object of a name, reached by hard links alone."""
        place = self._walk(name)
        if place is None:
            raise self._bad(f"{name} is missing")
        return place

    def _has(self, name: str) -> bool:
        return self._walk(name) is not None

    def _walk(self, name: str) -> Any:
        place: Any = self._file
        with self._reading(name):
            for part in name.strip("/").split("/"):
                if not isinstance(place, h5py.Group):
                    raise self._bad(f"{place.name if hasattr(place, 'name') else name} is no group")
                if part not in place:
                    return None
                if not isinstance(place.get(part, getlink=True), h5py.HardLink):
                    raise self._bad(f"{name} is a link")
                place = place[part]
        return place

    def _json(self, place: h5py.Group, name: str) -> dict[str, Any]:
        with self._reading(f"the attribute {name} of {place.name}"):
            value = json.loads(str(place.attrs[name]))
        if not isinstance(value, dict):
            raise self._bad(f"the attribute {name} of {place.name} is no JSON object")
        return value

    @contextlib.contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        """Whatever HDF5 finds wrong with a damaged file becomes a StoreError."""
        try:
            yield
        except StoreError:
            raise
        except Exception as error:
            said = (str(error).strip().splitlines() or [""])[0][:80]
            raise self._bad(f"{what} cannot be read ({type(error).__name__}: {ascii(said)[1:-1]})") from error

    def _check_header(self) -> None:
        with self._reading("its header"):
            kind, version = self._file.attrs.get("format"), self._file.attrs.get("version")
        if not isinstance(kind, str) or kind != FORMAT:
            raise StoreError(
                f"opening {self.path}: an HDF5 file, but no neurolocal store (its attribute `format` is "
                f"{ascii(kind)[:40]}). Give a file made by `neurolocal collect`."
            )
        shown = version if isinstance(version, np.integer) else ascii(version)[:40]
        if shown != VERSION:
            raise StoreError(
                f"opening {self.path}: a store of version {shown}, this program reads version {VERSION}. "
                "Use the neurolocal that wrote it, or collect again."
            )

    def _bad(self, what: str) -> StoreError:
        return StoreError(
            f"reading the store {self.path}: {what}. The file is damaged; copy it again or collect again."
        )


def _ranges(numbers: list[int]) -> str:
    """0,1,2,5 -> 0-2,5."""
    parts: list[str] = []
    for i, n in enumerate(numbers):
        if i and n == numbers[i - 1] + 1:
            parts[-1] = f"{parts[-1].split('-')[0]}-{n}"
        else:
            parts.append(str(n))
    return ",".join(parts)
