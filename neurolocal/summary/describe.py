"""The stage: examples -> a description a neuron.

Default method: what the counts say for certain (one word, a closed class, punctuation) needs no LLM. For the rest the
LLM and the word vectors propose names and the LLM chooses; a rule of spelling or the plain counts stand where no name
explains the words. Invariant: a neuron's description depends on that neuron, the config, the LLM and the vectors
alone, so a stopped run goes on with the rest; one that fails is said to have failed, and the others go on.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from neurolocal.config import SummaryConfig
from neurolocal.llm.model import LLM
from neurolocal.records import Neuron, SummaryTable
from neurolocal.summary import notebook, templates
from neurolocal.summary.categories import Categories, Vectors
from neurolocal.summary.judge import Judge, Judged, Proposal
from neurolocal.summary.peaks import MAX_CHARS, Peaks, find_peaks
from neurolocal.words import Vocabulary

NEAREST = 10
"""Names that the vectors propose."""

LEAST = -0.5
"""Score under which no name is believed. Seen with SmolLM2: right names 0.5 to 6, the best of unrelated words -2."""

SURE = 1.0
"""Score from which a name is believed rather than a rule of spelling that also holds."""


COVER = 0.6
"""Share of the words that a name must explain, and of the examples that must peak on a word for a name to be sought.

Seen on real ones without it: «importance» for `American trusting wetag quality`, «verbs of returning» for `{ 0 return`.
"""


class Description(NamedTuple):
    """One row of the table."""

    neuron: int
    """Index within the layer."""
    description: str
    """One line."""
    source: str
    """`llm`, `vectors` or `counts`."""
    prompt: str = ""
    """The LLM's prompt, whole."""
    answer: str = ""
    """The LLM's answers, raw, one a line; where something failed, what."""
    gain: float = math.nan
    """Nats a token."""
    candidates: str = ""
    """One a line, best first: name, tab, score."""
    said: str = ""
    """What went wrong or was left out."""


def describe(
    neurons: Sequence[Neuron],
    llm: LLM | None,
    *,
    vocabulary: Vocabulary,
    config: SummaryConfig,
    vectors: Vectors | None = None,
    progress: bool = False,
    done: Callable[[Description], None] | None = None,
) -> SummaryTable:
    """Describe neurons from the even ranks of their examples, in the given order.

    Without an LLM the description is token counts alone, and its source says `counts`. `done` is called after every
    neuron with its row; a caller that keeps the rows can stop at any time, and later put them in front by `table`.
    """
    judge = Judge(llm, config) if llm is not None and config.method == "default" else None
    categories = Categories(vectors) if judge is not None and vectors is not None else None
    rows = []
    for neuron in tqdm(neurons, desc="summary", unit="neuron", disable=not progress):
        try:
            if config.method == "notebook":
                row = _by_notebook(neuron, llm)
            else:
                row = _by_default(neuron, vocabulary, judge, categories)
        except Exception as error:  # whatever one neuron's text does to a tokenizer or a model, the rest go on
            row = _failed(neuron, vocabulary, error)
        rows.append(row)
        if done is not None:
            done(row)
    return table(rows)


def table(rows: Sequence[Description]) -> SummaryTable:
    """Rows as the stage's table, in the given order."""
    return SummaryTable(
        neuron=np.array([r.neuron for r in rows], dtype=np.int64),
        description=[r.description for r in rows],
        source=[r.source for r in rows],
        prompt=[r.prompt for r in rows],
        answer=[r.answer for r in rows],
        gain=np.array([r.gain for r in rows], dtype=np.float32),
        candidates=[r.candidates for r in rows],
        said=[r.said for r in rows],
    )


def _by_default(
    neuron: Neuron, vocabulary: Vocabulary, judge: Judge | None, categories: Categories | None
) -> Description:
    peaks = find_peaks(neuron, vocabulary)
    plain = Description(neuron.neuron, templates.counts(peaks.words, peaks.n), "counts")
    if judge is None or not peaks.n:
        return plain
    if sure := templates.certain(peaks):
        return plain._replace(description=sure)
    words = [w for w in [*peaks.distinct, *peaks.held] if templates.LETTERS.search(w)]
    lettered = sum(peaks.words[w] for w in peaks.words if templates.LETTERS.search(w)) >= COVER * peaks.n
    spoken = judge.speak(neuron, peaks, vocabulary) if judge.speaks else None
    if not lettered:
        return plain if spoken is None else _spoken(plain, spoken)
    listed = judge.propose(words)
    near = categories.nearest(words, NEAREST) if categories else []
    judged = judge.choose([*(spoken.names if spoken else []), *listed.names, *near], words)
    return _decide(plain, peaks, [p for p in (spoken, listed) if p is not None], judged)


def _decide(plain: Description, peaks: Peaks, asked: Sequence[Proposal], judged: Sequence[Judged]) -> Description:
    """The best candidate where it explains the words; else a rule of spelling, what the LLM said itself, or counts."""
    rule = templates.spelling(peaks.distinct)
    row = plain._replace(
        prompt="\n\n".join(p.prompt for p in asked),
        answer="\n".join(a for p in asked for a in p.answers),
        candidates="\n".join(f"{j.name}\t{j.score:.3f}" for j in judged),
        said="; ".join(p.said for p in asked if p.said),
    )
    best = judged[0] if judged else None
    if best is not None and best.share >= COVER and best.score >= (SURE if rule else LEAST):
        own = any(best.name in p.names for p in asked)
        return row._replace(description=best.name, source="llm" if own else "vectors", gain=best.gain)
    if rule:
        return row._replace(description=rule)
    spoken = asked[0].names if len(asked) > 1 else []
    return row._replace(description=spoken[0], source="llm") if spoken else row


def _spoken(plain: Description, spoken: Proposal) -> Description:
    """What an LLM says of a neuron that fires on no words, such as punctuation: there is nothing to judge it by."""
    row = plain._replace(prompt=spoken.prompt, answer="\n".join(spoken.answers), said=spoken.said)
    return row._replace(description=spoken.names[0], source="llm") if spoken.names else row


def _by_notebook(neuron: Neuron, llm: LLM | None) -> Description:
    if llm is None:
        return Description(neuron.neuron, templates.counts(Counter(neuron.tokens), len(neuron.tokens)), "counts")
    prompt, answer = notebook.ask(llm, neuron.tokens)
    description = " ".join(answer.split()) or templates.counts(Counter(neuron.tokens), len(neuron.tokens))
    source, said = ("llm", "") if answer.strip() else ("counts", "the answer was empty")
    return Description(neuron.neuron, description, source, prompt, answer, said=said)


def _failed(neuron: Neuron, vocabulary: Vocabulary, error: Exception) -> Description:
    said = f"failed: {type(error).__name__}: {error}"
    try:
        peaks = find_peaks(neuron, vocabulary)
        plain = templates.counts(peaks.words, peaks.n)
    except Exception:  # the examples themselves are damaged
        plain = f"not described ({' '.join(said.split())[: 2 * MAX_CHARS]})"
    return Description(neuron.neuron, plain, "counts", said=said)
