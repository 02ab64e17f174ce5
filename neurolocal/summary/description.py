"""The description of a neuron, from the even ranks of its examples.

Default method: where the counts prove a description (one word, a closed class, punctuation) no LLM is asked. Otherwise
the LLM and the word vectors propose names, and the LLM chooses; where no name explains the words, the description is a
rule of spelling or the commonest words.

Invariant: a description depends on its neuron, the config, the LLM and the vectors alone, so an interrupted run can
resume; a neuron that fails gets a note, and the others are not affected. Cost: see `judge`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from neurolocal.config import SummaryConfig
from neurolocal.llm import LLM
from neurolocal.meanings.described import parts_text
from neurolocal.records import Neuron, SummaryTable
from neurolocal.summary import notebook, templates
from neurolocal.summary.categories import Categories, WordVectors
from neurolocal.summary.judge import Candidate, Judge, Proposal
from neurolocal.summary.peaks import MAX_CHARS, PeakWords, find_peaks
from neurolocal.words import Vocabulary

NEAREST = 10
"""Number of names that the vectors propose."""

LEAST = -0.5
"""Lowest score of an accepted name. Seen with SmolLM2: right names 0.5 to 6, the best name of unrelated words -2."""

SURE = 1.0
"""Score from which a name is preferred to a rule of spelling that also holds."""

COVER = 0.6
"""Share of the words that a name must explain, and share of the examples that must peak on a word.

Seen on real neurons without this limit: "importance" for `American trusting wetag quality`, "verbs of returning" for
`{ 0 return`.
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
    """The whole prompt."""
    answer: str = ""
    """The LLM's raw answers, one a line."""
    gain: float = math.nan
    """As `judge.Candidate.gain`, in nats a token; NaN where it was not measured."""
    candidates: str = ""
    """One a line, best first: name, tab, score."""
    said: str = ""
    """A note of what failed or was left out; empty where nothing was."""
    parts: str = ""
    """Of a neuron with several meanings each of them, a line each: number, tab, description; empty for the others."""


class Describer:
    """Describes neurons, one at a time."""

    def __init__(
        self, llm: LLM | None, *, vocabulary: Vocabulary, config: SummaryConfig, vectors: WordVectors | None = None
    ) -> None:
        """Without an LLM a description names the commonest words, and its source is `counts`."""
        self.llm, self.vocabulary, self.config = llm, vocabulary, config
        self._judge = Judge(llm, config) if llm is not None and config.method == "default" else None
        self._categories = Categories(vectors) if self._judge is not None and vectors is not None else None

    def describe(self, neuron: Neuron) -> Description:
        """The description of a neuron; whatever fails on its text is in its note."""
        try:
            if self.config.method == "notebook":
                return _by_notebook(neuron, self.llm)
            return self._by_default(neuron)
        except Exception as error:
            return _failed(neuron, self.vocabulary, error)

    def describe_parts(self, neuron: Neuron, parts: Mapping[int, int]) -> Description:
        """The description of each meaning by itself, and of the neuron by all of them.

        A meaning whose examples are all of odd ranks, which explain nothing, is left out.

        Args:
            neuron: with all of its examples.
            parts: rank of an example -> its meaning, from 1 on; examples in none are not described.
        """
        found: dict[int, Description] = {}
        for part in sorted({part for rank, part in parts.items() if rank % 2 == 0}):
            examples = [e for e in neuron.examples if parts.get(e.rank) == part]
            found[part] = self.describe(replace(neuron, examples=examples))
        if not found:
            return self.describe(neuron)
        each = list(found.values())
        sources = sorted({one.source for one in each}, key=["llm", "vectors", "counts"].index)
        joined = {
            name: between.join(text for one in each if (text := getattr(one, name)))
            for name, between in (("prompt", "\n\n"), ("answer", "\n"), ("candidates", "\n"), ("said", "; "))
        }
        gains = [one.gain for one in each]
        return Description(
            neuron.neuron, "; ".join(dict.fromkeys(one.description for one in each)), sources[0], **joined,
            gain=sum(gains) / len(gains), parts=parts_text({k: one.description for k, one in found.items()}),
        )  # fmt: skip

    def _by_default(self, neuron: Neuron) -> Description:
        peaks = find_peaks(neuron, self.vocabulary)
        plain = Description(neuron.neuron, templates.top_words(peaks.words), "counts")
        if self._judge is None or not peaks.n:
            return plain
        if sure := templates.certain(peaks):
            return plain._replace(description=sure)
        words = [w for w in [*peaks.distinct, *peaks.held] if templates.LETTERS.search(w)]
        lettered = sum(peaks.words[w] for w in peaks.words if templates.LETTERS.search(w)) >= COVER * peaks.n
        own = self._judge.describe(neuron, peaks, self.vocabulary) if self._judge.describes else None
        if not lettered:
            return plain if own is None else _without_words(plain, own)
        listed = self._judge.propose(words)
        near = self._categories.nearest(words, NEAREST) if self._categories else []
        candidates = self._judge.choose([*(own.names if own else []), *listed.names, *near], words)
        return _decide(plain, peaks, [p for p in (own, listed) if p is not None], candidates)


