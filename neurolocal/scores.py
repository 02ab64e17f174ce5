"""The stage that scores descriptions: `neurolocal score`, on a store that `summary` has been to.

Invariant: texts come from the score half and from the sampled rows that explain nothing (`summary/texts.py`); a stop
goes on with the next neuron. Cost: the random rows through the subject once, then some seconds a neuron.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Integer
from tqdm import tqdm

from neurolocal.bench import Bench
from neurolocal.config import ScoreConfig, SummaryConfig
from neurolocal.errors import StoreError
from neurolocal.records import MEASURES, ScoreTable, Side, SummaryTable
from neurolocal.stages import asked_for, each_layer, evidence_of, hash_of, journal_path, made_from

if TYPE_CHECKING:
    from neurolocal.summary import LLM
    from neurolocal.summary.scoring import Ground, Scorer
    from neurolocal.summary.texts import RandomRows

BATCH = 8
"""Random rows a forward pass."""

LEAST = 3
"""Neurons from which a layer's mean has an interval."""


class Mean(NamedTuple):
    """A measure over the neurons of a layer that have it."""

    measure: str
    n: int
    value: float
    control: float
    """Mean over the neurons that have a control."""
    above: float
    """Mean of value - control over these."""
    low: float
    """Lower end of its 95 % bootstrap interval over neurons; NaN for fewer than `LEAST`."""
    high: float


def score(bench: Bench, config: ScoreConfig) -> None:
    """How much are the descriptions worth, on texts that explained nothing? The best described neurons of a layer.

    Raises:
        StoreError: no summary of these layers, no random rows in the store, or another subject.
        LLMError: the LLM cannot be loaded, or its context is too small.
    """
    llm: LLM | None = None
    scorers = _Scorers(bench, config)

    def inputs(layer: int, side: Side) -> dict[str, Any]:
        earlier = {stage: hash_of(bench, stage, layer, side) for stage in ("perturbation", "summary")}
        return made_from(bench, config, llm=bench.llm_name, vectors=bench.centred_name, **earlier)

    def work(layer: int, side: Side) -> ScoreTable:
        nonlocal llm
        from neurolocal.summary.journal import Journal
        from neurolocal.summary.scoring import Asked, Measured, score_table

        if llm is None and bench.llm is not None:
            from neurolocal.summary import load_llm

            llm = load_llm(bench.llm, config=SummaryConfig(n_ctx=config.n_ctx))
            bench.say(f"score: {llm}")
        elif bench.llm is None:
            bench.say("score: no --llm given, so detection and fuzzing are left out")
        scorer, chosen = scorers.of(layer, side, llm)
        journal = Journal(journal_path(bench, "score", layer, side), inputs(layer, side))
        journals.append(journal.path)
        for one in tqdm(chosen, desc="score", unit="neuron", disable=not bench.bar):
            if one.neuron.neuron not in journal.rows:
                found, asked = scorer.score(one, _other(one, chosen, config.seed))
                journal.add(one.neuron.neuron, {"measured": found, "asked": asked})
        rows = [journal.rows[one.neuron.neuron] for one in chosen]
        table = score_table(
            [Measured(*m) for row in rows for m in row["measured"]], [Asked(*a) for row in rows for a in row["asked"]]
        )
        for line in lines(table):
            bench.say(f"layer {layer} {side}: {line}")
        return table

    journals: list[Any] = []
    try:
        each_layer(bench, "score", inputs, work, facts=lambda: scorers.facts, places=places(bench))
        for path in journals:
            path.unlink(missing_ok=True)
    finally:
        if llm is not None:
            llm.close()


def places(bench: Bench) -> list[tuple[int, Side]]:
    """The layers and sides asked for that have descriptions.

    Raises:
        StoreError: none has.
    """
    described = [place for place in asked_for(bench) if bench.open.evidence("summary", *place) is not None]
    if not described:
        raise StoreError(
            f"scoring the descriptions in {bench.store}: it holds none of these layers and sides. "
            "Run `neurolocal summary` first, or choose others."
        )
    return described


def means(table: ScoreTable) -> list[Mean]:
    """Every measure over the neurons of a layer, beside its control."""
    from scipy.stats import bootstrap

    found = []
    for measure in MEASURES:
        here = np.array([m == measure for m in table.measure], bool)
        value, control = table.value[here].astype(np.float64), table.control[here].astype(np.float64)
        known = ~np.isnan(value)
        if not known.any():
            continue
        both = ~np.isnan(value - control)
        gap = (value - control)[both]
        low = high = np.nan
        if len(gap) >= LEAST and np.ptp(gap) > 0:
            interval = bootstrap((gap,), np.mean, method="percentile", rng=np.random.default_rng(0))
            low, high = interval.confidence_interval
        found.append(
            Mean(
                measure, int(known.sum()), float(value[known].mean()),
                float(control[both].mean()) if both.any() else np.nan,
                float(gap.mean()) if len(gap) else np.nan, float(low), float(high),
            )
        )  # fmt: skip
    return found


def lines(table: ScoreTable) -> list[str]:
    """The means for a person, one line a measure."""
    made = []
    for m in means(table):
        line = f"{m.measure.replace('_', ' ')} {m.value:.3f} over {m.n} neurons"
        if m.control == m.control:
            line += f", of another neuron's {m.control:.3f}, above it by {m.above:+.3f}"
        if m.low == m.low:
            line += f" (95 %: {m.low:+.3f} to {m.high:+.3f})"
        made.append(line)
    failed = [text for text, measure in zip(table.said, table.measure, strict=True) if text and "Error" in text]
    if failed:
        made.append(f"{len(failed)} measures failed, the first: {failed[0]}")
    return made


