"""The parts of a stage's work: which are left, who does them, and the result of a layer and side when all are there.

Invariant: a result is made from the evidence of its parts in their order, whoever made it and when. What is finished is
in a journal beside the store until the table is written, so a kill costs the parts that are in progress.
Cost: the evidence of the layers in progress, in memory and in their journals.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from neurolocal.errors import NeurolocalError
from neurolocal.literals import Side
from neurolocal.progress import Bar
from neurolocal.stage import Engine, Failure, Parts, Result, Stage, Task

if TYPE_CHECKING:
    from neurolocal.pipeline.journal import Journal
    from neurolocal.pipeline.workspace import Workspace

Place = tuple[int, Side]


@dataclass
class _Layer:
    """A layer and side in progress."""

    numbers: list[int]
    """Its parts, in order."""
    journal: Journal
    """What is finished."""
    failures: dict[int, str] = field(default_factory=dict)
    """The parts that could not be done, with the reason."""

    @property
    def over(self) -> bool:
        return all(number in self.journal.parts or number in self.failures for number in self.numbers)


class PartsRun:
    """One run of a stage's parts."""

    def __init__(
        self, stage: Stage, workspace: Workspace, config: Any, parts: Parts, todo: Mapping[Place, Mapping[str, Any]]
    ) -> None:
        """Nothing is opened yet. `todo`: the layers and sides, each with what its table is made from."""
        self.stage, self.workspace, self.config, self.parts, self.todo = stage, workspace, config, parts, todo
        self._numbers = {place: parts.split(*place) for place in todo}
        self._open: dict[Place, _Layer] = {}
        self._failures: dict[Place, dict[int, str]] = {}
        self._held = contextlib.ExitStack()

    def results(self, engine: Engine) -> Generator[tuple[int, Side, Result], None, None]:
        """The result of each layer and side as soon as its last part is done.

        Raises:
            NeurolocalError: a part could not be done; raised after the results of all other layers were given.
        """
        total = sum(map(len, self._numbers.values()))
        with self._held, contextlib.ExitStack() as stack:
            bar = stack.enter_context(
                Bar(total=total, desc=self.stage.name, unit=self.parts.unit, disable=not self.workspace.bar)
            )
            answers = engine(self.stage, self.workspace, self.config, self.parts, self._tasks(bar))
            for task, evidence in stack.enter_context(contextlib.closing(answers)):  # pyright: ignore[reportArgumentType]
                layer = self._open[task.layer, task.side]
                if isinstance(evidence, Failure):
                    layer.failures[task.part] = evidence.why
                else:
                    layer.journal.add(task.part, evidence)
                bar.update()
                yield from self._finished()
            yield from self._finished()
        self._require_all()

    def _tasks(self, bar: Bar) -> Iterator[Task]:
        """The parts that are left; a layer's journal is opened at its first part."""
        for place, numbers in self._numbers.items():
            layer = _Layer(numbers, self.workspace.journal(self.stage.name, *place, self.todo[place]))
            self._open[place] = layer
            self._held.callback(layer.journal.close)
            left = [number for number in numbers if number not in layer.journal.parts]
            bar.update(len(numbers) - len(left))
            yield from (Task(*place, number) for number in left)

    def _finished(self) -> Iterator[tuple[int, Side, Result]]:
        """The results of the layers whose parts are all there."""
        for place in [place for place, layer in self._open.items() if layer.over]:
            layer = self._open.pop(place)
            if layer.failures:
                self._failures[place] = layer.failures
                continue
            try:
                result = self.parts.join(*place, [layer.journal.parts[number] for number in layer.numbers])
            except NeurolocalError:
                layer.journal.remove()  # its evidence is of no use
                raise
            layer.journal.parts.clear()  # they are in the table, and on the disk until that is written
            yield *place, result

    def _require_all(self) -> None:
        if not self._failures:
            return
        (layer, side), failures = next(iter(self._failures.items()))
        number, why = list(failures.items())[-1]
        raise NeurolocalError(
            f"{self.stage.name} of {self.workspace.path}: {sum(map(len, self._failures.values()))} parts could not be "
            f"done, in layers {', '.join(dict.fromkeys(str(layer) for layer, _ in self._failures))}; these have no "
            f"table. One is {self.parts.unit} {number} of layer {layer}, {side}: {why}. What is finished is kept: run "
            "the same command again."
        )
