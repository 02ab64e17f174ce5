"""The evidence stages on a store: similarity, perturbation, verdict, summary.

Invariant: a layer's table is kept with what it was made from (config, and the hashes of collection, vectors, subject,
LLM and earlier tables); unchanged, it is used again; changed, it is made again and the reason is said. Heavy things
(vectors, subject, LLM) are loaded once, and only when a layer needs them.
Cost: what the rooms say, and one copy of the store every `FLUSH` seconds.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from jaxtyping import Int64

from neurolocal.bench import Bench
from neurolocal.config import (
    Method,
    PerturbationConfig,
    SimilarityConfig,
    SummaryConfig,
    VerdictConfig,
    canonical,
    differences,
    sha256,
)
from neurolocal.errors import StoreError
from neurolocal.records import Example, PerturbationTable, Side, SimilarityTable, Statistics, VerdictTable

if TYPE_CHECKING:
    from neurolocal.summary import LLM
    from neurolocal.thresholds import Effect

FLUSH = 30.0
"""Seconds of finished layers that a kill may cost; writing copies the store."""

FACTS = "facts"
"""The entry of a table's inputs that tells about them and does not decide whether it is made again."""


Table = TypeVar("Table", SimilarityTable, PerturbationTable, VerdictTable)

REVISION = {"similarity": 3, "perturbation": 2, "verdict": 3, "summary": 2, "score": 1}
"""Of each stage's way of doing it: one more makes every table of it anew."""

Work = Callable[[int, Side], Any]
"""Layer, side -> table."""


def similarity(bench: Bench, config: SimilarityConfig) -> None:
    """Do the top tokens belong together?"""

    def work(layer: int, side: Side) -> SimilarityTable:
        from neurolocal.similarity import notebook_similarity
        from neurolocal.similarity import similarity as default

        examples = bench.open.example_lists(layer, side)
        vocabulary = bench.open.vocabulary
        if config.method == "notebook":
            table = notebook_similarity(examples, vocabulary, bench.loaded_vectors, config=config, progress=bench.bar)
        else:
            table = default(
                examples, vocabulary, bench.centred_vectors,
                word_counts=bench.word_counts, rows=bench.open.iter_rows, config=config, progress=bench.bar,
            )  # fmt: skip
        return _named(table, bench.open.neurons(layer))

    def inputs(layer: int, side: Side) -> dict[str, Any]:
        return made_from(bench, config, vectors=_name_of_vectors(bench, config.method))

    facts = None if config.method == "notebook" else lambda: bench.vector_facts
    each_layer(bench, "similarity", inputs, work, facts=facts)


def perturbation(bench: Bench, config: PerturbationConfig) -> None:
    """Does the activation follow the concept when the word is replaced?

    Raises:
        StoreError: a screen by similarity where similarity has not been, or another subject.
    """
    from neurolocal.perturbation import Tester, notebook_perturb
    from neurolocal.subject.packed import Packed

    tester: Tester | None = None

    def inputs(layer: int, side: Side) -> dict[str, Any]:
        screened = config.screen is not None or config.method == "notebook"
        return made_from(
            bench,
            config,
            vectors=_name_of_vectors(bench, config.method),
            subject=bench.open.manifest["subject"]["sha256"],
            **({"similarity": hash_of(bench, "similarity", layer, side)} if screened else {}),
        )

    def work(layer: int, side: Side) -> PerturbationTable:
        nonlocal tester
        lists = dict(zip(bench.open.neurons(layer).tolist(), bench.open.example_lists(layer, side), strict=True))
        neurons: Mapping[int, list[Example]] = {n: lists[n] for n in _screened(bench, layer, side, config, list(lists))}
        if config.method == "notebook":
            subject = Packed(bench.loaded_subject, site=bench.open.site)
            return notebook_perturb(neurons, subject, bench.loaded_vectors, layer, progress=bench.bar)
        tester = tester or Tester(
            Packed(bench.loaded_subject, site=bench.open.site), bench.centred_vectors, rows=lambda i: bench.open.row(i),
            row_index=bench.open.row_index, word_counts=bench.word_counts, config=config,
        )  # fmt: skip
        return tester.perturb(neurons, layer, side=side, progress=bench.bar)

    each_layer(bench, "perturbation", inputs, work)


