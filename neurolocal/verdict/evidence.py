"""The evidence of one neuron, gathered from the tables of a layer.

Invariant: a figure that was not measured is NaN (`known`: None), and never counts as evidence. Cost: O(neurons).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from neurolocal.meanings.table import MeaningsTable
from neurolocal.records import PerturbationTable, SimilarityTable, Statistics
from neurolocal.words.forms import characters, spelling


@dataclass(frozen=True)
class Evidence:
    """All figures of one neuron; NaN where a figure was not measured."""

    words: Mapping[str, int]
    """Peak words, as they stand in the text, with the number of examples."""
    count: int
    """Positions counted; of an expert's neuron, those that were routed to the expert."""
    finite: int
    """Of these, with a finite activation."""
    magnitude: float
    """Largest |activation|; 0 where there is none."""
    z: float = nan
    """z of the coherence of the peak words against random words."""
    coherence_q: float = nan
    """Its q value over the layer."""
    known: int | None = None
    """Distinct peak words that have a vector; None where similarity did not measure the neuron."""
    form: str = ""
    """The form that the words share most beyond chance, in the notation of `neurolocal.words.forms`."""
    form_share: float = nan
    """Share of the words that have it."""
    form_q: float = nan
    """Its q value over the layer."""
    half: float = nan
    """Share of neighbours that keep half of the activation."""
    control_half: float = nan
    """Share of controls that keep half."""
    perturbation_q: float = nan
    """q value over the layer of neighbours against controls."""
    form_half: float = nan
    """Share of other capitals and spacings of the word that keep half."""
    spelled_half: float = nan
    """Share of random words with the shared form that keep half."""
    elsewhere_half: float = nan
    """Share of other contexts in which the word keeps half."""
    around: float = nan
    """Share of the positions around the peaks that keep half."""
    asked: bool = False
    """Whether perturbation was run on the layer."""
    listed: bool = False
    """Whether it was run on the neuron, and not omitted by the screen."""
    parts: tuple[str, ...] = ()
    """Its meanings, where it has several: the commonest words of each, with its number of examples."""
    expert: bool = False
    """Whether the neuron is one of an expert's."""

    @property
    def tested(self) -> bool:
        """Whether all figures of perturbation are there."""
        return isfinite(self.half) and isfinite(self.control_half) and isfinite(self.perturbation_q)


def gather(
    statistics: Statistics,
    similarity: SimilarityTable | None,
    perturbation: PerturbationTable | None,
    peaks: Sequence[Mapping[str, int]],
    routed: Int64[np.ndarray, "neuron"] | None = None,
    around: Float64[np.ndarray, "neuron"] | None = None,
    meanings: MeaningsTable | None = None,
) -> list[Evidence]:
    """The evidence of every neuron of a layer, in neuron order.

    `peaks[neuron]` maps the neuron's peak words to their number of examples. The tables may hold any of the neurons, in
    any order. `routed` are the positions routed to each neuron's expert; None for a layer without experts. `around` is
    what `kept_around` gives.
    """
    finite = statistics.count - statistics.nonfinite
    magnitude = np.maximum(np.abs(statistics.minimum), np.abs(statistics.maximum)).astype(np.float64)
    magnitude = np.where(finite > 0, magnitude, 0.0)
    of_similarity = _row_of(similarity)
    of_perturbation = _row_of(perturbation)
    parts = _parts(meanings)
    gathered = []
    for neuron, words in enumerate(peaks):
        figures: dict[str, Any] = {}
        if similarity is not None and (i := of_similarity.get(neuron)) is not None:
            figures = {name: float(getattr(similarity, column)[i]) for name, column in _OF_SIMILARITY.items()}
            figures |= {"known": int(similarity.n_known[i]), "form": similarity.form[i]}
        if perturbation is not None and (i := of_perturbation.get(neuron)) is not None:
            figures |= {name: float(getattr(perturbation, column)[i]) for name, column in _OF_PERTURBATION.items()}
            figures["listed"] = True
        figures |= {"asked": perturbation is not None, "expert": routed is not None}
        figures["around"] = nan if around is None else float(around[neuron])
        figures["parts"] = tuple(parts.get(neuron, ()))
        count = statistics.count if routed is None else int(routed[neuron])
        gathered.append(Evidence(words, count, int(finite[neuron]), float(magnitude[neuron]), **figures))
    return gathered


_OF_SIMILARITY = {"z": "z", "coherence_q": "q", "form_share": "form_share", "form_q": "form_q"}
_OF_PERTURBATION = {
    "perturbation_q": "q",
    **{name: name for name in ("half", "control_half", "form_half", "spelled_half", "elsewhere_half")},
}
"""Fields of `Evidence` and the columns that they come from."""


def _parts(meanings: MeaningsTable | None) -> dict[int, list[str]]:
    """Neuron -> its parts, each as its three commonest words with the number of its examples."""
    found: dict[int, list[str]] = {}
    if meanings is not None:
        parts = meanings.parts
        for neuron, words, n in zip(parts.neuron.tolist(), parts.words, parts.n_examples.tolist(), strict=True):
            found.setdefault(neuron, []).append(f"{', '.join(words.splitlines()[:3])} ({n})")
    return found


def _row_of(table: SimilarityTable | PerturbationTable | None) -> dict[int, int]:
    return {} if table is None else {int(neuron): i for i, neuron in enumerate(table.neuron)}


def without_letters(words: Mapping[str, int], share: float) -> str | None:
    """`white space`, `punctuation` or `digits` where at least that share of the examples peaks on it, with counts.

    None where no kind has that share, and for a single distinct word.
    """
    total = sum(words.values())
    for kind, name in (("space", "white space"), ("symbols", "punctuation"), ("digits", "digits")):
        n = sum(count for word, count in words.items() if characters(word) == kind)
        if len(words) > 1 and n >= share * total:
            return f"{name} in {n} of {total} examples"
    return None


def is_closed(words: Mapping[str, int]) -> bool:
    """Whether the examples come back to few words: at most half as many as examples, spellings counted once."""
    return 0 < 2 * len({spelling(word) for word in words}) <= sum(words.values())


class RepeatedWord(NamedTuple):
    """The word with the most examples, all its spellings counted together."""

    word: str
    """What its spellings share, as `neurolocal.words.forms.spelling` gives it."""
    n: int
    """Examples on it."""
    total: int
    """Examples of the neuron."""
    spellings: int
    """Distinct spellings among the examples."""


def repeated_word(words: Mapping[str, int], share: float) -> RepeatedWord | None:
    """The commonest word, where it has at least that share of the examples; ties by alphabet."""
    total = sum(words.values())
    if not total:
        return None
    families: Counter[str] = Counter()
    for word, count in words.items():
        families[spelling(word)] += count
    stem, n = min(families.items(), key=lambda item: (-item[1], item[0]))
    if n < share * total:
        return None
    return RepeatedWord(stem, n, total, sum(1 for word in words if spelling(word) == stem))