def describe(
    neurons: Sequence[Neuron],
    llm: LLM | None,
    *,
    vocabulary: Vocabulary,
    config: SummaryConfig,
    vectors: WordVectors | None = None,
    done: Callable[[Description], None] | None = None,
) -> SummaryTable:
    """Describe neurons from the even ranks of their examples, in the given order; see `Describer`.

    `done` receives the row of each neuron as soon as it is made.
    """
    describer, rows = Describer(llm, vocabulary=vocabulary, config=config, vectors=vectors), []
    for neuron in neurons:
        rows.append(describer.describe(neuron))
        if done is not None:
            done(rows[-1])
    return table(rows)


def table(rows: Sequence[Description]) -> SummaryTable:
    """The rows as the stage's table, in the given order."""
    return SummaryTable(
        neuron=np.array([r.neuron for r in rows], dtype=np.int64),
        description=[r.description for r in rows],
        source=[r.source for r in rows],
        prompt=[r.prompt for r in rows],
        answer=[r.answer for r in rows],
        gain=np.array([r.gain for r in rows], dtype=np.float32),
        candidates=[r.candidates for r in rows],
        said=[r.said for r in rows],
        parts=[r.parts for r in rows],
    )


def _decide(
    plain: Description, peaks: PeakWords, proposals: Sequence[Proposal], candidates: Sequence[Candidate]
) -> Description:
    """The best candidate where it explains the words; else a rule of spelling, the LLM's own description, or words."""
    rule = templates.spelling(peaks.distinct)
    row = plain._replace(
        prompt="\n\n".join(p.prompt for p in proposals),
        answer="\n".join(a for p in proposals for a in p.answers),
        candidates="\n".join(f"{c.name}\t{c.score:.3f}" for c in candidates),
        said="; ".join(p.note for p in proposals if p.note),
    )
    best = candidates[0] if candidates else None
    if best is not None and best.share >= COVER and best.score >= (SURE if rule else LEAST):
        own = any(best.name in p.names for p in proposals)
        return row._replace(description=best.name, source="llm" if own else "vectors", gain=best.gain)
    if rule:
        return row._replace(description=rule)
    own_names = proposals[0].names if len(proposals) > 1 else []
    return row._replace(description=own_names[0], source="llm") if own_names else row


def _without_words(plain: Description, own: Proposal) -> Description:
    """The LLM's own description of a neuron that fires on few words, such as punctuation; it cannot be compared."""
    row = plain._replace(prompt=own.prompt, answer="\n".join(own.answers), said=own.note)
    return row._replace(description=own.names[0], source="llm") if own.names else row


def _by_notebook(neuron: Neuron, llm: LLM | None) -> Description:
    if llm is None:
        return Description(neuron.neuron, templates.top_words(Counter(neuron.tokens)), "counts")
    prompt, answer = notebook.ask(llm, neuron.tokens)
    description = " ".join(answer.split()) or templates.top_words(Counter(neuron.tokens))
    source, said = ("llm", "") if answer.strip() else ("counts", "the answer was empty")
    return Description(neuron.neuron, description, source, prompt, answer, said=said)


def _failed(neuron: Neuron, vocabulary: Vocabulary, error: Exception) -> Description:
    said = f"failed: {type(error).__name__}: {error}"
    try:
        peaks = find_peaks(neuron, vocabulary)
        plain = templates.top_words(peaks.words)
    except Exception:  # the examples themselves are damaged
        plain = f"not described ({' '.join(said.split())[: 2 * MAX_CHARS]})"
    return Description(neuron.neuron, plain, "counts", said=said)
