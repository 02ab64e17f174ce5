"""Measurements of a layer: every substitute that was run, with its activation, and activation / original by kind.

Invariant: of a substitute only numbers are kept (28 bytes); its text and tokens are stored once for all that share
them.
Cost: 28 bytes x neurons x examples x substitutes (50,000 x 10 x 25: 350 MB); `RelativeActivations` as much again.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int8, Int16, Int32, Int64, Integer

from neurolocal.config import PerturbationConfig
from neurolocal.perturbation.substitutes import Encoder, Substitute
from neurolocal.records import KINDS, Example

BRANCHES = 2048
"""Most branches of one row that are given to the subject at once."""


@runtime_checkable
class BranchActivations(Protocol):
    """Activations of branches; see `neurolocal.subject.branches.BranchActivations`."""

    @property
    def largest(self) -> Float32[np.ndarray, "branch"]:
        """The largest over each branch's own tokens."""
        ...

    @property
    def smallest(self) -> Float32[np.ndarray, "branch"]:
        """The smallest over each branch's own tokens."""
        ...


@runtime_checkable
class BranchSubject(Encoder, Protocol):
    """A subject that runs branches; see `neurolocal.subject.packed.Packed`."""

    @property
    def half_precision(self) -> bool:
        """Whether it computes in 16 bits."""
        ...

    @property
    def bos(self) -> int | None:
        """The id that begins a row."""
        ...

    def activations_of_rows(
        self, layer: int, rows: Sequence[tuple[Any, Sequence[tuple[int, Sequence[int], int]]]]
    ) -> Iterator[tuple[int, Any]]:
        """The number of a row, and the `BranchActivations` of its branches, each (position, token ids, neuron)."""
        ...


COLUMNS = ("neuron", "rank", "order", "kind", "text", "lowest", "cosine", "activation")
"""What is kept of a measured substitute."""


class Measurements:
    """Substitutes of a layer as columns, one entry a substitute of one neuron and example."""

    def __init__(self) -> None:
        self.neuron, self.rank, self.order, self.kind = array("i"), array("h"), array("i"), array("b")
        self.text, self.cosine, self.position, self.lowest = array("i"), array("f"), array("i"), array("b")
        self.texts: list[str] = []
        self.tokens: list[tuple[int, ...]] = []
        self._text_of: dict[tuple[str, tuple[int, ...]], int] = {}
        self.activation = array("f")

    def add(
        self, neuron: int, example: Example, substitute: Substitute, *, order: int, position: int, lowest: bool
    ) -> int:  # fmt: skip
        """Add a substitute that is not yet run; returns its number.

        Args:
            neuron: index within the layer.
            example: the example whose peak word is replaced.
            substitute: what replaces it.
            order: its place among the example's substitutes.
            position: of the substitute's first token.
            lowest: whether the smallest activation counts (True), or the largest.
        """
        key = (substitute.text, substitute.tokens)
        if key not in self._text_of:
            self._text_of[key] = len(self.texts)
            self.texts.append(substitute.text)
            self.tokens.append(substitute.tokens)
        self.neuron.append(neuron)
        self.rank.append(example.rank)
        self.order.append(order)
        self.kind.append(KINDS.index(substitute.kind))
        self.text.append(self._text_of[key])
        self.cosine.append(substitute.cosine)
        self.position.append(position)
        self.lowest.append(lowest)
        self.activation.append(float("nan"))
        return len(self) - 1

    def __len__(self) -> int:
        """Number of substitutes."""
        return len(self.neuron)

    def run(
        self,
        rows: Iterable[tuple[Iterable[int], Integer[np.ndarray, "_"]]],
        subject: BranchSubject,
        layer: int,
    ) -> None:
        """Run substitutes in their rows, and store their activations.

        Args:
            rows: the numbers of the substitutes of a row, and the row.
            subject: what runs them.
            layer: of the neurons.
        """
        parts: list[tuple[list[int], Any]] = []
        for numbers, row in rows:
            # By position and text, so that equal substitutes of several neurons are run in the same pass.
            order = sorted(numbers, key=lambda i: (self.position[i], self.text[i]))
            parts += [(order[begin : begin + BRANCHES], row) for begin in range(0, len(order), BRANCHES)]
        branches = [
            (row, [(self.position[i], self.tokens[self.text[i]], self.neuron[i]) for i in some]) for some, row in parts
        ]
        for part, activations in subject.activations_of_rows(layer, branches):
            largest, smallest = activations.largest, activations.smallest
            for k, i in enumerate(parts[part][0]):
                self.activation[i] = smallest[k] if self.lowest[i] else largest[k]

    def evidence(self) -> dict[str, Any]:
        """The columns, and the texts."""
        return {name: np.array(getattr(self, name)) for name in COLUMNS} | {"texts": self.texts}


