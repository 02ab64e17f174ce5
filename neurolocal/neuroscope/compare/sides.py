"""One side of a comparison: a store, or a JSON list of maxima, behind one interface.

Invariant: a list of maxima has layers, widths and maxima; for examples and text it returns None.
Cost: nothing is read before it is needed; one layer's lists are in memory at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

from neurolocal.errors import StoreError
from neurolocal.neuroscope.read.maxima import ListedMaxima, is_list, read_maxima
from neurolocal.records import Maxima, Site
from neurolocal.store import Store


class ExamplePeaks(NamedTuple):
    """The examples of a layer's neurons, strongest first, and their peaks."""

    activation: Float32[np.ndarray, "neuron k"]
    """Unused slots are NaN, and come last."""
    row: Int64[np.ndarray, "neuron k"]
    """Number of the stored row, from 0; unused -1."""
    position: Int64[np.ndarray, "neuron k"]
    """Position in the row; unused -1."""
    token: Int64[np.ndarray, "neuron k"]
    """Token id at the peak; unused -1."""

    def of(self, neurons: Int64[np.ndarray, "n"]) -> ExamplePeaks:
        """The same of some neurons, by their index in the layer's arrays."""
        return ExamplePeaks(*(column[neurons] for column in self))


@dataclass(frozen=True)
class SideFacts:
    """What is known of one side; None is unknown."""

    path: str
    """The file, as the user gave it."""
    kind: str
    """`collected`, `imported`, or `list`."""
    subject: str | None
    """The model's name."""
    weights: str | None
    """SHA-256 of its weights."""
    site: str | None
    """Where neurons were read."""
    dtype: str | None
    """The dtype that it was computed in."""
    corpus: str | None
    """Name of the text."""
    rows_sha256: str | None
    """SHA-256 of the text that was analysed."""
    rows: int | None
    """Rows of the corpus."""
    least_rows: int
    """A lower bound of `rows`: one more than the highest row index seen."""
    complete: bool
    """False for a checkpoint."""


@dataclass(frozen=True)
class ComparisonSide:
    """One of the two that are compared; close it after use."""

    path: Path
    store: Store | None
    """None for a list of maxima."""
    listed: list[ListedMaxima]
    """Empty for a store."""
    rows_given: int | None = None
    """Rows of the corpus, if the user gives them."""

    def close(self) -> None:
        """Close the file."""
        if self.store is not None:
            self.store.close()

    @property
    def layers(self) -> list[int]:
        """The layers that it has, ascending."""
        return list(range(len(self.listed))) if self.store is None else self.store.layers

    @property
    def n_layers(self) -> int | None:
        """Number of layers of the model, if the store states it; a list of maxima may lack the last ones."""
        stated = _table(self.store.manifest["subject"]).get("n_layers") if self.store else None
        return stated if type(stated) is int and stated > 0 else None

    def width(self, layer: int) -> int | None:
        """Number of neurons of the layer; None if only some were collected and the store does not state it."""
        if self.store is None:
            return len(self.listed[layer].activation)
        widths = _table(self.store.manifest["subject"]).get("d_mlp")
        if isinstance(widths, list) and layer < len(widths) and type(widths[layer]) is int:
            return widths[layer]
        neurons = self.store.neurons(layer)
        whole = not self.store.imported and self.store.manifest["config"].get("neurons", 0) is None
        return len(neurons) if whole else None

    def maxima(self, layer: int) -> Maxima:
        """The largest activation of each neuron; NaN where it is unknown or not trusted."""
        if self.store is not None:
            return self.store.maxima(layer)
        values, trusted = self.listed[layer]
        return Maxima(np.arange(len(values)), np.where(trusted, values, np.nan))

    def peaks(self, layer: int) -> ExamplePeaks | None:
        """The examples of a layer; None for a list of maxima, or if there are none."""
        if self.store is None or not self.store.k(layer):
            return None
        store, top = self.store, self.store.top(layer, "largest")
        index, (tokens, length) = store.row_index, store.rows_stored
        used = top.row >= 0
        if not used.any():
            return None
        at = np.searchsorted(index, top.row)
        here = np.minimum(at, len(index) - 1)
        if not len(index) or (used & (index[here] != top.row)).any():
            raise store.checked.bad(f"an example of layer {layer} refers to a row that is not in rows/index")
        if (used & (top.position >= length[here])).any():
            raise store.checked.bad(f"an example of layer {layer} lies beyond the end of its row")
        row, position = np.where(used, here, -1), np.where(used, top.position, -1).astype(np.int64)
        token = np.where(used, tokens[row, position].astype(np.int64), -1)
        return ExamplePeaks(top.activation, row.astype(np.int64), position, token)

    @property
    def rows(self) -> int | None:
        """Rows of the corpus that the maxima come from; None if unknown."""
        if self.rows_given is not None:
            return self.rows_given
        if self.store is None or self.store.imported:
            return None  # an imported store's rows are those of its examples
        return self.store.manifest["rows"] or None

    def facts(self) -> SideFacts:
        """What is known of this side."""
        if self.store is None:
            return SideFacts(str(self.path), "list", None, None, None, None, None, None, self.rows, 0, complete=True)
        manifest, index = self.store.manifest, self.store.row_index
        subject, corpus, config = (manifest[name] for name in ("subject", "corpus", "config"))
        path = _text(corpus.get("path"))
        return SideFacts(
            path=str(self.path),
            kind="imported" if self.store.imported else "collected",
            subject=_text(subject.get("name")) or _text(subject.get("path")),
            weights=_text(subject.get("sha256")),
            site=self.store.site,
            dtype=_text(config.get("dtype")),
            corpus=PurePath(path).name if path else None,
            rows_sha256=_text(corpus.get("rows_sha256")),
            rows=self.rows,
            least_rows=int(index[-1]) + 1 if len(index) else 0,
            complete=manifest["complete"],
        )


