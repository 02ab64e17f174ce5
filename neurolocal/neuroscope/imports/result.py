"""The result of an import, whatever its source."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

SHOWN = 20
"""Problems that are printed line by line; all of them are in the store."""


@dataclass
class ImportResult:
    """What an import read and what it left out."""

    pages: int = 0
    """Pages of which a text was read."""
    texts: int = 0
    """Texts that are in the store."""
    rows: int = 0
    """Distinct rows that they lie in."""
    doubled: int = 0
    """Files with the same content as an earlier one."""
    problems: list[str] = field(default_factory=list)
    """What could not be read: file, text number, reason."""

    def json(self) -> str:
        """The result as one JSON object."""
        return json.dumps(asdict(self))

    def say_problems(self, say: Callable[[str], None]) -> None:
        """Print the first `SHOWN` problems, and how many there are."""
        for problem in self.problems[:SHOWN]:
            say(f"  {problem}")
        if len(self.problems) > SHOWN:
            say(f"  … {len(self.problems):,} problems in all; the store keeps them (--json prints them)")
