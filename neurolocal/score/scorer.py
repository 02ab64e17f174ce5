"""The scores of one neuron's description, on texts that no explanation was made from.

Detection, fuzzing and simulation ask the LLM, embedding uses word vectors, firing uses the neuron's pattern. Each has a
control: the description (or pattern) of another neuron, on the same texts.

Invariant: scores depend on the neuron's own evidence, the other neuron's, the config, the LLM and the vectors alone. A
measure that fails gets a note, and the others are not affected. Cost: at most 5 x `texts` and `banded` questions for
detection, 2 x `texts` for fuzzing and 4 x `simulated` texts for simulation, for two descriptions each; one fit of the
pattern; `draws` bootstrap draws a measure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Integer

from neurolocal.config import ScoreConfig
from neurolocal.records import Neuron
from neurolocal.score import embedding, firing, measures, simulation
from neurolocal.score.alike import Likeness
from neurolocal.score.classifier import Classifier, Task
from neurolocal.score.kernel import Positions, TokenKernel, VectorLookup
from neurolocal.score.lookup import lookup
from neurolocal.score.pattern import Pattern, pattern
from neurolocal.score.random_rows import RandomRows
from neurolocal.score.rows import PartRow, ScoreRow, TextRow
from neurolocal.score.simulation import Simulator
from neurolocal.score.texts import Drawing, MarkedText, RandomRow, StratumText, draw, marked_texts
from neurolocal.store.band_rows import Band
from neurolocal.words import Vocabulary

NATURAL: dict[str, measures.Figure] = {"auprc": measures.auprc, "f1": measures.f1, "iou": measures.iou}
"""Figures over texts in their natural proportion; they lead."""

CONTROL_OF = {"answer": "control", "similarity": "control_similarity"}
"""Column of texts -> the same of the other description."""

NEVER_FIRES = "it fires in none of these texts"


@dataclass(frozen=True)
class DescribedNeuron:
    """A neuron with its description."""

    neuron: Neuron
    description: str


@dataclass(frozen=True)
class LayerTexts:
    """What all neurons of a layer are scored on."""

    vocabulary: Vocabulary
    row: Callable[[int], Integer[np.ndarray, "_"]]
    """Row index -> the tokens of a stored row."""
    random: RandomRows
    n_texts: int
    """Number of texts in the whole corpus."""
    silent: tuple[Positions, Mapping[int, Float32[np.ndarray, "_"]]] | None = None
    """Random positions of rows that explain, and neuron -> its activations there."""
    bands: Callable[[int], Sequence[Band]] = lambda neuron: ()
    """Neuron -> the bands of its activation."""
    explaining: Collection[int] = ()
    """Sampled rows that explain."""
    likeness: Likeness | None = None
    """Of silent texts to those that explain; None: none are drawn for it."""


class Scorer:
    """Scores neurons of a layer, one at a time."""

    def __init__(
        self,
        layer: LayerTexts,
        *,
        classifier: Classifier | None,
        vectors: VectorLookup | None,
        kernel: TokenKernel | None,
        config: ScoreConfig,
        simulator: Simulator | None = None,
    ) -> None:
        """Without classifier no detection and fuzzing, without vectors no embedding, without kernel no firing."""
        self.layer, self.classifier, self.vectors, self.kernel, self.config = layer, classifier, vectors, kernel, config
        self.simulator = simulator
        self._pattern = lru_cache(64)(self._fitted)
        self._neurons: dict[int, Neuron] = {}

    def score(self, one: DescribedNeuron, other: DescribedNeuron | None) -> tuple[list[ScoreRow], list[TextRow]]:
        """All measures of a neuron, and every text that was used; `other` is the control."""
        examples, number = one.neuron.examples, one.neuron.neuron
        rng = np.random.default_rng([self.config.seed, number])
        against = -1 if other is None else other.neuron.neuron
        blank = ScoreRow(number, "", np.nan, np.nan, np.nan, np.nan, against, 0, "")
        try:
            most = firing.scale(examples)
        except ValueError as error:
            return [blank._replace(measure="detection_auprc", said=str(error))], []
        self._neurons |= {d.neuron.neuron: d.neuron for d in (one, other) if d is not None}
        random = self._random(one.neuron)
        texts = draw(examples, random, self.layer.vocabulary, self._drawing(one.neuron), most=most, rng=rng)
        marked = marked_texts(examples, self.layer.vocabulary, most=most, each=self.config.texts, rng=rng)
        scores, used = list[ScoreRow](), list[TextRow]()
        tasks: list[tuple[Task, Sequence[StratumText | MarkedText]]] = [("detection", texts), ("fuzzing", marked)]
        for task, some in tasks:
            rows, failure = self._text_rows(task, some, one, other)
            used += rows
            scores += self._of_texts(task, rows, blank, rng, failure)
        if self.simulator is not None and self.config.simulated:
            plain = Drawing(self.layer.row, self.config.simulated, self.layer.n_texts)  # activations at all tokens
            texts = draw(examples, random, self.layer.vocabulary, plain, most=most, rng=rng)
            simulated, rows = self._of_simulation(self.simulator, texts, one, other, blank, rng)
            scores += simulated
            used += rows
        if self.kernel is not None:
            try:
                scores += self._of_firing(one, other, most, random, blank, rng)
            except (ValueError, np.linalg.LinAlgError) as error:
                scores.append(blank._replace(measure="firing_f1", said=_line(error)))
        return scores, used

    def score_parts(
        self, one: DescribedNeuron, parts: Mapping[int, DescribedNeuron], other: DescribedNeuron | None
    ) -> list[PartRow]:
        """Each meaning by itself: its own examples against texts in which the neuron is silent.

        Args:
            one: the neuron with all of its examples.
            parts: number of a meaning -> its description, and the neuron with the examples of that meaning alone.
            other: the control.
        """
        number, made = one.neuron.neuron, list[PartRow]()
        random, most = self._random(one.neuron), firing.scale(one.neuron.examples)
        drawing = Drawing(self.layer.row, self.config.texts, self.layer.n_texts)
        for part, own in parts.items():
            rng = np.random.default_rng([self.config.seed, number, part])
            drawn = draw(own.neuron.examples, random, self.layer.vocabulary, drawing, most=most, rng=rng)
            rows, failure = self._text_rows("detection", [t for t in drawn if t.stratum != "fires"], own, other)
            blank = ScoreRow(number, "", np.nan, np.nan, np.nan, np.nan, -1, 0, "")
            for s in self._of_texts("detection", rows, blank, rng, failure):
                made.append(PartRow(number, part, s.measure, s.value, s.low, s.high, s.control, s.n, s.said))
        return made

    def _random(self, neuron: Neuron) -> list[RandomRow]:
        """The random rows without an example of the neuron and without a row of its bands that explains."""
        explains = {band.explains.row for band in self.layer.bands(neuron.neuron) if band.explains is not None}
        return [one for one in self.layer.random.of(neuron.neuron, neuron.examples) if one[0] not in explains]

    def _drawing(self, neuron: Neuron) -> Drawing:
        """How the neuron's texts are drawn."""
        layer = self.layer
        return Drawing(
            layer.row, self.config.texts, layer.n_texts, layer.bands(neuron.neuron), self.config.banded,
            layer.explaining, None if layer.likeness is None else layer.likeness.to(neuron.examples),
        )  # fmt: skip

    def _text_rows(
        self,
        task: Task,
        texts: Sequence[StratumText | MarkedText],
        one: DescribedNeuron,
        other: DescribedNeuron | None,
    ) -> tuple[list[TextRow], str]:
        """Every text with its answers; the failure, if there was one."""
        descriptions = [d.description for d in (one, other) if d is not None]
        meanings = [embedding.meaning(d, self.vectors) if self.vectors is not None else None for d in descriptions]
        answered, failure = self._answers(task, [text.text for text in texts], descriptions)
        rows = list[TextRow]()
        for text, answers in zip(texts, answered.tolist(), strict=True):
            similar = [np.nan, np.nan]
            if self.vectors is not None and task == "detection":
                similar = [*(embedding.similarity(text.text, m, self.vectors) for m in meanings), np.nan][:2]
            if isinstance(text, StratumText):
                place = text.stratum, text.row, text.start
                weight = text.weight
            else:
                place = "right" if text.fires else "wrong", text.row, text.position
                weight = 1.0
            prompt = text.text if self.classifier is None else self.classifier.prompt(task, text.text)
            rows.append(TextRow(one.neuron.neuron, task, *place, prompt, text.fires, weight, *answers, *similar))
        return rows, failure

    def _answers(
        self, task: Task, texts: Sequence[str], descriptions: Sequence[str]
    ) -> tuple[Float64[np.ndarray, "text 2"], str]:
        """The LLM's answers for the description and its control, NaN where none was asked; and the failure."""
        answers, failure = np.full((len(texts), 2), np.nan), ""
        if self.classifier is not None:
            try:
                answers[:, : len(descriptions)] = self.classifier.answers(task, texts, descriptions)
            except Exception as error:  # whatever fails on these texts, the other measures are taken
                failure = _line(error)
        return answers, failure

    def _of_texts(
        self, task: Task, rows: Sequence[TextRow], blank: ScoreRow, rng: np.random.Generator, failure: str
    ) -> list[ScoreRow]:
        """The measures of detection (with embedding) or of fuzzing."""
        wanted: list[tuple[str, measures.Figure, str]] = []
        if self.classifier is not None and task == "detection":
            wanted += [(f"detection_{name}", figure, "answer") for name, figure in NATURAL.items()]
        if self.classifier is not None:
            wanted.append((f"{task}_auc", measures.auc, "answer"))
        if self.vectors is not None and task == "detection":
            wanted.append(("embedding_auprc", measures.auprc, "similarity"))
            wanted.append(("embedding_auc", measures.auc, "similarity"))
        made = []
        for name, figure, column in wanted:
            if failure and column == "answer":
                made.append(blank._replace(measure=name, said=failure))
                continue
            value, low, high = self._figure(figure, rows, column, rng)
            control, _, _ = self._figure(figure, rows, CONTROL_OF[column], None)
            reason = "" if value == value else _missing_reason(rows, column)
            made.append(blank._replace(
                measure=name, value=value, low=low, high=high, control=control, n=len(rows), said=reason
            ))  # fmt: skip
        return made

    def _of_simulation(
        self, simulator: Simulator, texts: Sequence[StratumText], one: DescribedNeuron, other: DescribedNeuron | None,
        blank: ScoreRow, rng: np.random.Generator,
    ) -> tuple[list[ScoreRow], list[TextRow]]:  # fmt: skip
        """The measures of simulation, and the texts that were simulated."""
        some = list(texts)
        tokens = [self.layer.vocabulary.str_tokens(text.tokens) for text in some]
        descriptions = [d.description for d in (one, other) if d is not None]
        try:
            expected = [simulator.expected(tokens, description) for description in descriptions]
        except Exception as error:  # whatever fails on these texts, the other measures are taken
            return [blank._replace(measure=f"simulation_{m}", said=_line(error)) for m in simulation.FIGURES], []
        real = [np.maximum(text.activations.astype(np.float64), 0.0) for text in some]
        sums = [
            np.array([simulation.sums(e, r, text.weight) for e, r, text in zip(of, real, some, strict=True)])
            for of in expected
        ]
        fires, made = np.array([text.fires for text in some], bool), list[ScoreRow]()
        for name, figure in simulation.FIGURES.items():
            value, *controls = (figure(of.sum(axis=0)) if len(some) else np.nan for of in sums)
            low = high = np.nan
            if value == value:
                low, high = simulation.interval(figure, sums[0], fires, draws=self.config.draws, rng=rng)
            made.append(blank._replace(
                measure=f"simulation_{name}", value=value, low=low, high=high, n=len(some),
                control=controls[0] if controls else np.nan, said="" if value == value else simulation.CONSTANT,
            ))  # fmt: skip
        rows = []
        for i, text in enumerate(some):
            most = [*(float(of[i].max()) for of in expected), np.nan][:2]
            place = "simulation", text.stratum, text.row, text.start, "\n".join(tokens[i])
            rows.append(TextRow(one.neuron.neuron, *place, text.fires, text.weight, *most, np.nan, np.nan))
        return made, rows

    def _figure(
        self, figure: measures.Figure, rows: Sequence[TextRow], column: str, rng: np.random.Generator | None
    ) -> tuple[float, float, float]:
        """A figure of a column with its interval; no interval without a generator."""
        answers = np.array([getattr(r, column) for r in rows], np.float64)
        there = ~np.isnan(answers)
        truth = np.array([r.fires for r in rows], bool)[there]
        natural = [1.0 if figure is measures.auc else r.weight for r in rows]
        weights = np.array(natural, np.float64)[there]
        value = figure(truth, answers[there], weights)
        if rng is None or value != value:
            return value, np.nan, np.nan
        return value, *measures.interval(figure, truth, answers[there], weights, draws=self.config.draws, rng=rng)

    def _of_firing(
        self, one: DescribedNeuron, other: DescribedNeuron | None, most: float,
        random: Sequence[tuple[int, Any, Any]], blank: ScoreRow, rng: np.random.Generator,
    ) -> list[ScoreRow]:  # fmt: skip
        """The measures of the pattern and of the look-up tables."""
        examples = one.neuron.examples
        half = [(e.tokens, e.activations) for e in examples if e.rank % 2 == 1]
        rows = [(tokens, values) for _, tokens, values in random]
        own, control = self._pattern(one.neuron.neuron), self._control_pattern(other)
        made = []
        for kind, texts in (("", half), ("_random", rows)):
            rules = {"firing": own, "token": lookup(examples, 1)}
            rules |= {"ngram": lookup(examples, 5)} if not kind else {}
            for name, rule in rules.items():
                each = [firing.count(rule, most, [text]) for text in texts]
                controls = (
                    [] if control is None or name != "firing" else [firing.count(control, most, [t]) for t in texts]
                )
                figures = ("f1", "precision", "recall") if name == "firing" and not kind else ("f1",)
                for figure in figures:
                    low, high = firing.interval(each, figure, draws=self.config.draws, rng=rng)
                    value = getattr(sum(each, firing.Counts(0, 0, 0)), figure)
                    made.append(blank._replace(
                        measure=f"{name}{kind}_{figure}", value=value, low=low, high=high, n=len(texts),
                        control=getattr(sum(controls, firing.Counts(0, 0, 0)), figure) if controls else np.nan,
                        said="" if value == value else NEVER_FIRES,
                    ))  # fmt: skip
        return made

    def _control_pattern(self, other: DescribedNeuron | None) -> Pattern | None:
        """The pattern of the other neuron; None where it has none."""
        try:
            return None if other is None else self._pattern(other.neuron.neuron)
        except ValueError:
            return None

    def _fitted(self, neuron: int) -> Pattern:
        assert self.kernel is not None
        known, silent = self._neurons[neuron], self.layer.silent
        random = None if silent is None else (silent[0], silent[1][neuron])
        return pattern(known.examples, self.kernel, neuron=neuron, substitutes=known.substitutes, random=random)


def _missing_reason(rows: Sequence[TextRow], column: str) -> str:
    """Why a figure of a column is not defined."""
    known = [r for r in rows if getattr(r, column) == getattr(r, column)]
    if not rows:
        return "no example of the score half reaches half of the strongest"
    if not known:
        return "no word of the description has a vector" if column == "similarity" else "not asked"
    return NEVER_FIRES if not any(r.fires for r in known) else "it fires in all of these texts"


def _line(error: Exception) -> str:
    return re.sub(r"\s+", " ", f"{type(error).__name__}: {error}")
