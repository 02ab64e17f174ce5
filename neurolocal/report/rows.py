"""The ranked neurons as plain records: one list, as JSON and as CSV.

Invariant: the names of the fields are stable, because scripts outside the project read them. JSON is strict (unknown
figures are null). Both files are written as a whole or not at all.
Cost: the examples of each listed neuron are read once.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields
from math import nan
from pathlib import Path
from typing import Any, NamedTuple

from neurolocal.files import write_text
from neurolocal.literals import VERDICTS, Side
from neurolocal.records import TABLES, histogram_edges
from neurolocal.render.cells import cell
from neurolocal.render.figures import strict
from neurolocal.render.visible import plain
from neurolocal.report.histogram import bins
from neurolocal.report.layer import Layer, read_layer
from neurolocal.report.logit_effects import TokenEffect, promoted, suppressed
from neurolocal.report.repeats import repeats
from neurolocal.report.replacements import lowering, raising
from neurolocal.report.sections import SHARES, other_evidence
from neurolocal.store import Store


@dataclass(frozen=True)
class NeuronRow:
    """One neuron of the report. Figures that were not measured are NaN (JSON null, CSV empty)."""

    layer: int
    """Index of the layer."""
    neuron: int
    """Index within the layer."""
    rank: int | None
    """1 is the layer's best; None without a verdict."""
    score: float
    """In [0, 1] within the layer."""
    verdict: str | None
    """One of `records.VERDICTS`; None without a verdict."""
    description: str
    """What a person would call it; empty if it has no description."""
    tokens: list[str]
    """The peak token of each example, strongest first, leading space kept."""
    similarity: float
    """Score of the similarity stage."""
    perturbation: float
    """Score of the perturbation stage."""
    reason: str
    """The evidence that decided the verdict, in one line."""
    source: str
    """The description's source: `llm`, `vectors`, `counts`; empty without a description."""
    words: dict[str, int]
    """Peak words (whole words) with their number of examples, most common first."""
    activation: float
    """Activation of the strongest example."""
    similarity_null: float
    """Mean similarity score of random word sets."""
    similarity_z: float
    """(score - null mean) / standard deviation of the null."""
    similarity_q: float
    """Benjamini-Hochberg over the layer."""
    perturbation_half: float
    """Share of neighbours that keep half of the activation."""
    perturbation_control_half: float
    """The same of the random controls."""
    perturbation_q: float
    """Benjamini-Hochberg over the tested neurons of the layer."""
    repetition: float
    """Share of the examples on the most common peak word."""
    form: str
    """The spelling that the peak words share most beyond chance; empty if none."""
    form_q: float
    """Its q value."""
    phrase_z: float
    """z of the similarity of the contexts, against random windows of the corpus."""
    dose: float
    """Rank correlation of cosine and activation over the substitutes."""
    variant_half: float
    """Share of spelling variants that keep half of the activation."""
    form_half: float
    """The same of the word itself in other capitals and spacings."""
    spelled_half: float
    """The same of random words with the shared spelling."""
    reach_half: float
    """The same of new words that are similar to all of the neuron's words."""
    elsewhere_half: float
    """Share of other contexts in which the words keep half of the activation."""
    alone: float
    """Mean of activation / original of the words alone after BOS."""
    raises: dict[str, float]
    """Substitutes with more activation than the word they replaced: activation / original, strongest first."""
    lowers: dict[str, float]
    """Near and new words with less than half of its activation: activation / original, weakest first."""
    scores: dict[str, dict[str, float]]
    """Scores of the description and the pattern: measure -> value, low and high (95 %), control."""
    promotes: dict[str, float]
    """Tokens that the neuron's output promotes most: logits for an activation of 1, above the vocabulary's mean."""
    suppresses: dict[str, float]
    """The same of the tokens that it suppresses most."""
    histogram: dict[int, int]
    """Drawn positions in each bin of the report's `histogram_edges`; empty bins are left out."""
    repeats: list[int | None]
    """For each example the index in `tokens` of a stronger one whose text it nearly repeats; null if there is none."""
    evidence: dict[str, dict[str, float | str]]
    """Evidence of the stages that have no field here: stage -> column -> value."""
    expert: int | None = None
    """Number of the neuron's expert within the layer; None (and neither in JSON nor in CSV) without experts."""
    expert_neuron: int | None = None
    """Index within the expert."""
    routed: float | None = None
    """Share of the counted positions that were routed to the expert."""
    name: str | None = None
    """The neuron in words, `expert 3 · neuron 17`."""