class Measured(NamedTuple):
    """The measured substitutes of a layer, by neuron, rank and order."""

    neuron: Int32[np.ndarray, "s"]
    rank: Int16[np.ndarray, "s"]
    order: Int32[np.ndarray, "s"]
    kind: Int8[np.ndarray, "s"]
    """Place in `KINDS`."""
    text: Int32[np.ndarray, "s"]
    """Place in `texts`."""
    lowest: Int8[np.ndarray, "s"]
    cosine: Float32[np.ndarray, "s"]
    activation: Float32[np.ndarray, "s"]
    texts: list[str]


def joined(parts: Sequence[Mapping[str, Any]]) -> Measured:
    """The evidence of all parts of a layer."""
    texts: dict[str, int] = {}
    whole = {name: [np.array(getattr(Measurements(), name))] for name in COLUMNS}
    for part in parts:
        number = np.array([texts.setdefault(text, len(texts)) for text in part["texts"]], np.int32)
        for name in COLUMNS:
            whole[name].append(number[part[name]] if name == "text" else part[name])
    columns = {name: np.concatenate(found) for name, found in whole.items()}
    order = np.lexsort((columns["order"], columns["rank"], columns["neuron"]))
    return Measured(**{name: column[order] for name, column in columns.items()}, texts=list(texts))


class RelativeActivations:
    """Activation / original of every substitute, and its cosine, by neuron, example and kind."""

    def __init__(self, neurons: Sequence[int], measured: Measured, config: PerturbationConfig) -> None:
        """Arrange the measurements. Where the original's activation has the wrong sign, the example is NaN."""
        neuron, rank, _, kind, _, lowest, cosine, activation, _ = measured
        at = np.searchsorted(np.array(neurons, np.int64), neuron)
        original = np.full((len(neurons), config.examples), np.nan, np.float32)
        first = kind == KINDS.index("original")
        sound = first & (activation * np.where(lowest, -1, 1) > 0)
        original[at[sound], rank[sound]] = activation[sound]
        self.n_examples = (~np.isnan(original)).sum(axis=1)
        # Rounded, so that substitutes with the same strongest token tie even if two passes differ by rounding.
        relative = np.round(activation / original[at, rank], 4)
        self._of: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for code, name in enumerate(KINDS):
            own = np.flatnonzero(kind == code)
            group = at[own] * config.examples + rank[own]
            slot = _number_within(group)
            width = max(int(slot.max(initial=-1)) + 1, 1)
            values, cosines = (np.full((len(neurons), config.examples, width), np.nan, np.float32) for _ in range(2))
            values[at[own], rank[own], slot] = relative[own]
            cosines[at[own], rank[own], slot] = cosine[own]
            self._of[name] = values, cosines

    def __getitem__(self, kind: str) -> Float32[np.ndarray, "neuron example substitute"]:
        """Activation / original of a kind; NaN where there is none."""
        return self._of[kind][0]

    def cosines(self, kind: str) -> Float32[np.ndarray, "neuron example substitute"]:
        """Cosines of a kind."""
        return self._of[kind][1]


def _number_within(group: Int64[np.ndarray, "s"]) -> Int64[np.ndarray, "s"]:
    """For each entry, the number of earlier entries of the same group."""
    order = np.argsort(group, kind="stable")
    ordered = group[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])) if len(group) else np.empty(0, np.int64)
    within = np.arange(len(group)) - np.repeat(starts, np.diff(np.append(starts, len(group))))
    number = np.empty(len(group), np.int64)
    number[order] = within
    return number
