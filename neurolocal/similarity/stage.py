"""The similarity stage: the examples of a layer -> its table, by either method.

Cost: all examples of a layer are in memory at once.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from neurolocal.config import SimilarityConfig
from neurolocal.literals import Side
from neurolocal.stage import Result, Stage, Work, with_indices

if TYPE_CHECKING:
    from neurolocal.pipeline.workspace import Workspace


def inputs(workspace: Workspace, config: SimilarityConfig, layer: int, side: Side) -> dict[str, Any]:
    """The word vectors; for the notebook's method also how its tokens are read, which was decoded JSON in 0.1.0."""
    if config.method == "notebook":
        return {"vectors": workspace.vectors_name, "reads": "undecoded tokens"}
    return {"vectors": workspace.centred_name}


@contextmanager
def work(workspace: Workspace, config: SimilarityConfig) -> Generator[Work, None, None]:
    """Score every neuron of a layer."""
    from neurolocal.similarity import coherent, dealt_similarity, frequency_matched_similarity, notebook_similarity

    def score_layer(layer: int, side: Side) -> Result:
        store = workspace.store
        examples = store.example_lists(layer, side)
        if config.method == "notebook":
            table = notebook_similarity(
                examples, store.vocabulary, workspace.loaded_vectors, config=config, progress=workspace.bar
            )
            return Result(with_indices(table, store.neurons(layer)))
        table = frequency_matched_similarity(
            examples, store.vocabulary, workspace.centred_vectors,
            word_counts=workspace.word_counts, rows=store.iter_rows, config=config, progress=workspace.bar,
        )  # fmt: skip
        dealt = dealt_similarity(
            examples, store.vocabulary, workspace.centred_vectors,
            word_counts=workspace.word_counts, config=config, progress=workspace.bar,
        )  # fmt: skip
        own = coherent(table.q, config.level)
        workspace.say(
            f"similarity: layer {layer}: {own.kept:,} of {own.neurons:,} neurons are coherent; with their examples "
            f"dealt to them at random {dealt.kept:,}"
        )
        facts = {**workspace.vector_facts, "coherent": own._asdict(), "dealt": dealt._asdict()}
        return Result(with_indices(table, store.neurons(layer)), facts)

    yield score_layer


STAGE = Stage("similarity", SimilarityConfig, revision=5, inputs=inputs, work=work)