def report_rows(
    store: Store, layers: Iterable[int] | None = None, *, side: Side = "largest", limit: int | None = None
) -> list[NeuronRow]:
    """The neurons of the layers (None: all), by layer, then rank; at most `limit` a layer.

    A layer without verdicts is in neuron order, with rank None.

    Raises:
        StoreError: a layer was not collected.
    """
    return [
        neuron_row(read, neuron)
        for layer in store.require_layers(layers)
        for read in [read_layer(store, layer, side=side)]
        for neuron in read.ranked()[:limit]
    ]


def neuron_row(read: Layer, neuron: int) -> NeuronRow:
    """The report's record of one neuron."""
    examples = read.examples(neuron)
    vocabulary = read.store.vocabulary
    words = Counter(vocabulary.word_at(e.tokens, e.peak).text for e in examples)
    output_q = read.output_q(neuron)
    return NeuronRow(
        layer=read.layer,
        neuron=neuron,
        rank=int(read.figure("verdict", "rank", neuron)) + 1 if read.has("verdict", neuron) else None,
        score=read.figure("verdict", "score", neuron),
        verdict=read.text("verdict", "verdict", neuron),
        description=plain(read.text("summary", "description", neuron) or ""),
        tokens=[plain(vocabulary.str_tokens([int(e.tokens[e.peak])])[0]) for e in examples],
        similarity=read.figure("similarity", "score", neuron),
        perturbation=read.figure("perturbation", "score", neuron),
        reason=plain(read.text("verdict", "reason", neuron) or ""),
        source=read.text("summary", "source", neuron) or "",
        words={plain(word): n for word, n in words.most_common()},
        activation=examples[0].activation if examples else nan,
        similarity_null=read.figure("similarity", "null_mean", neuron),
        similarity_z=read.figure("similarity", "z", neuron),
        similarity_q=read.figure("similarity", "q", neuron),
        perturbation_half=read.figure("perturbation", "half", neuron),
        perturbation_control_half=read.figure("perturbation", "control_half", neuron),
        perturbation_q=read.figure("perturbation", "q", neuron),
        form=read.text("similarity", "form", neuron) or "",
        **{c: read.figure("similarity", c, neuron) for c in ("repetition", "form_q", "phrase_z")},
        **{c: read.figure("perturbation", c, neuron) for c in ("dose", *(share.column for share in SHARES))},
        raises={plain(word.word): word.relative for word in raising(read, neuron)},
        lowers={plain(word.word): word.relative for word in lowering(read, neuron)},
        scores={
            measure: dict(zip(("value", "low", "high", "control"), values, strict=True))
            | ({"q": output_q[measure]} if measure in output_q else {})
            for measure, values in read.scores(neuron).items()
        },
        promotes=_by_token(promoted(read, neuron)),
        suppresses=_by_token(suppressed(read, neuron)),
        histogram=bins(read, neuron),
        repeats=repeats(examples),
        evidence=other_evidence(read, neuron),
        **_of_expert(read, neuron),
    )


def _by_token(effects: list[TokenEffect]) -> dict[str, float]:
    """Text -> effect; of several tokens with one text the strongest, which comes first."""
    found: dict[str, float] = {}
    for e in effects:
        found.setdefault(plain(e.token), e.effect)
    return found


def _of_expert(read: Layer, neuron: int) -> dict[str, Any]:
    """The fields of a neuron of an expert; none for a layer without experts."""
    if read.experts is None:
        return {}
    expert, index = read.experts.of(neuron)
    count = read.statistics.count
    share = int(read.experts.count[expert]) / count if count else nan
    return {"expert": expert, "expert_neuron": index, "routed": share, "name": read.experts.name(neuron)}


def report_object(store: Store, rows: Iterable[NeuronRow], *, side: Side = "largest") -> dict[str, Any]:
    """The report as one plain object: the facts of the run and the list `neurons`. It is valid strict JSON."""
    rows = list(rows)
    layers = sorted({row.layer for row in rows})
    manifest = store.manifest
    controls = {str(layer): untrained_counts(store, layer, side) for layer in layers}
    untrained = {layer: {v: n for v, n in one.items() if n} for layer, one in controls.items() if one is not None}
    facts = {
        "format": "neurolocal-report",
        "version": 1,
        **{name: manifest.get(name) for name in ("subject", "tokenizer", "corpus", "config", "rows", "tokens")},
        "complete": manifest.get("complete"),
        "side": side,
        "layers": layers,
        "histogram_edges": histogram_edges().tolist(),
        "verdicts": {str(layer): verdict_counts(row for row in rows if row.layer == layer) for layer in layers},
        **({"verdicts_untrained": untrained} if untrained else {}),
        "stages": {
            stage: {str(n): made for n in layers if (made := store.inputs(stage, n, side)) is not None}
            for stage in TABLES
        },
    }
    experts = {str(layer): one for layer in layers if (one := _experts(store, layer)) is not None}
    if experts:
        facts["experts"] = experts
    return {**strict(facts), "neurons": [row_object(row) for row in rows]}


