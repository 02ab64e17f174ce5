"""The score stage: the described neurons of a layer -> what their descriptions are worth.

Invariant: texts come from the score half and from sampled rows that do not explain. An interrupted run resumes with
the next neuron: finished rows are in a journal beside the store until the table of the layer is written. Cost: one
forward pass of the subject over the random rows, then that of `Scorer.score` for each neuron.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from neurolocal.config import ScoreConfig
from neurolocal.errors import StoreError
from neurolocal.literals import Side
from neurolocal.records import SummaryTable
from neurolocal.stage import Result, Stage, Work

if TYPE_CHECKING:
    from neurolocal.llm import LLM
    from neurolocal.pipeline.journal import Journal
    from neurolocal.pipeline.workspace import Workspace
    from neurolocal.score.classifier import Classifier
    from neurolocal.score.kernel import TokenKernel
    from neurolocal.score.random_rows import RandomRows
    from neurolocal.score.scorer import DescribedNeuron, LayerTexts, Scorer


def inputs(workspace: Workspace, config: ScoreConfig, layer: int, side: Side) -> dict[str, Any]:
    """The LLM, the word vectors, and the tables of perturbation and summary."""
    earlier = {stage: workspace.hash_of(stage, layer, side) for stage in ("perturbation", "summary")}
    return {"llm": workspace.llm_name, "vectors": workspace.centred_name, **earlier}


@contextmanager
def work(workspace: Workspace, config: ScoreConfig) -> Generator[Work, None, None]:
    """Score the best described neurons of a layer.

    Raises:
        StoreError: the store has no random rows, or the subject is not the one that was collected.
        LLMError: the LLM cannot be loaded, or its context is too small.
    """
    from neurolocal.llm import load_llm
    from neurolocal.score.means import lines
    from neurolocal.score.rows import ScoreRow, TextRow, score_table

    llm: LLM | None = None
    journals: list[Journal] = []
    scorers = _Scorers(workspace, config)

    def score_layer(layer: int, side: Side) -> Result:
        nonlocal llm
        if llm is None and workspace.llm is not None:
            llm = load_llm(workspace.llm, n_ctx=config.n_ctx)
            workspace.say(f"score: {llm}")
        elif workspace.llm is None:
            workspace.say("score: no --llm given, so detection and fuzzing are left out")
        scorer, chosen = scorers.of(layer, side, llm)
        facts = {"config": dataclasses.asdict(config), **inputs(workspace, config, layer, side)}
        journal = workspace.journal("score", layer, side, {"collection": workspace.collection, **facts})
        journals.append(journal)
        for one in tqdm(chosen, desc="score", unit="neuron", disable=not workspace.bar):
            if one.neuron.neuron not in journal.rows:
                scores, texts = scorer.score(one, _other(one, chosen, config.seed))
                journal.add(one.neuron.neuron, {"measured": scores, "asked": texts})
        rows = [journal.rows[one.neuron.neuron] for one in chosen]
        table = score_table(
            [ScoreRow(*values) for row in rows for values in row["measured"]],
            [TextRow(*values) for row in rows for values in row["asked"]],
        )
        for line in lines(table):
            workspace.say(f"layer {layer} {side}: {line}")
        return Result(table, scorers.facts)

    try:
        yield score_layer
        for journal in journals:
            journal.remove()
    finally:
        if llm is not None:
            llm.close()


def places(workspace: Workspace) -> list[tuple[int, Side]]:
    """The layers and sides of the workspace that have descriptions.

    Raises:
        StoreError: none of them has.
    """
    described = [place for place in workspace.places() if workspace.store.evidence("summary", *place) is not None]
    if not described:
        raise StoreError(
            f"scoring the descriptions in {workspace.path}: it has none of these layers and sides. "
            "Run `neurolocal summary` first, or choose others."
        )
    return described


def wanted(workspace: Workspace, config: ScoreConfig) -> bool:
    """A whole run scores unless the limit is 0; the notebook has no scores."""
    return config.limit != 0 and workspace.method == "default"


class _Scorers:
    """The scorers of all layers; what they share is loaded once."""

    def __init__(self, workspace: Workspace, config: ScoreConfig) -> None:
        self.workspace, self.config = workspace, config
        self.facts: dict[str, Any] = {}
        """How the LLM is asked; empty until it is loaded."""
        self._rows: dict[int, RandomRows] = {}
        self._classifier: Classifier | None = None
        self._kernel: TokenKernel | None = None

    def of(self, layer: int, side: Side, llm: LLM | None) -> tuple[Scorer, list[DescribedNeuron]]:
        """The scorer of a layer, and the neurons to score, best first."""
        from neurolocal.score.classifier import Classifier
        from neurolocal.score.kernel import TokenKernel
        from neurolocal.score.scorer import DescribedNeuron, Scorer

        workspace, table = self.workspace, self.workspace.store.evidence("summary", layer, side)
        names = dict(zip(_chosen(table, self.config), table.description, strict=False))
        described = [DescribedNeuron(n, names[n.neuron]) for n in workspace.neurons(layer, side, list(names))]
        if llm is not None and self._classifier is None:
            self._classifier = Classifier(llm)
            self.facts = {"way": self._classifier.way, "heads": self._classifier.heads, "llm": str(llm)}
        if self._kernel is None:
            self._kernel = TokenKernel(workspace.store.vocabulary, workspace.centred_vectors)
        scorer = Scorer(
            self._layer_texts(layer, self._kernel), classifier=self._classifier, vectors=workspace.centred_vectors,
            kernel=self._kernel, config=self.config,
        )  # fmt: skip
        return scorer, described

    def _layer_texts(self, layer: int, kernel: TokenKernel) -> LayerTexts:
        """What the neurons of a layer are scored on."""
        from neurolocal.score import texts
        from neurolocal.score.kernel import joined
        from neurolocal.score.scorer import LayerTexts

        store = self.workspace.store
        random, sample = self._random(layer), store.sample
        at = np.flatnonzero(sample.explaining)
        parts = []
        for row in np.unique(sample.row[at]):
            here = at[sample.row[at] == row]
            parts.append(kernel.positions(store.row(int(row)), sample.position[here].tolist()))
        silent = None
        if parts:
            values = store.sampled(layer)[:, at]
            silent = joined(parts), {n: values[store.index_of(layer, n)] for n in random.activations}
        row_length = int(store.manifest["config"]["row_length"])
        n_texts = int(store.manifest["rows"]) * len(texts.starts(row_length))
        return LayerTexts(store.vocabulary, store.row, random, n_texts, silent)

    def _random(self, layer: int) -> RandomRows:
        """The random rows with the activations of a layer's described neurons; run once for all layers."""
        from neurolocal.score.random_rows import read_random_rows

        if layer not in self._rows:
            workspace, neurons = self.workspace, dict[int, set[int]]()
            for place in places(workspace):
                table = workspace.store.evidence("summary", *place)
                neurons.setdefault(place[0], set()).update(_chosen(table, self.config))
            self._rows = read_random_rows(
                workspace.store, lambda: workspace.loaded_subject, {n: sorted(some) for n, some in neurons.items()},
                config=self.config, bar=workspace.bar, say=workspace.say,
            )  # fmt: skip
        return self._rows[layer]


def _chosen(table: SummaryTable, config: ScoreConfig) -> list[int]:
    """The described neurons to score, best first."""
    return [int(n) for n in table.neuron[: config.limit]]


def _other(one: DescribedNeuron, among: Sequence[DescribedNeuron], seed: int) -> DescribedNeuron | None:
    """Another neuron with another description, at random; None where there is none."""
    others = [o for o in among if o.description != one.description]
    rng = np.random.default_rng([seed, one.neuron.neuron, 1])
    return others[int(rng.integers(len(others)))] if others else None


STAGE = Stage("score", ScoreConfig, revision=1, inputs=inputs, work=work, places=places, wanted=wanted, llm=True)
