"""The score stage: the described neurons of a layer -> what their descriptions are worth.

Invariant: texts come from the score half and from sampled rows that do not explain. Each neuron is a part of its own.
Cost: one forward pass of the subject over the random rows, then that of `Scorer.score` for each neuron.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from neurolocal.config import ScoreConfig
from neurolocal.errors import StoreError
from neurolocal.literals import Side
from neurolocal.records import SummaryTable
from neurolocal.stage import Evidence, Parts, Result, Stage, Work

if TYPE_CHECKING:
    from neurolocal.llm import LLM
    from neurolocal.pipeline.workspace import Workspace
    from neurolocal.score.alike import Likeness
    from neurolocal.score.classifier import Classifier
    from neurolocal.score.kernel import TokenKernel
    from neurolocal.score.output import OutputScorer
    from neurolocal.score.random_rows import RandomRows
    from neurolocal.score.scorer import DescribedNeuron, LayerTexts, Scorer
    from neurolocal.score.simulation import Simulator


def inputs(workspace: Workspace, config: ScoreConfig, layer: int, side: Side) -> dict[str, Any]:
    """The LLM, the word vectors, the tables of earlier stages, and whether there are direct logit effects."""
    earlier = {
        stage: workspace.hash_of(stage, layer, side)
        for stage in ("meanings", "perturbation", "intervention", "summary")
    }
    effects = workspace.store.logit_effects(layer) is not None
    return {"llm": workspace.llm_name, "vectors": workspace.centred_name, "effects": effects, **earlier}


@contextmanager
def work(workspace: Workspace, config: ScoreConfig) -> Generator[Work, None, None]:
    """Score the best described neurons of a layer; each is a part.

    Raises:
        StoreError: the store has no random rows, or the subject is not the one that was collected.
        LLMError: the LLM cannot be loaded, or its context is too small.
    """
    from neurolocal.score.means import lines
    from neurolocal.score.rows import PartRow, ScoreRow, TextRow, score_table

    scorers = _Scorers(workspace, config)

    def chosen(layer: int, side: Side) -> list[int]:
        return _chosen(workspace.store.evidence("summary", layer, side), config)

    def score_neuron(layer: int, side: Side, neuron: int) -> Evidence:
        scorer, described = scorers.of(layer, side)
        one = described[neuron]
        other = _other(one, list(described.values()), config.seed)
        scores, texts = scorer.score(one, other)
        scores += scorers.outputs(layer, side).rows(one, other)
        parts = scorer.score_parts(one, scorers.parts(layer, side).get(neuron, {}), other)
        return {"measured": scores, "asked": texts, "parts": parts, "facts": scorers.facts}

    def join(layer: int, side: Side, rows: list[Evidence]) -> Result:
        table = score_table(
            [ScoreRow(*values) for row in rows for values in row["measured"]],
            [TextRow(*values) for row in rows for values in row["asked"]],
            [PartRow(*values) for row in rows for values in row["parts"]],
        )
        for line in lines(table):
            workspace.say(f"layer {layer} {side}: {line}")
        return Result(table, rows[0]["facts"] if rows else {})

    try:
        yield Parts("neuron", split=chosen, part=score_neuron, join=join)
    finally:
        scorers.close()


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
        """How the LLM is asked; empty without one."""
        self.of = lru_cache(1)(self._of)
        self.parts = lru_cache(1)(self._parts)
        self.outputs = lru_cache(1)(self._outputs)
        self._llm: LLM | None = None
        self._rows: dict[int, RandomRows] = {}
        self._classifier: Classifier | None = None
        self._simulator: Simulator | None = None
        self._kernel: TokenKernel | None = None
        self._likeness: Likeness | None = None

    def close(self) -> None:
        """Free the LLM."""
        if self._llm is not None:
            self._llm.close()

    def _load(self) -> None:
        """Load the LLM, and what the vectors are used for."""
        from neurolocal.llm import load_llm
        from neurolocal.score import simulation
        from neurolocal.score.alike import Likeness
        from neurolocal.score.classifier import Classifier
        from neurolocal.score.kernel import TokenKernel
        from neurolocal.similarity.phrases import mean_vectors
        from neurolocal.words import folded

        workspace = self.workspace
        if workspace.llm is None:
            workspace.say("score: no --llm given, so detection and fuzzing are left out")
        else:
            self._llm = load_llm(workspace.llm, n_ctx=self.config.n_ctx, many_tokens=True)
            workspace.say(f"score: {self._llm}")
            more = [simulation.HEAD] if self._llm.chats and self.config.simulated else []
            self._classifier = Classifier(self._llm, more=more)
            heads = [*self._classifier.heads, *more]
            if more:
                self._simulator = simulation.Simulator(self._llm, head=len(heads) - 1)
            self.facts = {"way": self._classifier.way, "heads": heads, "llm": str(self._llm)}
        store, vectors = workspace.store, workspace.centred_vectors
        self._kernel = TokenKernel(store.vocabulary, vectors)
        self._likeness = Likeness(mean_vectors(vectors, folded(workspace.word_counts)), store.vocabulary)

    def _of(self, layer: int, side: Side) -> tuple[Scorer, dict[int, DescribedNeuron]]:
        """The scorer of a layer, and the neurons to score, best first."""
        from neurolocal.score.scorer import DescribedNeuron, Scorer

        workspace, table = self.workspace, self.workspace.store.evidence("summary", layer, side)
        names = dict(zip(_chosen(table, self.config), table.description, strict=False))
        described = {n.neuron: DescribedNeuron(n, names[n.neuron]) for n in workspace.neurons(layer, side, list(names))}
        if self._kernel is None:
            self._load()
        assert self._kernel is not None
        scorer = Scorer(
            self._layer_texts(layer, side, self._kernel), classifier=self._classifier,
            vectors=workspace.centred_vectors, kernel=self._kernel, config=self.config, simulator=self._simulator,
        )  # fmt: skip
        return scorer, described

    def _parts(self, layer: int, side: Side) -> dict[int, dict[int, DescribedNeuron]]:
        """Neuron with several meanings -> each of them, with its own description and examples."""
        from neurolocal.meanings.described import described_parts
        from neurolocal.meanings.table import ranks_by_part
        from neurolocal.score.scorer import DescribedNeuron

        store, (_, described) = self.workspace.store, self.of(layer, side)
        table, divided = store.evidence("summary", layer, side), store.evidence("meanings", layer, side)
        ranks = {} if divided is None else ranks_by_part(divided)
        found: dict[int, dict[int, DescribedNeuron]] = {}
        for neuron, text in zip(table.neuron.tolist(), table.parts, strict=True):
            if text and neuron in described and neuron in ranks:
                known = described[neuron].neuron
                for part, description in described_parts(text).items():
                    own = [e for e in known.examples if ranks[neuron].get(e.rank) == part]
                    found.setdefault(neuron, {})[part] = DescribedNeuron(replace(known, examples=own), description)
        return found

    def _outputs(self, layer: int, side: Side) -> OutputScorer:
        """What the neurons of a layer promote; after `of`, which loads the LLM."""
        from neurolocal.score.output import ByVectors, Outputs, OutputScorer, by_llm
        from neurolocal.score.promoted import direct, measured

        store, seed = self.workspace.store, self.config.seed
        return OutputScorer(
            Outputs(measured(store, layer, side), seed=seed), Outputs(direct(store, layer, side), seed=seed),
            vectors=ByVectors(self.workspace.centred_vectors),
            llm=by_llm(self._classifier) if self._classifier is not None and self._llm and self._llm.chats else None,
        )  # fmt: skip

    def _layer_texts(self, layer: int, side: Side, kernel: TokenKernel) -> LayerTexts:
        """What the neurons of a layer are scored on."""
        from neurolocal.score import texts
        from neurolocal.score.kernel import joined
        from neurolocal.score.scorer import LayerTexts
        from neurolocal.store.band_rows import bands_of

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
        explaining = frozenset(np.unique(sample.row[at]).tolist())
        return LayerTexts(
            store.vocabulary, store.row, random, n_texts, silent, bands_of(store, layer, side), explaining,
            self._likeness,
        )  # fmt: skip

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


STAGE = Stage("score", ScoreConfig, revision=4, inputs=inputs, work=work, places=places, wanted=wanted, llm=True)