def verdict(bench: Bench, config: VerdictConfig, *, method: Method = "default") -> None:
    """Evidence -> verdict and rank, from whatever evidence the store holds."""
    from neurolocal.verdict import verdict as decide

    def inputs(layer: int, side: Side) -> dict[str, Any]:
        earlier = {stage: hash_of(bench, stage, layer, side) for stage in ("similarity", "perturbation")}
        return made_from(bench, config, method=method, **earlier)

    def work(layer: int, side: Side) -> Any:
        table = decide(*_known(bench, layer, side), peaks=_peaks(bench, layer, side), config=config, method=method)
        return _named(table, bench.open.neurons(layer))

    each_layer(bench, "verdict", inputs, work)


def explain(bench: Bench, config: VerdictConfig) -> dict[tuple[int, Side], list[Effect]]:
    """By layer and side, what each threshold does to the verdicts of the default method."""
    from neurolocal.thresholds import explain as effects
    from neurolocal.verdict import gather

    return {
        (layer, side): effects(gather(*_known(bench, layer, side), _peaks(bench, layer, side)), config)
        for layer, side in asked_for(bench)
    }


def _known(bench: Bench, layer: int, side: Side) -> tuple[Statistics, SimilarityTable | None, PerturbationTable | None]:
    """The evidence of a layer's neurons, numbered as they were collected."""
    neurons = bench.open.neurons(layer)
    return (
        bench.open.statistics(layer),
        _numbered(bench.open.evidence("similarity", layer, side), neurons),
        _numbered(bench.open.evidence("perturbation", layer, side), neurons),
    )


def _peaks(bench: Bench, layer: int, side: Side) -> list[Counter[str]]:
    from neurolocal.verdict import peak_words

    vocabulary = bench.open.vocabulary
    return [peak_words(one, vocabulary) for one in bench.open.example_lists(layer, side)]


def summary(bench: Bench, config: SummaryConfig) -> None:
    """What would a person call it? The neurons with the best evidence, at most `config.limit` a layer.

    A stop goes on with the next neuron: what was described lies in a journal beside the store until the layer is done.
    """
    from neurolocal.summary import Description, describe, table
    from neurolocal.summary.journal import Journal

    llm: LLM | None = None

    def inputs(layer: int, side: Side) -> dict[str, Any]:
        return made_from(
            bench,
            config,
            llm=bench.llm_name,
            vectors=bench.vectors_name,
            perturbation=hash_of(bench, "perturbation", layer, side),
            neurons=sha256(best(bench, layer, side, config)),
        )

    def work(layer: int, side: Side) -> Any:
        nonlocal llm
        if bench.llm is not None and llm is None:
            from neurolocal.summary import load_llm

            llm = load_llm(bench.llm, config=config)
            bench.say(f"summary: {llm}")
        elif bench.llm is None:
            bench.say("summary: no --llm given, so descriptions come from token counts alone")
        order = best(bench, layer, side, config)
        journal = Journal(journal_path(bench, "summary", layer, side), inputs(layer, side))
        left = [n for n in order if n not in journal.rows]
        describe(
            evidence_of(bench, layer, side, left, notes=llm is not None and config.method == "default"),
            llm,
            vocabulary=bench.open.vocabulary,
            config=config,
            vectors=bench.loaded_vectors,
            progress=bench.bar,
            done=lambda row: journal.add(row.neuron, row._asdict()),
        )
        journals.append(journal.path)
        return table([Description(**journal.rows[n]) for n in order])

    journals: list[Path] = []
    try:
        each_layer(bench, "summary", inputs, work)
        for path in journals:
            path.unlink(missing_ok=True)
    finally:
        if llm is not None:
            llm.close()