class _Scorers:
    """What all layers are scored with, loaded once."""

    def __init__(self, bench: Bench, config: ScoreConfig) -> None:
        self.bench, self.config = bench, config
        self.facts: dict[str, Any] = {}
        self._rows: dict[tuple[int, Side], RandomRows] = {}
        self._asker: Any = None
        self._tokens: Any = None

    def of(self, layer: int, side: Side, llm: LLM | None) -> tuple[Scorer, list[Any]]:
        """The scorer of a layer, and the neurons to score, best first."""
        from neurolocal.summary.asking import Asker
        from neurolocal.summary.firing import Tokens
        from neurolocal.summary.scoring import Described, Scorer

        bench, table = self.bench, self.bench.open.evidence("summary", layer, side)
        names = dict(zip(_chosen(table, self.config), table.description, strict=False))
        described = [Described(n, names[n.neuron]) for n in evidence_of(bench, layer, side, list(names))]
        if llm is not None and self._asker is None:
            self._asker = Asker(llm)
            self.facts = {"way": self._asker.way, "heads": self._asker.heads, "llm": str(llm)}
        self._tokens = self._tokens or Tokens(bench.open.vocabulary, bench.centred_vectors)
        scorer = Scorer(
            self._ground(layer, side), asker=self._asker, vectors=bench.centred_vectors, tokens=self._tokens,
            config=self.config,
        )  # fmt: skip
        return scorer, described

    def _ground(self, layer: int, side: Side) -> Ground:
        from neurolocal.summary import texts
        from neurolocal.summary.scoring import Ground

        opened = self.bench.open
        if (layer, side) not in self._rows:
            self._rows = self._read()
        random = self._rows[layer, side]
        at, sample = np.flatnonzero(texts.explaining(opened.sample)), opened.sample
        parts = []
        for row in np.unique(sample.row[at]):
            here = at[sample.row[at] == row]
            parts.append(self._tokens.places(opened.row(int(row)), sample.position[here].tolist()))
        silent = None
        if parts:
            from neurolocal.summary.firing import joined

            values = opened.sampled(layer)[:, at]
            silent = joined(parts), {n: values[opened.index_of(layer, n)] for n in random.activations}
        row_length = int(opened.manifest["config"]["row_length"])
        n_texts = int(opened.manifest["rows"]) * len(texts.starts(row_length))
        return Ground(opened.vocabulary, opened.row, random, n_texts, silent)

    def _read(self) -> dict[tuple[int, Side], RandomRows]:
        """Run the random rows once for all layers."""
        import torch

        from neurolocal.summary import texts

        opened, config = self.bench.open, self.config
        index = texts.scoring_rows(opened.sample, config.rows, seed=config.seed)
        if not len(index):
            raise StoreError(
                f"scoring the descriptions of {self.bench.store}: it holds no random rows to judge by (its sample is "
                "empty). Collect again with --sample 1024."
            )
        described, wanted = places(self.bench), dict[int, list[int]]()
        for layer, side in described:
            table = opened.evidence("summary", layer, side)
            wanted[layer] = sorted({*wanted.get(layer, []), *_chosen(table, config)})
        wanted = {layer: neurons for layer, neurons in wanted.items() if neurons}
        stored, length = opened.rows_stored
        at = np.searchsorted(opened.row_index, index)
        values: dict[int, list[np.ndarray]] = {layer: [] for layer in wanted}

        def reader(layer: int) -> Any:
            def see(x: Any) -> None:
                values[layer].extend(x[:, :, wanted[layer]].float().cpu().numpy())

            return see

        batches: Iterable[int] = range(0, len(at) if wanted else 0, BATCH)
        for low in tqdm(batches, desc="random rows", unit="batch", disable=not self.bench.bar):
            tokens = torch.from_numpy(stored[at[low : low + BATCH]].astype(np.int64))
            self.bench.loaded_subject.read(tokens, {layer: reader(layer) for layer in wanted}, sites=(opened.site,))
        tokens = [stored[i][: length[i]] for i in at]
        counted = [_counted(opened.manifest["config"], row, opened.vocabulary.special) for row in tokens]
        kept = {layer: _by_neuron(wanted[layer], values[layer], counted) for layer in wanted}
        return {(layer, side): texts.RandomRows(index, tokens, kept.get(layer, {})) for layer, side in described}


def _by_neuron(
    neurons: Sequence[int],
    values: Sequence[Float32[np.ndarray, "_ neuron"]],
    counted: Sequence[Bool[np.ndarray, "_"]],
) -> dict[int, list[Float32[np.ndarray, "_"]]]:
    """Each neuron's activations row by row, NaN where a position does not count."""
    return {
        n: [np.where(c, v[: len(c), j], np.nan).astype(np.float32) for c, v in zip(counted, values, strict=True)]
        for j, n in enumerate(neurons)
    }


def _counted(
    config: dict[str, Any], row: Integer[np.ndarray, "pos"], special: Bool[np.ndarray, "d_vocab"]
) -> Bool[np.ndarray, "pos"]:
    """Positions of a row that competed when the store was collected."""
    mask = ~special[row] if config.get("skip_special") else np.ones(len(row), bool)
    if config.get("bos") == "prepend":
        mask[0] = bool(config.get("count_bos"))
    return mask


def _chosen(table: SummaryTable, config: ScoreConfig) -> list[int]:
    """The described neurons to score, best first."""
    return [int(n) for n in table.neuron[: config.limit]]


def _other(one: Any, among: Sequence[Any], seed: int) -> Any:
    """Another neuron with another description, at random; None where there is none."""
    others = [o for o in among if o.description != one.description]
    order = np.random.default_rng([seed, one.neuron.neuron, 1])
    return others[int(order.integers(len(others)))] if others else None
