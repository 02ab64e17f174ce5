"""The perturbation stage: the examples of the screened neurons of a layer, and the subject -> its table.

Cost: the subject is loaded once for all layers and sides; see `layer_run`.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from neurolocal.config import PerturbationConfig
from neurolocal.errors import StoreError
from neurolocal.literals import Side
from neurolocal.stage import Result, Stage, Work

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
    from neurolocal.perturbation import InContextPerturbation, notebook_perturbation
    from neurolocal.perturbation.notebook_site import notebook_site
    from neurolocal.subject.packed import Packed

    in_context: InContextPerturbation | None = None

    def perturb_layer(layer: int, side: Side) -> Result:
        nonlocal in_context
        store = workspace.store
        lists = dict(zip(store.neurons(layer).tolist(), store.example_lists(layer, side), strict=True))
        neurons = {n: lists[n] for n in screened(workspace, layer, side, config)}
        if config.method == "notebook":
            with notebook_site(workspace.loaded_subject, layer, store.site) as site:
                subject = Packed(workspace.loaded_subject, site=site)
                return Result(
                    notebook_perturbation(neurons, subject, workspace.loaded_vectors, layer, progress=workspace.bar)
                )
        in_context = in_context or InContextPerturbation(
            Packed(workspace.loaded_subject, site=store.site), workspace.centred_vectors,
            rows=lambda i: workspace.store.row(i), row_index=store.row_index, word_counts=workspace.word_counts,
            config=config,
        )  # fmt: skip
        return Result(in_context.perturb(neurons, layer, side=side, progress=workspace.bar))

    yield perturb_layer


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
