"""What a plan is made of: the job, the steps of its work, and amounts of bytes.

Cost: none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from neurolocal.config import CollectConfig
from neurolocal.scale.schedule import SHARDS

if TYPE_CHECKING:
    from neurolocal.subject.shape import LayerShape, Shape


@dataclass(frozen=True)
class Job:
    """What is to be done."""

    shape: Shape
    """Of the subject."""
    config: CollectConfig
    """`resolved`: with its sites."""
    rows: int
    """Rows of the corpus."""
    workers: int = 1
    """Processes with a device each, which share the corpus."""
    ranges: bool = False
    """Whether each reads its own parts of the corpus (the Ray engine); else all of it, and keeps every n-th batch."""
    shards: int | None = None
    """Parts of the corpus; None is `SHARDS` a worker with `ranges`, else one."""
    analysed: int = 0
    """Layers that the stages after the collection look at."""
    screen: int | None = None
    """Neurons perturbed in a layer; None is all."""
    described: int = 0
    """Neurons described in a layer."""
    scored: int = 0
    """Described neurons scored in a layer."""
    llm_weights: float | int = 0.0
    """Weights of the LLM; 0 is none."""
    rows_from: str = ""
    """What the number of rows was estimated from; empty where the user gave it."""

    @property
    def layers(self) -> list[LayerShape]:
        """The blocks that run: up to the deepest that is read."""
        chosen = self.config.layers
        return list(self.shape.layers[: len(self.shape.layers) if chosen is None else max(chosen) + 1])

    @property
    def read(self) -> list[LayerShape]:
        """The blocks that are read."""
        chosen = self.config.layers
        return list(self.shape.layers) if chosen is None else [self.shape.layers[i] for i in chosen]

    @property
    def widths(self) -> list[int]:
        """Neurons that are collected of each block that is read, at one site."""
        return [one.d_mlp if self.config.neurons is None else len(self.config.neurons) for one in self.read]

    @property
    def neurons(self) -> int:
        """Neurons that are collected, at one site."""
        return sum(self.widths)

    @property
    def own_rows(self) -> int:
        """Rows of one worker."""
        return -(-self.rows // self.workers)

    @property
    def n_shards(self) -> int:
        """Shards of the corpus."""
        default = self.workers * SHARDS if self.ranges else self.workers
        return 1 if self.workers == 1 else min(self.shards or default, self.rows)

    @property
    def shard_rows(self) -> int:
        """Rows of one shard."""
        return -(-self.rows // self.n_shards)

    @property
    def own_shards(self) -> int:
        """Shards of one worker."""
        return -(-self.n_shards // self.workers)


@dataclass(frozen=True)
class Step:
    """One part of the work."""

    name: str
    """What is done."""
    seconds: float | int
    """Of one worker, all of which work at the same time."""
    formula: str
    """How it was computed."""


@dataclass(frozen=True)
class Amount:
    """Bytes of something."""

    name: str
    """What takes them."""
    bytes: float | int
    """How many."""
    formula: str
    """How it was computed."""
