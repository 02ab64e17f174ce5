"""What is a description worth? One neuron scored on texts that no explanation has seen.

Detection and fuzzing ask the LLM, embedding asks the word vectors, firing asks the neuron's pattern; each beside its
control, the description (or pattern) of another neuron drawn at random, on the same texts.

Invariant: a neuron's scores depend on its own evidence, the other neuron's, config, LLM and vectors alone; what fails
for one measure is said there, and the others go on. Cost: some 30 texts and 16 marks a neuron; 3 to 7 s with SmolLM2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Integer

from neurolocal.config import ScoreConfig
from neurolocal.records import Neuron, ScoredTextTable, ScoreTable
from neurolocal.score import firing, measures
from neurolocal.score.asking import Asker, Task
from neurolocal.score.firing import Pattern, Places, Tokens, Words
from neurolocal.score.texts import Marked, RandomRows, Text, draw, marks
from neurolocal.words import WORD, Vocabulary

FURNITURE = frozenset(
    {"the", "word", "words", "letters", "within", "of", "and", "in", "ending", "beginning", "capital", "things", "no"}
)
"""Words of our own templates, which say nothing of what is described."""


class Measured(NamedTuple):
    """One row of the score table."""

    neuron: int
    measure: str
    value: float
    low: float
    high: float
    control: float
    against: int
    n: int
    said: str = ""


class Asked(NamedTuple):
    """One row of the table of texts."""

    neuron: int
    task: str
    stratum: str
    row: int
    position: int
    prompt: str
    fires: bool
    weight: float
    answer: float
    control: float
    similarity: float
    control_similarity: float


@dataclass(frozen=True)
class Described:
    """A neuron and what it is called."""

    neuron: Neuron
    description: str


@dataclass(frozen=True)
class Ground:
    """What all neurons of a layer are scored on."""

    vocabulary: Vocabulary
    row: Callable[[int], Integer[np.ndarray, "_"]]
    """The tokens of a stored row."""
    random: RandomRows
    n_texts: int
    """Texts in the whole corpus."""
    silent: tuple[Places, Mapping[int, Float32[np.ndarray, "_"]]] | None = None
    """Random positions of rows that explain, and each neuron's activations there."""


