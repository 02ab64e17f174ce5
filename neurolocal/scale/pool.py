"""What the driver needs of its workers, whatever they are: the actors of `cluster`, or the threads of a test.

Invariant: a worker does one call at a time on activations (`call`) and one on text (`read`). Cost: none.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from neurolocal.scale.cluster import Answer


@runtime_checkable
class Pool(Protocol):
    """What the driver needs of the workers: see `cluster.RayPool`."""

    def start(self, worker: int) -> None: ...  # noqa: D102
    def drop(self, worker: int) -> None: ...  # noqa: D102
    def call(self, worker: int, method: str, *arguments: Any, **named: Any) -> None: ...  # noqa: D102
    def read(self, worker: int, method: str, *arguments: Any) -> None: ...  # noqa: D102
    def wait(self, seconds: float) -> list[Answer]: ...  # noqa: D102
    def batches(self) -> dict[int, int]: ...  # noqa: D102
    def stop(self, worker: int) -> None: ...  # noqa: D102
