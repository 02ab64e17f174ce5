"""The perturbation stage: the examples of the screened neurons of a layer, and the subject -> its table.

A part is a batch of rows (see `layer_run`); of the notebook's method, a block of neurons.
Cost: the subject is loaded once for all layers and sides; see `layer_run`.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from neurolocal.config import PerturbationConfig
from neurolocal.errors import StoreError
from neurolocal.literals import Side
from neurolocal.records import Example
from neurolocal.stage import Evidence, Parts, Result, Stage, Work

if TYPE_CHECKING:
    from neurolocal.pipeline.workspace import Workspace


def inputs(workspace: Workspace, config: PerturbationConfig, layer: int, side: Side) -> dict[str, Any]:
    """The subject, the word vectors, and similarity's table if the neurons are chosen by it."""
    screened = config.screen is not None or config.method == "notebook"
    return {
        "vectors": workspace.vectors_name if config.method == "notebook" else workspace.centred_name,
        "subject": workspace.store.manifest["subject"]["sha256"],
        **({"similarity": workspace.hash_of("similarity", layer, side)} if screened else {}),
        **({"reads": "folded post of SoLU, undecoded tokens"} if config.method == "notebook" else {}),
    }


@contextmanager
def work(workspace: Workspace, config: PerturbationConfig) -> Generator[Work, None, None]:
    """Replace the peak words of a layer's neurons.

    Raises:
        StoreError: neurons are to be chosen by similarity, which has not run; or the subject is another one.
    """
    workspace.require_subject()
    yield _notebook(workspace, config) if config.method == "notebook" else _in_context(workspace, config)


def _in_context(workspace: Workspace, config: PerturbationConfig) -> Parts:
    from neurolocal.perturbation import InContextPerturbation, perturbation_table
    from neurolocal.perturbation.layer_run import LayerRun, parts
    from neurolocal.subject.packed import Packed

    @cache
    def perturbation() -> InContextPerturbation:
        return InContextPerturbation(
            Packed(workspace.loaded_subject, site=workspace.store.site), workspace.centred_vectors,
            rows=lambda i: workspace.store.row(i), row_index=workspace.store.row_index,
            word_counts=workspace.word_counts, config=config,
        )  # fmt: skip

    def split(layer: int, side: Side) -> list[int]:
        store = workspace.store
        at = np.searchsorted(store.neurons(layer), screened(workspace, layer, side, config))
        rows = store.example_rows(layer, side)[at, : config.examples]
        return parts(len(np.unique(rows[rows >= 0])), contexts=config.contexts > 0)

    @lru_cache(1)
    def run(layer: int, side: Side) -> LayerRun:
        return perturbation().layer_run(examples(workspace, layer, side, config), layer, side=side)

    def part(layer: int, side: Side, number: int) -> Evidence:
        return perturbation().evidence(run(layer, side), number)

    def join(layer: int, side: Side, evidence: list[Evidence]) -> Result:
        half = workspace.store.manifest["config"]["dtype"] != "float32"
        neurons = examples(workspace, layer, side, config)
        return Result(perturbation_table(neurons, evidence, layer=layer, config=config, half_precision=half))

    return Parts("batch", split, part, join)


def _notebook(workspace: Workspace, config: PerturbationConfig) -> Parts:
    from neurolocal.perturbation.notebook import BLOCK, notebook_evidence, notebook_table
    from neurolocal.perturbation.notebook_site import notebook_site
    from neurolocal.subject.packed import Packed

    @lru_cache(1)
    def neurons(layer: int, side: Side) -> list[tuple[int, list[Example]]]:
        return list(examples(workspace, layer, side, config).items())

    def part(layer: int, side: Side, number: int) -> Evidence:
        some = dict(neurons(layer, side)[number * BLOCK : (number + 1) * BLOCK])
        with notebook_site(workspace.loaded_subject, layer, workspace.store.site) as site:
            return notebook_evidence(some, Packed(workspace.loaded_subject, site=site), workspace.loaded_vectors, layer)

    return Parts(
        "block",
        split=lambda layer, side: list(range(-(-len(screened(workspace, layer, side, config)) // BLOCK))),
        part=part,
        join=lambda layer, side, evidence: Result(notebook_table(evidence)),
    )


def examples(workspace: Workspace, layer: int, side: Side, config: PerturbationConfig) -> dict[int, list[Example]]:
    """The neurons to test, ascending, with their examples."""
    store = workspace.store
    lists = dict(zip(store.neurons(layer).tolist(), store.example_lists(layer, side), strict=True))
    return {n: lists[n] for n in screened(workspace, layer, side, config)}


def screened(workspace: Workspace, layer: int, side: Side, config: PerturbationConfig) -> list[int]:
    """The neurons to test, ascending: all, the most coherent ones, or those that the notebook's similarity kept.

    Raises:
        StoreError: the choice needs similarity's table, which the store lacks.
    """
    if config.screen is None and config.method == "default":
        return workspace.store.neurons(layer).tolist()
    coherent = workspace.store.evidence("similarity", layer, side)
    if coherent is None:
        raise StoreError(
            f"perturbation of layer {layer}: the neurons are chosen by similarity, and {workspace.path} has no "
            "similarity of this layer. Run `neurolocal similarity` first, or test all neurons without --screen."
        )
    if config.method == "notebook":
        return [int(i) for i in coherent.neuron[coherent.kept]]
    known = np.flatnonzero(~np.isnan(coherent.p))
    best = known[np.lexsort((-coherent.z[known], coherent.p[known]))][: config.screen]
    return sorted(int(i) for i in coherent.neuron[best])


STAGE = Stage("perturbation", PerturbationConfig, revision=2, inputs=inputs, work=work, slow=True)
