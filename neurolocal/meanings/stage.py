"""The meanings stage: the examples of a layer -> the parts that they fall into.

Cost: all examples of a layer are in memory at once; the random words are drawn once for all layers; see `layer`.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from neurolocal.config import MeaningsConfig
from neurolocal.literals import Side
from neurolocal.stage import Result, Stage, Work

if TYPE_CHECKING:
    from neurolocal.pipeline.workspace import Workspace


def inputs(workspace: Workspace, config: MeaningsConfig, layer: int, side: Side) -> dict[str, Any]:
    """The word vectors."""
    return {"vectors": workspace.centred_name}


@contextmanager
def work(workspace: Workspace, config: MeaningsConfig) -> Generator[Work, None, None]:
    """Divide the examples of every neuron of a layer."""
    from neurolocal.meanings.layer import Corpus, corpus_of, meanings_table

    @cache
    def corpus() -> Corpus:
        most = max(workspace.store.k(layer) for layer in workspace.store.layers)
        return corpus_of(workspace.centred_vectors, workspace.word_counts, most=most, config=config)

    def divide_layer(layer: int, side: Side) -> Result:
        store = workspace.store
        table = meanings_table(
            store.example_lists(layer, side), store.vocabulary, corpus(),
            neurons=store.neurons(layer), config=config, progress=workspace.bar,
        )  # fmt: skip
        workspace.say(
            f"meanings: layer {layer}: {(table.n_parts > 0).sum():,} of {np.isfinite(table.p).sum():,} neurons with a "
            "group of words have several meanings"
        )
        return Result(table)

    yield divide_layer


STAGE = Stage(
    "meanings", MeaningsConfig, revision=1, inputs=inputs, work=work,
    wanted=lambda workspace, config: workspace.method == "default",
)  # fmt: skip
