"""The contract of a stage: its name, its settings, what a table is made from, and the work for one layer and side.

A stage is the constant `STAGE` in `stage.py` of the folder of its name; `records.TABLES` says in which order the stages
run. The pipeline does the rest: it compares what a table was made from, runs the work where that has changed, and
writes the result. Work that takes long is given in parts: the pipeline keeps what is finished, so that a kill costs one
part, and several processes may share the parts (`neurolocal/scale`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Int64

from neurolocal.literals import Side

if TYPE_CHECKING:
    from neurolocal.pipeline.workspace import Workspace


Say = Callable[[str], None]
"""Receives one line for the user at a time."""


def silent(line: str) -> None:
    """Say nothing."""


class Result(NamedTuple):
    """What the work gives for one layer and side."""

    table: Any
    """A table of the stage's type."""
    facts: Mapping[str, Any] | None = None
    """What is worth knowing about its inputs; kept beside them, and never a reason to run again."""


Evidence = Mapping[str, Any]
"""What a part gives: plain values (as of JSON) and arrays of numbers, by name."""


@dataclass(frozen=True)
class Parts:
    """Work in parts. The evidence of a part is the same bits whichever other parts its process does."""

    unit: str
    """What one part is, for people: `neuron`."""
    split: Callable[[int, Side], list[int]]
    """(layer, side) -> the numbers of the parts, in the order in which they are best done. Loads nothing heavy."""
    part: Callable[[int, Side, int], Evidence]
    """(layer, side, part) -> its evidence."""
    join: Callable[[int, Side, list[Evidence]], Result]
    """(layer, side, evidence in the order of `split`) -> result. Loads nothing heavy."""


class Task(NamedTuple):
    """A part of a layer and side."""

    layer: int
    side: Side
    part: int

    def __str__(self) -> str:
        """For people."""
        return f"part {self.part} of layer {self.layer}, {self.side},"


class Failure(NamedTuple):
    """A part that could not be done, in place of its evidence."""

    why: str
    """The last reason."""


Work = Callable[[int, Side], Result] | Parts
"""(layer, side) -> result, at once or in parts."""


@dataclass(frozen=True)
class Stage:
    """One stage: the functions that the pipeline calls, in the order of the fields.

    `config` in their arguments is an instance of the stage's own `config` type.
    """

    name: str
    """Folder, HDF5 group, command and report section."""
    config: type
    """Frozen dataclass of the settings: the table of that name in RUN.toml."""
    revision: int
    """Version of the method; a table of an earlier revision is made again."""
    inputs: Callable[[Workspace, Any, int, Side], dict[str, Any]]
    """(workspace, config, layer, side) -> what the table is made from beside the collection and the settings: plain
    values, cheap to get. Equal inputs are not computed again."""
    work: Callable[[Workspace, Any], AbstractContextManager[Work]]
    """(workspace, config) -> a context in which the work can be done; it opens what all layers share and closes it."""
    places: Callable[[Workspace], list[tuple[int, Side]]] = field(default=lambda workspace: workspace.places())
    """The layers and sides to look at, of those that the workspace asks for."""
    wanted: Callable[[Workspace, Any], bool] = field(default=lambda workspace, config: True)
    """Whether a whole run includes the stage with these settings."""
    llm: bool = False
    """Whether it asks the LLM."""
    slow: bool = False
    """Whether it takes minutes. A whole run writes its reports before such a stage and before the first one that asks
    the LLM, as well as at the end."""


Engine = Callable[["Stage", "Workspace", Any, Parts, Iterable[Task]], Iterator[tuple[Task, Evidence | Failure]]]
"""(stage, workspace, config, work, tasks) -> each task with its evidence, in any order; tasks may be taken ahead."""


def in_this_process(
    stage: Stage, workspace: Workspace, config: Any, parts: Parts, tasks: Iterable[Task]
) -> Iterator[tuple[Task, Evidence | Failure]]:
    """Do one task after the other."""
    for task in tasks:
        yield task, parts.part(*task)


def with_indices(table: Any, neurons: Int64[np.ndarray, "neuron"]) -> Any:
    """A table that numbers the collected neurons of a layer (0, 1, …) -> one that names them by index in the layer."""
    return dataclasses.replace(table, neuron=neurons[table.neuron])


def with_positions(table: Any, neurons: Int64[np.ndarray, "neuron"]) -> Any:
    """The inverse of `with_indices`; None stays None."""
    return None if table is None else dataclasses.replace(table, neuron=np.searchsorted(neurons, table.neuron))
