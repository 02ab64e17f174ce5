"""The verdict stage: the evidence that the store holds of a layer -> its verdicts and ranks.

Cost: one `word_at` an example, and the rules once a neuron.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64, Int64

from neurolocal.config import VerdictConfig
from neurolocal.literals import Side
from neurolocal.meanings.table import MeaningsTable
from neurolocal.records import PerturbationTable, SimilarityTable, Statistics
from neurolocal.stage import Result, Stage, Work, with_indices, with_positions
from neurolocal.verdict.around import kept_around
from neurolocal.verdict.evidence import gather
from neurolocal.verdict.sensitivity import Effect, effects
from neurolocal.verdict.table import verdict_table
from neurolocal.words.peaks import peak_words

if TYPE_CHECKING:
    from neurolocal.pipeline.workspace import Workspace

RESTS_ON = ("similarity", "perturbation")
"""The stages whose evidence decides; meanings adds to it."""


def inputs(workspace: Workspace, config: VerdictConfig, layer: int, side: Side) -> dict[str, Any]:
    """The tables of similarity, meanings and perturbation, and the method of the ranking."""
    earlier = {stage: workspace.hash_of(stage, layer, side) for stage in RESTS_ON}
    return {"method": workspace.method, "meanings": workspace.hash_of("meanings", layer, side), **earlier}


@contextmanager
def work(workspace: Workspace, config: VerdictConfig) -> Generator[Work, None, None]:
    """Decide every neuron of a layer."""

    said = False

    def say_what_is_absent(layer: int, side: Side) -> None:
        nonlocal said
        absent = [name for name in RESTS_ON if workspace.store.evidence(name, layer, side) is None]
        if absent and not said:
            workspace.say(
                f"verdict: layer {layer} has no {' and no '.join(absent)} yet; verdicts rest on what is there, and are "
                "decided anew after it"
            )
        said = said or bool(absent)

    def decide_layer(layer: int, side: Side) -> Result:
        say_what_is_absent(layer, side)
        table = verdict_table(
            *_evidence(workspace, layer, side), peaks=_peaks(workspace, layer, side), config=config,
            method=workspace.method, routed=_routed(workspace, layer), around=_around(workspace, layer, side),
            meanings=_meanings(workspace, layer, side),
        )  # fmt: skip
        return Result(with_indices(table, workspace.store.neurons(layer)))

    yield decide_layer


def threshold_effects(workspace: Workspace, config: VerdictConfig) -> dict[tuple[int, Side], list[Effect]]:
    """By layer and side, the verdicts of the default method at other values of each threshold."""
    return {
        (layer, side): effects(
            gather(
                *_evidence(workspace, layer, side),
                _peaks(workspace, layer, side),
                _routed(workspace, layer),
                _around(workspace, layer, side),
                _meanings(workspace, layer, side),
            ),
            config,
        )
        for layer, side in workspace.places()
    }


def _evidence(
    workspace: Workspace, layer: int, side: Side
) -> tuple[Statistics, SimilarityTable | None, PerturbationTable | None]:
    """The tables of a layer, its collected neurons numbered from 0."""
    store = workspace.store
    neurons = store.neurons(layer)
    return (
        store.statistics(layer),
        with_positions(store.evidence("similarity", layer, side), neurons),
        with_positions(store.evidence("perturbation", layer, side), neurons),
    )


def _peaks(workspace: Workspace, layer: int, side: Side) -> list[Counter[str]]:
    store = workspace.store
    return [Counter(peak_words(one, store.vocabulary)) for one in store.example_lists(layer, side)]


def _around(workspace: Workspace, layer: int, side: Side) -> Float64[np.ndarray, "neuron"]:
    store = workspace.store
    return kept_around(store.top(layer, side), before=store.before)


def _meanings(workspace: Workspace, layer: int, side: Side) -> MeaningsTable | None:
    """The parts of the layer's neurons, numbered as `_evidence`."""
    table, neurons = workspace.store.evidence("meanings", layer, side), workspace.store.neurons(layer)
    if table is None:
        return None
    parts = dataclasses.replace(table.parts, neuron=np.searchsorted(neurons, table.parts.neuron))
    return dataclasses.replace(with_positions(table, neurons), parts=parts)


def _routed(workspace: Workspace, layer: int) -> Int64[np.ndarray, "neuron"] | None:
    """Positions routed to each neuron's expert; None for a layer without experts."""
    experts = workspace.store.experts(layer)
    return None if experts is None else experts.routed(workspace.store.neurons(layer))


STAGE = Stage("verdict", VerdictConfig, revision=8, inputs=inputs, work=work)