class Scorer:
    """Scores neurons of a layer, one at a time."""

    def __init__(
        self, ground: Ground, *, asker: Asker | None, vectors: Words | None, tokens: Tokens | None, config: ScoreConfig
    ) -> None:
        """Without an asker, detection and fuzzing are left out; without vectors and tokens, embedding and firing."""
        self.ground, self.asker, self.vectors, self.tokens, self.config = ground, asker, vectors, tokens, config
        self._pattern = lru_cache(64)(self._fitted)
        self._neurons: dict[int, Neuron] = {}

    def score(self, one: Described, other: Described | None) -> tuple[list[Measured], list[Asked]]:
        """All measures of a neuron, and every text that was asked about."""
        rng = np.random.default_rng([self.config.seed, one.neuron.neuron])
        against = -1 if other is None else other.neuron.neuron
        blank = Measured(one.neuron.neuron, "", np.nan, np.nan, np.nan, np.nan, against, 0)
        try:
            most = firing.scale(one.neuron.examples)
        except ValueError as error:
            return [blank._replace(measure="detection_auc", said=str(error))], []
        self._neurons |= {d.neuron.neuron: d.neuron for d in (one, other) if d is not None}
        random = list(self.ground.random.of(one.neuron.neuron, one.neuron.examples))
        own = {e.row: self.ground.row(e.row) for e in one.neuron.examples if e.rank % 2 == 1}
        texts = draw(
            one.neuron.examples, random, self.ground.vocabulary,
            row=own, most=most, each=self.config.texts, n_texts=self.ground.n_texts, rng=rng,
        )  # fmt: skip
        marked = marks(one.neuron.examples, self.ground.vocabulary, most=most, each=self.config.texts, rng=rng)
        found, asked = list[Measured](), list[Asked]()
        todo: list[tuple[Task, Sequence[Text | Marked]]] = [("detection", texts), ("fuzzing", marked)]
        for task, some in todo:
            rows, failed = self._ask(task, some, one, other)
            asked += rows
            found += self._of_answers(task, rows, blank, rng, failed)
        if self.tokens is not None:
            try:
                found += self._of_firing(one, other, most, random, blank, rng)
            except (ValueError, np.linalg.LinAlgError) as error:
                found.append(blank._replace(measure="firing_f1", said=_line(error)))
        return found, asked

    def _ask(
        self, task: Task, texts: Sequence[Text | Marked], one: Described, other: Described | None
    ) -> tuple[list[Asked], str]:
        """Every text with its answers; what failed, if something did."""
        said = [d.description for d in (one, other) if d is not None]
        near = [self._meaning(d) for d in said]
        rows, failed = [], ""
        for text in texts:
            answers = [np.nan, np.nan]
            if self.asker is not None and not failed:
                try:
                    answers = [*self.asker.ask(task, text.text, said), np.nan][:2]
                except Exception as error:  # whatever a text does to a tokenizer or a model, other measures go on
                    failed = _line(error)
            seen = [self._nearest(text.text, v) for v in near] if task == "detection" else []
            similar = [*seen, np.nan, np.nan][:2]
            own = isinstance(text, Text)
            stratum = text.stratum if own else "right" if text.fires else "wrong"
            position, weight = (text.start, text.weight) if own else (text.position, 1.0)
            shown = text.text if self.asker is None else self.asker.prompt(task, text.text)
            rows.append(
                Asked(
                    one.neuron.neuron, task, stratum, text.row, position, shown, text.fires, weight, *answers, *similar
                )
            )
        return rows, failed

    def _of_answers(
        self, task: Task, rows: Sequence[Asked], blank: Measured, rng: np.random.Generator, failed: str
    ) -> list[Measured]:
        wanted: list[tuple[str, measures.Figure, str, str]] = []
        if self.asker is not None:
            wanted.append((f"{task}_auc", measures.auc, "answer", "control"))
        if self.asker is not None and task == "detection":
            wanted += [("detection_auprc", measures.auprc, "answer", "control")]
            wanted += [("detection_f1", measures.f1, "answer", "control")]
        if self.vectors is not None and task == "detection":
            wanted += [("embedding_auc", measures.auc, "similarity", "control_similarity")]
            wanted += [("embedding_auprc", measures.auprc, "similarity", "control_similarity")]
        made = []
        for name, figure, column, beside in wanted:
            if failed and column == "answer":
                made.append(blank._replace(measure=name, said=failed))
                continue
            value, low, high = self._figure(figure, rows, column, rng)
            control, _, _ = self._figure(figure, rows, beside, None)
            why = "" if value == value else _why(rows, column)
            made.append(blank._replace(
                measure=name, value=value, low=low, high=high, control=control, n=len(rows), said=why
            ))  # fmt: skip
        return made

    def _figure(
        self, figure: measures.Figure, rows: Sequence[Asked], column: str, rng: np.random.Generator | None
    ) -> tuple[float, float, float]:
        answers = np.array([getattr(r, column) for r in rows], np.float64)
        there = ~np.isnan(answers)
        truth = np.array([r.fires for r in rows], bool)[there]
        weights = np.array([r.weight for r in rows], np.float64)[there]
        value = figure(truth, answers[there], weights)
        if rng is None or value != value:
            return value, np.nan, np.nan
        return value, *measures.interval(figure, truth, answers[there], weights, draws=self.config.draws, rng=rng)

    def _of_firing(
        self, one: Described, other: Described | None, most: float, random: Sequence[tuple[int, Any, Any]],
        blank: Measured, rng: np.random.Generator,
    ) -> list[Measured]:  # fmt: skip
        examples = one.neuron.examples
        half = [(e.tokens, e.activations) for e in examples if e.rank % 2 == 1]
        rows = [(tokens, values) for _, tokens, values in random]
        own = self._pattern(one.neuron.neuron)
        control: Pattern | None = None
        if other is not None:
            try:
                control = self._pattern(other.neuron.neuron)
            except ValueError:
                control = None
        made = []
        for kind, texts in (("", half), ("_random", rows)):
            rules = {"firing": own, "token": firing.lookup(examples, 1)}
            rules |= {"ngram": firing.lookup(examples, 5)} if not kind else {}
            for name, rule in rules.items():
                each = [firing.score(rule, most, [text]) for text in texts]
                beside = (
                    [] if control is None or name != "firing" else [firing.score(control, most, [t]) for t in texts]
                )
                figures = ("f1", "precision", "recall") if name == "firing" and not kind else ("f1",)
                for figure in figures:
                    low, high = _resampled(each, figure, self.config.draws, rng)
                    value = getattr(sum(each, firing.Score(0, 0, 0)), figure)
                    made.append(blank._replace(
                        measure=f"{name}{kind}_{figure}", value=value, low=low, high=high, n=len(texts),
                        control=getattr(sum(beside, firing.Score(0, 0, 0)), figure) if beside else np.nan,
                        said="" if value == value else "it fires in none of these texts",
                    ))  # fmt: skip
        return made

    def _fitted(self, neuron: int) -> Pattern:
        assert self.tokens is not None
        known, silent = self._neurons[neuron], self.ground.silent
        random = None if silent is None else (silent[0], silent[1][neuron])
        return firing.pattern(known.examples, self.tokens, neuron=neuron, substitutes=known.substitutes, random=random)

    def _meaning(self, description: str) -> Float32[np.ndarray, "w d"] | None:
        """The unit vectors of what a description says."""
        if self.vectors is None:
            return None
        words = [w for w in WORD.findall(description) if w.casefold() not in FURNITURE]
        found = [v for w in dict.fromkeys(words) for v in [self.vectors.find(w)] if v is not None]
        return np.stack(found) if found else None

    def _nearest(self, text: str, meaning: Float32[np.ndarray, "w d"] | None) -> float:
        """Largest cosine of the text's words and the description's mean."""
        if meaning is None or self.vectors is None:
            return np.nan
        mean = meaning.mean(axis=0)
        found = [v for w in dict.fromkeys(WORD.findall(text)) for v in [self.vectors.find(w)] if v is not None]
        return float(max(v @ mean for v in found) / (np.linalg.norm(mean) + 1e-9)) if found else np.nan


