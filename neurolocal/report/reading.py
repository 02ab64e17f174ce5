"""What the report asks of a store: the reading side of `neurolocal.store.Store`, as a type.

The report needs no more than this, so any reader that answers these questions can be reported on.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int64

from neurolocal.records import CaseStatistics, Example, LogitEffects, Side, Statistics
from neurolocal.words import Vocabulary


@runtime_checkable
class StoreReader(Protocol):
    """A store, open for reading."""

    @property
    def manifest(self) -> dict[str, Any]:
        """Subject, tokenizer, corpus, config, rows, tokens, complete."""
        ...

    @property
    def layers(self) -> list[int]:
        """The layers that were collected."""
        ...

    @property
    def vocabulary(self) -> Vocabulary:
        """The text of every token id."""
        ...

    def neurons(self, layer: int) -> Int64[np.ndarray, "neuron"]:
        """The neurons of a layer that were collected, ascending."""
        ...

    def examples(self, layer: int, neuron: int, side: Side = "largest") -> list[Example]:
        """A neuron's examples of one side, strongest first."""
        ...

    def example_lists(self, layer: int, side: Side = "largest") -> list[list[Example]]:
        """The examples of every collected neuron of a layer, in their order: one read instead of one a neuron."""
        ...

    def statistics(self, layer: int) -> Statistics:
        """What all counted positions say of a layer's neurons."""
        ...

    def cases(self, layer: int) -> CaseStatistics | None:
        """How often each neuron is in each sign case; None where they were not collected."""
        ...

    def logit_effects(self, layer: int) -> LogitEffects | None:
        """The tokens that each neuron promotes and suppresses; None where they were not computed."""
        ...

    @property
    def subset_names(self) -> tuple[str, ...]:
        """The corpus's subsets that stored rows come from; the empty name is "in none"."""
        ...

    def subsets(self, layer: int, side: Side = "largest") -> Float32[np.ndarray, "neuron subset"]:
        """The share of each neuron's examples from each of `subset_names`; NaN without examples."""
        ...

    def evidence(self, stage: Any, layer: int, side: Side = "largest") -> Any:
        """A stage's table for a layer; None where the stage has not run."""
        ...

    def inputs(self, stage: Any, layer: int, side: Side = "largest") -> dict[str, Any] | None:
        """What that table was made from: resolved config and hashes."""
        ...
