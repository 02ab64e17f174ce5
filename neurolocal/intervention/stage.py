"""The intervention stage: the best neurons of a layer, and the subject -> what they do to the output.

A part is a block of `BLOCK` neurons. Invariant: places and controls depend on the seed and the layer alone.
Cost: the subject is loaded once for all layers and sides; the rows of the random places run once a layer, and a row
with own examples once a block; see `measure`.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import cache, lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Int64

from neurolocal.config import InterventionConfig, sha256
from neurolocal.errors import SubjectError
from neurolocal.literals import Side
from neurolocal.stage import Evidence, Parts, Result, Stage, Work

if TYPE_CHECKING:
    from neurolocal.intervention.places import Place, Target
    from neurolocal.pipeline.workspace import Workspace
    from neurolocal.subject.changed import ChangeableLayer, ChangedRow

BLOCK = 8
"""Neurons of a part: their changes at a place share a pass, and a kill costs one part."""


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
    from neurolocal.intervention.measured import joined
    from neurolocal.intervention.result import empty_table, table

    layers = cache(lambda: _Layers(workspace, config))

    def split(layer: int, side: Side) -> list[int]:
        return list(range(-(-len(tested_neurons(workspace, layer, side, config)) // BLOCK)))

    def join(layer: int, side: Side, found: list[Evidence]) -> Result:
        if reason := next((e["left_out"] for e in found if "left_out" in e), ""):
            workspace.say(f"intervention: layer {layer} is left out: {reason}")
        if reason or not found:
            return Result(empty_table())
        return Result(table(tested_neurons(workspace, layer, side, config), joined(found), config))

    yield Parts("block", split, lambda layer, side, number: layers().evidence(layer, side, number), join)


class _Layers:
    """The subject, and what the blocks of the layer in progress share."""

    def __init__(self, workspace: Workspace, config: InterventionConfig) -> None:
        """Load the subject.

        Raises:
            StoreError: as `Workspace.loaded_subject`.
            SubjectError: the direct logit effects cannot be computed.
        """
        from neurolocal.subject.logits import LogitLens, why_no_logit_effects

        self.workspace, self.config = workspace, config
        self.subject = workspace.subject_in(config.dtype)
        self.lens = None if why_no_logit_effects(self.subject) else LogitLens(self.subject, 1)
        self._layer = lru_cache(1)(self._of)

    def evidence(self, layer: int, side: Side, number: int) -> Evidence:
        """What a block of a layer's neurons does, or why the layer is left out."""
        from neurolocal.intervention.collected import Collected
        from neurolocal.intervention.measure import measure
        from neurolocal.intervention.measured import Block, evidence
        from neurolocal.subject.changed import why_no_changes

        subject, store = self.subject, self.workspace.store
        if reason := why_no_changes(subject, layer):
            return {"left_out": reason}
        shared, block = self._layer(layer, side), slice(number * BLOCK, (number + 1) * BLOCK)
        tested = shared.tested[block]
        direct = None if self.lens is None else partial(self.lens.whole, layer, site=store.site)
        has_text = [bool(t) for t in subject.vocabulary.tokens[: subject.d_vocab]]
        collected = Collected(tested, has_text, self.config, direct=direct)
        measured = measure(
            tested, shared.random, shared.controls[block], shared.changeable.row, store.row, self.config,
            d_vocab=subject.d_vocab, take=collected.take, ran=shared.ran,
        )  # fmt: skip
        return evidence(Block(measured, collected.agreement, collected.rows))

    def _of(self, layer: int, side: Side) -> _Shared:
        from neurolocal.subject.changed import ChangeableLayer

        workspace, config = self.workspace, self.config
        tested, rng = tested_neurons(workspace, layer, side, config), np.random.default_rng([config.seed, layer])
        random = random_places(workspace, config, rng)
        others = controls(tested, workspace.store.neurons(layer), config, rng)
        changeable = ChangeableLayer(self.subject, layer, site=workspace.store.site)
        return _Shared(tested, random, others, changeable, {})


class _Shared(NamedTuple):
    """What the blocks of a layer share."""

    tested: list[Target]
    random: list[Place]
    controls: Int64[np.ndarray, "tested control"]
    changeable: ChangeableLayer
    ran: dict[int, ChangedRow]
    """Rows of the random places that already ran."""


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
    "intervention", InterventionConfig, revision=2, inputs=inputs, work=work, places=changeable_places,
    wanted=lambda workspace, config: any(workspace.store.experts(layer) is None for layer, _ in workspace.places()),
)  # fmt: skip
"""`neurolocal intervention`."""
