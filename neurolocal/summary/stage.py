"""The summary stage: the neurons of a layer with the best evidence -> one description each.

Each neuron is a part of its own. Cost: that of `Describer.describe` for each.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from neurolocal.config import SummaryConfig, sha256
from neurolocal.literals import Side
from neurolocal.records import Neuron
from neurolocal.stage import Evidence, Parts, Result, Stage, Work

if TYPE_CHECKING:
    from neurolocal.llm import LLM
    from neurolocal.pipeline.workspace import Workspace


def inputs(workspace: Workspace, config: SummaryConfig, layer: int, side: Side) -> dict[str, Any]:
    """The LLM, the word vectors, the tables of perturbation and meanings, and the neurons to describe."""
    return {
        "llm": workspace.llm_name,
        "vectors": workspace.vectors_name,
        "perturbation": workspace.hash_of("perturbation", layer, side),
        "meanings": workspace.hash_of("meanings", layer, side),
        "neurons": sha256(best(workspace, layer, side, config)),
    }


@contextmanager
def work(workspace: Workspace, config: SummaryConfig) -> Generator[Work, None, None]:
    """Describe the best neurons of a layer; each is a part.

    Raises:
        LLMError: the LLM cannot be loaded.
    """
    from neurolocal.llm import load_llm
    from neurolocal.meanings.table import ranks_by_part
    from neurolocal.summary import Describer, Description, table

    held = ExitStack()

    @cache
    def describer() -> Describer:
        llm: LLM | None = None
        if workspace.llm is None:
            workspace.say("summary: no --llm given, so descriptions come from token counts alone")
        else:
            llm = held.enter_context(load_llm(workspace.llm, n_ctx=config.n_ctx))
            workspace.say(f"summary: {llm}")
        return Describer(llm, vocabulary=workspace.store.vocabulary, config=config, vectors=workspace.loaded_vectors)

    @lru_cache(1)
    def neurons(layer: int, side: Side) -> dict[int, Neuron]:
        notes = workspace.llm is not None and config.method == "default"
        chosen = best(workspace, layer, side, config)
        return {known.neuron: known for known in neurons_of(workspace, layer, side, chosen, notes=notes)}

    @lru_cache(1)
    def parts(layer: int, side: Side) -> dict[int, dict[int, int]]:
        """Neuron with several meanings -> rank of an example -> its meaning."""
        table = workspace.store.evidence("meanings", layer, side) if config.method == "default" else None
        return {} if table is None else ranks_by_part(table)

    def describe_neuron(layer: int, side: Side, neuron: int) -> Evidence:
        known, part = neurons(layer, side)[neuron], parts(layer, side).get(neuron)
        found = describer().describe_parts(known, part) if part else describer().describe(known)
        return found._asdict()

    with held:
        yield Parts(
            "neuron",
            split=lambda layer, side: best(workspace, layer, side, config),
            part=describe_neuron,
            join=lambda layer, side, rows: Result(table([Description(**row) for row in rows])),
        )


def neurons_of(
    workspace: Workspace, layer: int, side: Side, chosen: Sequence[int], *, notes: bool = False
) -> list[Neuron]:
    """Neurons with their evidence; with `notes` also the facts that only an LLM that answers in its own words reads."""
    from neurolocal.summary.notes import Notes

    neurons = workspace.neurons(layer, side, chosen)
    if not notes:
        return neurons
    more = Notes(workspace.store, layer)
    return [more.add_to(neuron, side) for neuron in neurons]


def best(workspace: Workspace, layer: int, side: Side, config: SummaryConfig) -> list[int]:
    """The neurons to describe, at most `config.limit`, without dead ones.

    Best verdict first; without verdicts, most coherent first; without either, in neuron order.
    """
    store = workspace.store
    ranked, coherent = (store.evidence(stage, layer, side) for stage in ("verdict", "similarity"))
    if ranked is not None:
        alive = [i for i in np.argsort(ranked.rank) if ranked.verdict[i] != "dead" and ranked.score[i] > 0]
        order = [int(ranked.neuron[i]) for i in alive]
    elif coherent is not None:
        order = [int(n) for n in coherent.neuron[np.lexsort((-coherent.score, coherent.p))]]
    else:
        order = store.neurons(layer).tolist()
    return order[: config.limit]


STAGE = Stage("summary", SummaryConfig, revision=5, inputs=inputs, work=work, llm=True)
