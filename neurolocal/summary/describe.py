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
from neurolocal.records import SummaryTable
from neurolocal.summary import notebook, templates
from neurolocal.summary.categories import Categories, Vectors
from neurolocal.summary.judge import Judge, Judged, Proposal
from neurolocal.summary.llm import LLM
from neurolocal.summary.peaks import MAX_CHARS, Neuron, Peaks, find_peaks
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
                row = _by_default(neuron, find_peaks(neuron, vocabulary), judge, categories)
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
    )


def _by_default(neuron: Neuron, peaks: Peaks, judge: Judge | None, categories: Categories | None) -> Description:
    if judge is None:
        return Description(neuron.neuron, templates.counts(peaks.words, peaks.n), "counts")
    if (sure := templates.certain(peaks)) or not peaks.n:
        return Description(neuron.neuron, sure or templates.counts(peaks.words, peaks.n), "counts")
    words = [w for w in [*peaks.distinct, *peaks.held] if templates.LETTERS.search(w)]
    if sum(peaks.words[w] for w in peaks.words if templates.LETTERS.search(w)) < COVER * peaks.n:
        return Description(neuron.neuron, templates.counts(peaks.words, peaks.n), "counts")
    proposal = judge.propose(words)
    near = categories.nearest(words, NEAREST) if categories else []
    judged = judge.choose([*proposal.names, *near], words)
    return _decide(neuron.neuron, peaks, proposal, judged[0] if judged else None)


def _decide(neuron: int, peaks: Peaks, proposal: Proposal, best: Judged | None) -> Description:
    rule = templates.spelling(peaks.distinct)
    answer = "\n".join(proposal.answers)
    if best is not None and best.share >= COVER and best.score >= (SURE if rule else LEAST):
        source = "llm" if best.name in proposal.names else "vectors"
        return Description(neuron, best.name, source, proposal.prompt, answer, best.gain)
    plain = rule or templates.counts(peaks.words, peaks.n)
    return Description(neuron, plain, "counts", proposal.prompt, answer)


def _by_notebook(neuron: Neuron, llm: LLM | None) -> Description:
    if llm is None:
        return Description(neuron.neuron, templates.counts(Counter(neuron.tokens), len(neuron.tokens)), "counts")
    prompt, answer = notebook.ask(llm, neuron.tokens)
    description = " ".join(answer.split()) or templates.counts(Counter(neuron.tokens), len(neuron.tokens))
    return Description(neuron.neuron, description, "llm" if answer.strip() else "counts", prompt, answer)


def _failed(neuron: Neuron, vocabulary: Vocabulary, error: Exception) -> Description:
    said = f"failed: {type(error).__name__}: {error}"
    try:
        peaks = find_peaks(neuron, vocabulary)
        plain = templates.counts(peaks.words, peaks.n)
    except Exception:  # the examples themselves are damaged
        plain = f"not described ({' '.join(said.split())[: 2 * MAX_CHARS]})"
    return Description(neuron.neuron, plain, "counts", answer=said)