def journal_path(bench: Bench, stage: str, layer: int, side: Side) -> Path:
    """Where a stage that takes long keeps what it has done of a layer."""
    return bench.store.with_name(f"{bench.store.name}.{stage}-{layer}{'' if side == 'largest' else '-' + side}.jsonl")


def evidence_of(bench: Bench, layer: int, side: Side, chosen: list[int], *, notes: bool = False) -> list[Any]:
    """What summary and score know of each neuron; with notes also what only an LLM that speaks can read."""
    from neurolocal.perturbation import notebook_tokens
    from neurolocal.summary import Neuron

    tested: PerturbationTable | None = bench.open.evidence("perturbation", layer, side)
    made = bench.open.inputs("perturbation", layer, side) or {}
    notebook = tested is not None and made.get("config", {}).get("method") == "notebook"
    tokens = notebook_tokens(tested) if tested is not None and notebook else {}
    substitutes = None if tested is None or notebook else tested.substitutes
    found = [Neuron(n, bench.open.examples(layer, n, side), substitutes, tokens.get(n, ())) for n in chosen]
    if not notes:
        return found
    more = _Notes(bench, layer)
    return [
        dataclasses.replace(
            known,
            near_misses=more.near_misses(known.neuron, known.examples),
            promoted=more.promoted(known.neuron, side),
            subsets=more.subsets(known.examples),
        )
        for known in found
    ]


class _Notes:
    """What else the explain half knows of a layer's neurons, for an LLM that can read."""

    def __init__(self, bench: Bench, layer: int) -> None:
        from neurolocal.summary.texts import explaining

        opened = bench.open
        self.opened, self.layer = opened, layer
        self.effects = opened.logit_effects(layer)
        self.at = np.flatnonzero(explaining(opened.sample))
        self.values = opened.sampled(layer)[:, self.at]
        places = zip(opened.sample.row[self.at].tolist(), opened.sample.position[self.at].tolist(), strict=True)
        self.random = [(opened.row(row), at, row) for row, at in places]
        self.token = np.array([int(row[at]) for row, at, _ in self.random], dtype=np.int64)

    def near_misses(self, neuron: int, examples: Sequence[Example]) -> list[str]:
        from neurolocal.summary.texts import near_misses

        values = self.values[self.opened.index_of(self.layer, neuron)]
        return near_misses(examples, self.opened.vocabulary, random=self.random, token=self.token, values=values)

    def promoted(self, neuron: int, side: Side) -> list[str]:
        if self.effects is None:
            return []
        of = self.effects.suppressed if side == "smallest" else self.effects.promoted
        return self.opened.vocabulary.str_tokens(of[self.opened.index_of(self.layer, neuron)])

    def subsets(self, examples: Sequence[Example]) -> list[tuple[str, int]]:
        """Of the explaining examples."""
        parts = self.opened.parts
        if not any(parts.subsets):
            return []
        explain = [e for e in examples if e.rank % 2 == 0]
        rows = np.searchsorted(self.opened.row_index, [e.row for e in explain])
        at = parts.at(rows, np.array([e.position for e in explain], dtype=np.int64))
        return Counter(parts.subsets[i] or "no subset" for i in parts.subset[at]).most_common()


def best(bench: Bench, layer: int, side: Side, config: SummaryConfig) -> list[int]:
    """The neurons to describe: best verdict first, else most coherent first, else by number; never dead ones."""
    ranked = bench.open.evidence("verdict", layer, side)
    coherent: SimilarityTable | None = bench.open.evidence("similarity", layer, side)
    if ranked is not None:
        alive = [i for i in np.argsort(ranked.rank) if ranked.verdict[i] != "dead" and ranked.score[i] > 0]
        order = [int(ranked.neuron[i]) for i in alive]
    elif coherent is not None:
        order = [int(n) for n in coherent.neuron[np.lexsort((-coherent.score, coherent.p))]]
    else:
        order = bench.open.neurons(layer).tolist()
    return order[: config.limit]


