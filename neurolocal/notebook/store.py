"""`open_store`: a store, with its subject behind it, for notebooks and interactive Python.

Invariant: opening reads the manifest alone; pandas, matplotlib and the subject are loaded when they are first needed.
The subject is the one that the store names, by path and SHA-256; another is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from neurolocal.errors import StoreError
from neurolocal.literals import Side, Site
from neurolocal.notebook.neuron import StoredNeuron
from neurolocal.notebook.pages import store_html
from neurolocal.notebook.tables import answer_table, neuron_table
from neurolocal.pipeline.workspace import Workspace
from neurolocal.report.layer import Layer, read_layer
from neurolocal.store import Store

if TYPE_CHECKING:
    from pandas import DataFrame

    from neurolocal.asking import Asking
    from neurolocal.subject import Subject

log = logging.getLogger(__name__)


class OpenStore:
    """A store that is looked at: `store[14, 159]` is a neuron, `store.neurons(layer=14)` a table. A context manager."""

    def __init__(self, work: Workspace, *, side: Side = "largest") -> None:
        """Look at the store of a workspace, at one of its sides."""
        self._work = work
        self.side: Side = side
        self._layers: dict[int, Layer] = {}

    def __repr__(self) -> str:
        return repr(self.store)

    def _repr_html_(self) -> str:
        """The facts of the run, and the verdicts of each layer."""
        return store_html(self.store, side=self.side)

    def __enter__(self) -> OpenStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.store.close()

    @property
    def store(self) -> Store:
        """The store as the rest of the package reads it: statistics, evidence, rows, everything."""
        return self._work.store

    @property
    def layers(self) -> list[int]:
        """The layers collected, ascending."""
        return self.store.layers

    def __getitem__(self, place: Any) -> StoredNeuron:
        """One neuron, `store[layer, neuron]`.

        Raises:
            StoreError: the store does not hold it.
        """
        if not (isinstance(place, tuple) and len(place) == 2 and all(isinstance(n, int | np.integer) for n in place)):
            raise StoreError(
                f"looking at {str(place)[:80]} in {self.store.path}: give layer and neuron, as store[14, 159]; "
                "store.neurons(layer=14) is a table."
            )
        layer, neuron = map(int, place)
        self.store.index_of(layer, neuron)
        return StoredNeuron(self, layer, neuron)

    def neurons(self, layer: int | np.integer | Sequence[int] | np.ndarray | None = None) -> DataFrame:
        """A pandas table of the neurons of one layer, or several, or all: one row each, by layer, then rank.

        Its columns are those fields of the JSON report that are one value, and `tokens`.

        Raises:
            NeurolocalError: pandas is not installed.
            StoreError: the store does not hold a layer.
        """
        layers = None if layer is None else np.atleast_1d(layer).tolist()
        return neuron_table(self.store, layers, side=self.side)

    def strongest(self, text: str, *, n: int = 10, layers: Sequence[int] | None = None) -> DataFrame:
        """A pandas table of the neurons that a text excites most, by the share of their own largest activation.

        Raises:
            NeurolocalError: pandas is not installed, or the subject cannot be loaded, or cannot read the text.
        """
        return answer_table(self.asking.strongest(text, n=n, layers=layers))

    @property
    def subject(self) -> Subject:
        """The subject that the store was collected with, loaded at its first use."""
        return self._work.loaded_subject

    @cached_property
    def asking(self) -> Asking:
        """The subject and the store, to ask about texts; see `neurolocal.asking`."""
        from neurolocal.asking import Asking

        return Asking(self.subject, self.store, side=self.side)

    def read(self, layer: int) -> Layer:
        """The tables of a layer; read once."""
        if layer not in self._layers:
            self._layers[layer] = read_layer(self.store, layer, side=self.side, whole=False)
        return self._layers[layer]


def open_store(
    path: str | Path, *, site: Site | None = None, side: Side = "largest", subject: str | Path | None = None,
    tokenizer: str | None = None, device: str | None = None,
) -> OpenStore:  # fmt: skip
    """Open a store to look at it.

    Args:
        path: the file.
        site: which of its sites; None is the first.
        side: which example lists, and the evidence on them.
        subject: where its model is, if that is not where the store says.
        tokenizer: the same of its tokenizer, where the model brings none.
        device: torch device of the model; None chooses.

    Raises:
        StoreError: no store, another version, or damaged.
    """
    work = Workspace(
        Path(path), site=site, subject=None if subject is None else str(subject), tokenizer=tokenizer, device=device,
        say=log.info, bar=False,
    )  # fmt: skip
    _ = work.store.manifest
    return OpenStore(work, side=side)
