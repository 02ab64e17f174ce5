"""A list of what is wrong in a store: one fault for each place and kind, however many neurons it affects.

Invariant: every DamagedError that the reader raises becomes a fault, so that one damaged dataset does not hide the
next. Cost: none where there is no fault.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neurolocal.store.checked import DamagedError


@dataclass(frozen=True)
class Fault:
    """One difference from FORMAT.md."""

    place: str
    """The group or dataset."""
    found: str
    """What the file contains, how often, and where first."""
    expected: str
    """What it should contain."""

    def __str__(self) -> str:
        return f"{self.place}: {self.found}; expected {self.expected}"


@dataclass
class Faults:
    """The faults found so far."""

    found: list[Fault] = field(default_factory=list)

    def add(self, place: str, found: str, expected: str) -> None:
        """Add a fault."""
        self.found.append(Fault(place, found, expected))

    def where(self, place: str, wrong: Any, expected: str, *, what: str, axes: tuple[str, ...]) -> None:
        """Add one fault for all entries of a boolean array that are True, if there are any.

        Args:
            place: the group or dataset.
            wrong: whether each entry is wrong.
            expected: what should be there.
            what: what such an entry is, in the plural.
            axes: names of the array's axes.
        """
        n = int(np.count_nonzero(wrong))
        if n:
            first = np.unravel_index(int(np.argmax(wrong)), np.shape(wrong))
            at = ", ".join(f"{axis} {i}" for axis, i in zip(axes, first, strict=True))
            self.add(place, f"{n:,} {what}, first at {at}", expected)

    @contextlib.contextmanager
    def reading(self, place: str) -> Generator[None, None, None]:
        """Turns a DamagedError in the block into a fault; the same dataset is listed once."""
        try:
            yield
        except DamagedError as error:
            name = error.what.split(" ")[0].strip("/")
            known = any(fault.place.startswith(name) and "cannot be read" in fault.found for fault in self.found)
            fault = Fault(place, error.what, "what FORMAT.md says")
            if not known and all(error.what != other.found for other in self.found):
                self.found.append(fault)