def _screened(bench: Bench, layer: int, side: Side, config: PerturbationConfig, neurons: list[int]) -> list[int]:
    if config.screen is None and config.method == "default":
        return neurons
    coherent: SimilarityTable | None = bench.open.evidence("similarity", layer, side)
    if coherent is None:
        raise StoreError(
            f"perturbation of layer {layer}: the choice of neurons rests on similarity, which {bench.store} does not "
            "hold for it. Run `neurolocal similarity` first, or test all neurons without --screen."
        )
    if config.method == "notebook":
        return [int(i) for i in coherent.neuron[coherent.kept]]
    known = np.flatnonzero(~np.isnan(coherent.p))
    best = known[np.lexsort((-coherent.z[known], coherent.p[known]))][: config.screen]
    return sorted(int(i) for i in coherent.neuron[best])


def _named(table: Table, neurons: Int64[np.ndarray, "neuron"]) -> Table:
    """A table that numbers the collected neurons of a layer -> one that names them by their index within it."""
    return dataclasses.replace(table, neuron=neurons[table.neuron])


def _numbered(table: Table | None, neurons: Int64[np.ndarray, "neuron"]) -> Table | None:
    """The way back."""
    return None if table is None else dataclasses.replace(table, neuron=np.searchsorted(neurons, table.neuron))


def asked_for(bench: Bench) -> list[tuple[int, Side]]:
    """Every layer and side that a stage is to look at.

    Raises:
        StoreError: a layer or sign case that was not collected.
    """
    chosen = bench.open.require_layers(None if bench.layers is None else list(bench.layers))
    return [(layer, side) for layer in chosen for side in bench.require_sides(layer)]


def each_layer(
    bench: Bench,
    stage: str,
    inputs: Callable[[int, Side], dict[str, Any]],
    work: Work,
    *,
    facts: Callable[[], dict[str, Any]] | None = None,
    places: Sequence[tuple[int, Side]] | None = None,
) -> None:
    """Do a stage for the places (None: all layers and sides asked for) that need it, writing now and then."""
    from neurolocal.store import add_evidence

    finished: list[tuple[str, int, Side, Any, dict[str, Any]]] = []
    reused, last = [], time.monotonic()

    def write() -> None:
        if finished:
            add_evidence(bench.store, finished, site=bench.open.site)
            finished.clear()
            bench.__dict__.pop("open", None)  # from now on the new file

    try:
        for layer, side in asked_for(bench) if places is None else places:
            new = json.loads(canonical({**inputs(layer, side), "revision": REVISION[stage]}))
            old = _inputs(bench, stage, layer, side)
            if old == new:
                reused.append(layer)
                continue
            if old is not None:
                where = f"layer {layer}" if side == "largest" else f"layer {layer}, {side},"
                bench.say(f"{stage}: {where} again, since {'; '.join(differences(old, new)[:3])}")
            table = work(layer, side)
            finished.append((stage, layer, side, table, new if facts is None else new | {FACTS: facts()}))
            if time.monotonic() - last > FLUSH:
                write()
                last = time.monotonic()
    finally:
        write()
    if reused:
        numbers = ", ".join(map(str, dict.fromkeys(reused)))
        bench.say(f"{stage}: layers {numbers} are there and their inputs are unchanged; not done again")


def _inputs(bench: Bench, stage: str, layer: int, side: Side) -> dict[str, Any] | None:
    """What decides whether a table is made again."""
    made = bench.open.inputs(stage, layer, side)
    return None if made is None else {name: value for name, value in made.items() if name != FACTS}


def _name_of_vectors(bench: Bench, method: Method) -> dict[str, Any]:
    return bench.vectors_name if method == "notebook" else bench.centred_name


def made_from(bench: Bench, config: Any, **more: Any) -> dict[str, Any]:
    """What decides whether a table is made again, as plain values."""
    return {"collection": bench.collection, "config": dataclasses.asdict(config), **more}


def hash_of(bench: Bench, stage: str, layer: int, side: Side) -> str | None:
    """What names an earlier stage's table: the hash of what it was made from."""
    made = _inputs(bench, stage, layer, side)
    return None if made is None else sha256(made)
