"""The intervention stage: the best neurons of a layer, and the subject -> what they do to the output.

Cost: the subject is loaded once for all layers and sides; see `measure`.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int64

from neurolocal.config import InterventionConfig, sha256
from neurolocal.errors import SubjectError
from neurolocal.literals import Side
from neurolocal.stage import Result, Stage, Work

if TYPE_CHECKING:
    from neurolocal.intervention.places import Place, Target
    from neurolocal.pipeline.workspace import Workspace
    from neurolocal.subject import Subject
    from neurolocal.subject.logits import LogitLens


def inputs(workspace: Workspace, config: InterventionConfig, layer: int, side: Side) -> dict[str, Any]:
    """The subject, and the neurons to test."""
    return {
        "subject": workspace.store.manifest["subject"]["sha256"],
        "neurons": sha256(chosen(workspace, layer, side, config)),
    }


@contextmanager
def work(workspace: Workspace, config: InterventionConfig) -> Generator[Work, None, None]:
    """Change the activations of a layer's neurons.

    Raises:
        StoreError: as `Workspace.loaded_subject`.
        SubjectError: not even one change fits into memory, or the direct logit effects cannot be computed.
    """
    workspace.require_subject()
    from neurolocal.intervention.measure import measure
    from neurolocal.intervention.result import Collected, empty_table, table
    from neurolocal.subject.changed import ChangeableLayer, why_no_changes
    from neurolocal.subject.logits import LogitLens, why_no_logit_effects

    subject: Subject | None = None
    lens: LogitLens | None = None

    def change_layer(layer: int, side: Side) -> Result:
        nonlocal subject, lens
        store = workspace.store
        if subject is None:
            subject = workspace.subject_in(config.dtype)
            lens = None if why_no_logit_effects(subject) else LogitLens(subject, 1)
        if reason := why_no_changes(subject, layer):
            workspace.say(f"intervention: layer {layer} is left out: {reason}")
            return Result(empty_table())
        direct = None if lens is None else partial(lens.whole, layer, site=store.site)
        tested = tested_neurons(workspace, layer, side, config)
        changeable = ChangeableLayer(subject, layer, site=store.site)
        collected = Collected(
            tested, [bool(t) for t in subject.vocabulary.tokens[: subject.d_vocab]], config, direct=direct,
        )  # fmt: skip
        rng = np.random.default_rng([config.seed, layer])
        measured = measure(
            tested, random_places(workspace, config, rng), controls(tested, store.neurons(layer), config, rng),
            changeable.row, store.row, config, d_vocab=subject.d_vocab, take=collected.take, progress=workspace.bar,
        )  # fmt: skip
        return Result(table(tested, measured, collected, config))

    yield change_layer


def chosen(workspace: Workspace, layer: int, side: Side, config: InterventionConfig) -> list[int]:
    """The neurons to test, at most `config.limit`, without dead ones: best verdict first, else in neuron order."""
    ranked = workspace.store.evidence("verdict", layer, side)
    if ranked is None:
        return workspace.store.neurons(layer).tolist()[: config.limit]
    alive = [i for i in np.argsort(ranked.rank) if ranked.verdict[i] != "dead"]
    return [int(ranked.neuron[i]) for i in alive][: config.limit]


def tested_neurons(workspace: Workspace, layer: int, side: Side, config: InterventionConfig) -> list[Target]:
    """The chosen neurons that have an example, ascending, with their strongest examples."""
    from neurolocal.intervention.places import Place, Target

    store, mean = workspace.store, workspace.store.statistics(layer).mean
    index = {n: i for i, n in enumerate(store.neurons(layer).tolist())}
    tested: list[Target] = []
    for neuron in sorted(chosen(workspace, layer, side, config)):
        examples = store.examples(layer, neuron, side)
        if examples:
            own = [Place(e.row, e.position) for e in examples[: config.examples]]
            tested.append(Target(neuron, examples[0].activation, float(np.nan_to_num(mean[index[neuron]])), own))
    return tested


def random_places(workspace: Workspace, config: InterventionConfig, rng: np.random.Generator) -> list[Place]:
    """Random positions of the sample, at most one a row, each with a token after it."""
    from neurolocal.intervention.places import Place

    sample, length = workspace.store.sample, {int(i): 0 for i in np.unique(workspace.store.sample.row)}
    for row in length:
        length[row] = len(workspace.store.row(row))
    places: dict[int, Place] = {}
    for i in rng.permutation(len(sample.row)).tolist():
        row, position = int(sample.row[i]), int(sample.position[i])
        if len(places) < config.places and row not in places and position + 1 < length[row]:
            places[row] = Place(row, position)
    return [places[row] for row in sorted(places)]


def controls(
    tested: list[Target], neurons: Int64[np.ndarray, "neuron"], config: InterventionConfig, rng: np.random.Generator
) -> Int64[np.ndarray, "tested control"]:
    """Of each tested neuron, other neurons of the layer drawn at random."""
    n = min(config.controls, len(neurons) - 1)
    drawn = [rng.choice(neurons[neurons != t.neuron], n, replace=False) for t in tested]
    return np.array(drawn, np.int64).reshape(len(tested), n)


def changeable_places(workspace: Workspace) -> list[tuple[int, Side]]:
    """The layers and sides asked for, without layers that have experts.

    Raises:
        SubjectError: no layer is left.
    """
    asked = workspace.places()
    places: list[tuple[int, Side]] = [(layer, side) for layer, side in asked if workspace.store.experts(layer) is None]
    if asked and not places:
        raise SubjectError(
            "changing activations: every layer that was asked for has experts, whose activations exist only where the "
            "router sends a token. Leave out this stage."
        )
    return places


STAGE = Stage(
    "intervention", InterventionConfig, revision=1, inputs=inputs, work=work, places=changeable_places,
    wanted=lambda workspace, config: any(workspace.store.experts(layer) is None for layer, _ in workspace.places()),
)  # fmt: skip
"""`neurolocal intervention`."""
