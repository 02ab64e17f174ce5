"""What a driver and a dealer need of workers, and what these answer: actors of `cluster`, or the threads of a test.

Invariant: a worker does one call at a time on activations (`call`) and one on text (`read`). Cost: none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True)
class Failed:
    """What went wrong in a worker."""

    why: str
    """The message of the error."""
    ends_the_run: bool
    """Whether every worker would fail in the same way: a wrong setting, a subject that cannot be read, a full disk."""


@dataclass(frozen=True)
class Answer:
    """What came of a call."""

    worker: int
    """Which worker."""
    value: Any
    """What it returned, which may be a `Failed`; None where it raised."""
    failed: str | None = None
    """The error that it raised, where there was one."""
    died: bool = False
    """Whether the worker is gone."""
    reading: bool = False
    """Whether the call was one on text."""

    @property
    def why(self) -> str | None:
        """What went wrong; None where nothing did."""
        return self.value.why if isinstance(self.value, Failed) else self.failed

    @property
    def ends_the_run(self) -> bool:
        """Whether every worker would fail in the same way."""
        return isinstance(self.value, Failed) and self.value.ends_the_run


@runtime_checkable
class Pool(Protocol):
    """What a dealer needs of the workers: see `cluster.RayPool`."""

    def start(self, worker: int) -> None: ...  # noqa: D102
    def call(self, worker: int, method: str, *arguments: Any, **named: Any) -> None: ...  # noqa: D102
    def wait(self, seconds: float) -> list[Answer]: ...  # noqa: D102


@runtime_checkable
class CollectPool(Pool, Protocol):
    """What the driver of a collection needs besides."""

    def drop(self, worker: int) -> None: ...  # noqa: D102
    def read(self, worker: int, method: str, *arguments: Any) -> None: ...  # noqa: D102
    def batches(self) -> dict[int, int]: ...  # noqa: D102
    def stop(self, worker: int) -> None: ...  # noqa: D102