def open_side(
    path: Path, *, site: Site | None = None, like: ComparisonSide | None = None, rows: int | None = None
) -> ComparisonSide:
    """Open a store or a list of maxima.

    Args:
        path: the file.
        site: which site of a store; None is that of `like` if the store has it, else its first.
        like: the other side, if it is open already.
        rows: rows of its corpus, if the user gives them.

    Raises:
        StoreError: as `Store` and `read_maxima`.
    """
    if is_list(path):
        return ComparisonSide(path, None, read_maxima(path), rows)
    store = Store(path, site=site)
    other = like.store.site if like is not None and like.store is not None else None
    if site is None and other in store.sites:
        store.close()
        store = Store(path, site=other)
    return ComparisonSide(path, store, [], rows)


def require_same_model(own: ComparisonSide, theirs: ComparisonSide, layers: list[int] | None) -> list[int]:
    """The layers to compare: the requested ones, or those of both sides.

    Raises:
        StoreError: they have no layer in common, lack a requested one, or differ in the number of layers or neurons.
    """
    both = sorted(set(own.layers) & set(theirs.layers))
    counts = [side.n_layers for side in (own, theirs)]
    for side, n in ((own, counts[1]), (theirs, counts[0])):
        has = side.n_layers or len(side.listed)
        if n and has and (has != n if side.store else has > n):
            raise StoreError(
                f"comparing {own.path} with {theirs.path}: {side.path} has {has} layers, the other {n}. "
                "Compare two of one model."
            )
    absent = [layer for layer in layers or [] if layer not in both]
    if absent or not both:
        wanted = f"layer {', '.join(map(str, absent))}" if absent else "a layer"
        raise StoreError(
            f"comparing {own.path} with {theirs.path}: they do not have {wanted} in common (layers "
            f"{_short(own.layers)}; {_short(theirs.layers)}). Choose from those of both, or collect the same layers."
        )
    for layer in both if layers is None else layers:
        widths = own.width(layer), theirs.width(layer)
        if None not in widths and widths[0] != widths[1]:
            raise StoreError(
                f"comparing {own.path} with {theirs.path}: layer {layer} has {widths[0]:,} neurons in the one and "
                f"{widths[1]:,} in the other. Compare two of one model."
            )
    return both if layers is None else sorted(set(layers))


def _short(layers: list[int]) -> str:
    return ", ".join(map(str, layers[:12])) + (", …" if len(layers) > 12 else "") if layers else "none"


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