def score_table(measured: Sequence[Measured], asked: Sequence[Asked]) -> ScoreTable:
    """Rows as the stage's table."""
    texts = ScoredTextTable(**_columns(ScoredTextTable, asked))
    return ScoreTable(**_columns(ScoreTable, measured, skip="texts"), texts=texts)


DTYPES = {"Int64": np.int64, "Int32": np.int32, "Float32": np.float32, "Bool": np.bool_}


def _columns(kind: type, rows: Sequence[Any], skip: str = "") -> dict[str, Any]:
    made: dict[str, Any] = {}
    for column in fields(kind):
        if column.name != skip:
            values = [getattr(row, column.name) for row in rows]
            said = str(column.type)
            made[column.name] = values if said == "list[str]" else np.array(values, dtype=DTYPES[said.split("[")[0]])
    return made


def _resampled(each: Sequence[firing.Score], figure: str, draws: int, rng: np.random.Generator) -> tuple[float, float]:
    """95 % interval of a figure over bootstrap draws of texts."""
    if not each:
        return np.nan, np.nan
    counts = np.array([(s.right, s.wrong, s.missed) for s in each])
    drawn = counts[rng.integers(len(each), size=(draws, len(each)))].sum(axis=1)
    found = np.array([getattr(firing.Score(*map(int, d)), figure) for d in drawn])
    if np.isnan(found).all():
        return np.nan, np.nan
    low, high = np.nanquantile(found, [0.025, 0.975])
    return float(low), float(high)


def _why(rows: Sequence[Asked], column: str) -> str:
    known = [r for r in rows if getattr(r, column) == getattr(r, column)]
    if not rows:
        return "no example of the score half reaches half of the strongest"
    if not known:
        return "no word of the description has a vector" if column == "similarity" else "not asked"
    return "it fires in none of these texts" if not any(r.fires for r in known) else "it fires in all of these texts"


def _line(error: Exception) -> str:
    return re.sub(r"\s+", " ", f"{type(error).__name__}: {error}")
