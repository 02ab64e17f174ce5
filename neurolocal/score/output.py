"""Does a description name what the neuron promotes? Its promoted tokens against those of other neurons.

Input scores ask whether a description fits the texts that activate a neuron; the output score asks whether it fits what
the neuron does (input- and output-based evaluation: Gur-Arieh et al. 2025, "Enhancing Automated Interpretability with
Output-Centric Feature Descriptions").
Invariant: a score depends on the tokens, the description, the seed and the LLM or the vectors alone; the neuron's own
tokens are never among those that it is compared with.
Cost: by vectors one lookup for each distinct token of a layer; by the LLM (1 + `ASKED`) short texts, for two
descriptions each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64

from neurolocal.errors import first_line
from neurolocal.score import embedding
from neurolocal.score.classifier import Classifier
from neurolocal.score.kernel import VectorLookup
from neurolocal.score.rows import ScoreRow
from neurolocal.words import WORD

if TYPE_CHECKING:
    from neurolocal.score.scorer import DescribedNeuron

TOKENS = 10
"""Tokens of a neuron that are looked at, strongest first."""

COMPARED = 200
"""Most other neurons, by vectors."""

ASKED = 19
"""Most other neurons, by the LLM: p can reach 0.05."""

NO_FIT = "no other neuron to compare with, or no word of the description or the tokens has a vector"

Fits = Callable[[Sequence[str], Sequence[Sequence[str]]], Float[np.ndarray, "text description"]]
"""(descriptions, token lists) -> how well each description fits each list; NaN where that is not defined."""


class Share(NamedTuple):
    """How a description compares."""

    value: float
    """Share of the other neurons whose tokens fit less; ties count half. 1 is best, 0.5 is chance."""
    p: float
    """(1 + others that fit at least as well) / (1 + others)."""
    n: int
    """Other neurons."""


def share(fits: Float[np.ndarray, "text"]) -> Share:
    """The neuron's own list, which is the first, against the others; NaN where it or all others have no fit."""
    own, others = float(fits[0]), fits[1:][~np.isnan(fits[1:])]
    if own != own or not len(others):
        return Share(np.nan, np.nan, len(others))
    value = (others < own).mean() + 0.5 * (others == own).mean()
    return Share(float(value), float((1 + (others >= own).sum()) / (1 + len(others))), len(others))


class Outputs:
    """The promoted tokens of a layer's neurons from one source, and the comparisons."""

    def __init__(self, promoted: Mapping[int, Sequence[str]], *, seed: int) -> None:
        """`promoted`: neuron -> texts of its tokens, strongest first."""
        self.promoted = {neuron: list(tokens[:TOKENS]) for neuron, tokens in promoted.items() if tokens}
        self._seed = seed

    def shares(self, neuron: int, descriptions: Sequence[str], fits: Fits, *, most: int) -> list[Share]:
        """Each description against the tokens of other neurons, at most `most`, drawn at random.

        Args:
            neuron: whose tokens are the right ones.
            descriptions: of this neuron, and of others as controls.
            fits: how well descriptions fit lists.
            most: other neurons.
        """
        others = [n for n in self.promoted if n != neuron]
        rng = np.random.default_rng([self._seed, neuron, 2])
        drawn = [others[i] for i in np.sort(rng.permutation(len(others))[:most])]
        lists = [self.promoted[n] for n in (neuron, *drawn)]
        return [share(column) for column in fits(descriptions, lists).T]


class ByVectors:
    """Mean cosine of a list's words with the mean vector of the description's words; each word is looked up once."""

    def __init__(self, vectors: VectorLookup) -> None:
        """Nothing is looked up yet."""
        self._vectors = vectors
        self._unit = lru_cache(1 << 16)(self._found)

    def __call__(
        self, descriptions: Sequence[str], lists: Sequence[Sequence[str]]
    ) -> Float64[np.ndarray, "text description"]:
        """The fits."""
        meanings = [embedding.meaning(d, self._vectors) for d in descriptions]
        fits = np.full((len(lists), len(descriptions)), np.nan)
        for i, tokens in enumerate(lists):
            words = {w.casefold() for token in tokens for w in WORD.findall(token)}
            found = [v for w in sorted(words) for v in [self._unit(w)] if v is not None]
            for j, meaning in enumerate(meanings):
                if found and meaning is not None:
                    mean = meaning.mean(axis=0)
                    fits[i, j] = float(np.mean(np.stack(found) @ mean) / (np.linalg.norm(mean) + 1e-9))
        return fits

    def _found(self, word: str) -> Float32[np.ndarray, "d"] | None:
        return self._vectors.find(word)


class OutputScorer:
    """The output scores of a layer's neurons."""

    def __init__(self, measured: Outputs, direct: Outputs, *, vectors: Fits, llm: Fits | None) -> None:
        """What the neurons promote, measured and by their weights; and who compares. Without `llm` vectors do."""
        self._sources = {"output": measured, "output_direct": direct}
        self._vectors, self._llm = vectors, llm

    def rows(self, one: DescribedNeuron, other: DescribedNeuron | None) -> list[ScoreRow]:
        """The measures of a neuron by each source that has it; `other`'s description is the control.

        The LLM is asked about one source: the measured one, if that has `ASKED` other neurons or there is no second.
        """
        number, against = one.neuron.neuron, -1 if other is None else other.neuron.neuron
        descriptions = [d.description for d in (one, other) if d is not None]
        there = {name: outputs for name, outputs in self._sources.items() if number in outputs.promoted}
        asked = [name for name, outputs in there.items() if len(outputs.promoted) > ASKED] or list(there)
        made = list[ScoreRow]()
        for name, outputs in there.items():
            ways = [(f"{name}_embedding_auc", self._vectors, COMPARED)]
            if self._llm is not None and name == asked[0]:
                ways.append((f"{name}_auc", self._llm, ASKED))
            for measure, fits, most in ways:
                row = ScoreRow(number, measure, np.nan, np.nan, np.nan, np.nan, against, 0, "")
                try:
                    own, *controls = outputs.shares(number, descriptions, fits, most=most)
                except Exception as error:  # whatever fails on these tokens, the other measures are taken
                    made.append(row._replace(said=first_line(error)))
                    continue
                control = controls[0].value if controls else np.nan
                said = "" if own.value == own.value else NO_FIT
                made.append(row._replace(value=own.value, control=control, n=own.n, p=own.p, said=said))
        return made


def by_llm(classifier: Classifier) -> Fits:
    """The LLM's answer for a list of tokens as a text."""

    def fits(descriptions: Sequence[str], lists: Sequence[Sequence[str]]) -> Float64[np.ndarray, "text description"]:
        texts = [", ".join(dict.fromkeys(t.strip() for t in tokens if t.strip())) for tokens in lists]
        return classifier.answers("detection", texts, descriptions)

    return fits