def _experts(store: Store, layer: int) -> dict[str, Any] | None:
    """The experts of a layer: where their neurons begin, how many always run, and the share of positions of each."""
    found = store.experts(layer)
    if found is None:
        return None
    routed = [int(n) / max(store.statistics(layer).count, 1) for n in found.count]
    return {"offsets": found.offsets.tolist(), "shared": found.shared, "routed": routed}


EXPERT_FIELDS = ("expert", "expert_neuron", "routed", "name")
"""The fields of a row that only neurons of experts have."""


def row_fields(row: NeuronRow) -> dict[str, Any]:
    """A row as a dictionary, by the names of its fields; those of experts only where there are experts."""
    return {name: value for name, value in vars(row).items() if row.expert is not None or name not in EXPERT_FIELDS}


def row_object(row: NeuronRow) -> dict[str, Any]:
    """The same as a plain object of strict JSON."""
    return strict(row_fields(row))


class LayerVerdicts(NamedTuple):
    """The verdicts of a whole layer, however many of its neurons are listed."""

    layer: int
    neurons: int
    """Neurons that were collected."""
    counts: dict[str, int]
    """Every verdict with its number of neurons, in the order of `VERDICTS`; empty where the stage has not run."""
    preliminary: bool = False
    """Whether they rest on similarity alone: no word of the layer has been replaced."""
    untrained: dict[str, int] | None = None
    """The same counts of the untrained control; None where there was none."""


def layer_verdicts(store: Store, layer: int, *, side: Side = "largest") -> LayerVerdicts:
    """The verdicts of a layer, from the table alone."""
    table = store.evidence("verdict", layer, side)
    tally = Counter[str](() if table is None else table.verdict)
    counts = {name: tally[name] for name in VERDICTS} if tally else {}
    preliminary = bool(counts) and store.inputs("perturbation", layer, side) is None
    return LayerVerdicts(layer, len(store.neurons(layer)), counts, preliminary, untrained_counts(store, layer, side))


def untrained_counts(store: Store, layer: int, side: Side) -> dict[str, int] | None:
    """The untrained control's verdicts of a layer, counted; None where there was none."""
    found: Any = store.inputs("verdict", layer, side)
    for name in ("facts", "untrained", "counts"):
        found = found.get(name) if isinstance(found, dict) else None
    if not isinstance(found, dict):
        return None
    return {name: n if type(n := found.get(name)) is int else 0 for name in VERDICTS}


def verdict_counts(rows: Iterable[NeuronRow]) -> dict[str, int]:
    """Verdict -> number of neurons; verdicts without a neuron are omitted."""
    counts = Counter(row.verdict for row in rows)
    return {name: counts[name] for name in VERDICTS if counts[name]}


def report_json(store: Store, rows: Iterable[NeuronRow], *, side: Side = "largest") -> str:
    """`report_object` as JSON text, pure ASCII, one line."""
    return json.dumps(report_object(store, rows, side=side), allow_nan=False, sort_keys=False)


def write_json(store: Store, rows: Iterable[NeuronRow], *, path: Path, side: Side = "largest") -> None:
    """Write `report_json` to a file, as a whole or not at all."""
    write_text(path, report_json(store, rows, side=side) + "\n")


def report_csv(rows: Iterable[NeuronRow]) -> str:
    """A header and one line a neuron; lists and objects are JSON texts, unknown figures are empty.

    Text that a spreadsheet would run as a formula is preceded by an apostrophe (see `render.cells`).
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    rows = list(rows)
    experts = any(row.expert is not None for row in rows)
    names = [field.name for field in fields(NeuronRow) if experts or field.name not in EXPERT_FIELDS]
    writer.writerow(names)
    for row in rows:
        writer.writerow(cell(getattr(row, name)) for name in names)
    return text.getvalue()


def write_csv(rows: Iterable[NeuronRow], *, path: Path) -> None:
    """Write `report_csv` to a file, as a whole or not at all."""
    write_text(path, report_csv(rows))
