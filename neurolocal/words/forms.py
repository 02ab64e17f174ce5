"""Forms: what words share by their letters alone (beginning, ending, length, capitals), and the p value of that.

A form is written as one string: `begin un`, `end ing`, `length 4`, `capital first`, `capital all`. Words without
letters have the form of their characters: `digits`, `symbols`, `space`.
Invariant: a function of the words as they stand in the text; case matters for capitals only. Random words often share
`-s` and seldom `-tion`, so the share of a neuron's words with a form is compared with the rate of that form among
words of the corpus of the same frequency.
Cost: `FormRates` makes one pass over the distinct words of the corpus; then a neuron's p is O(forms of its words), and
the null of each frequency profile is computed once.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

LONGEST = 5
"""Most letters of a beginning or ending."""

FEWEST = 3
"""Fewest words that can share a form: with two, a form and one word in two spellings look the same."""


class Shared(NamedTuple):
    """The form of a set of words with the smallest tail probability."""

    form: str
    """As `forms` names it; empty where there are fewer than `FEWEST` words."""
    share: float
    """Share of the words that have it; NaN where there is none."""
    p: float
    """Probability that as many random words share some form this improbable; NaN for fewer than `FEWEST` words."""


def forms(word: str) -> list[str]:
    """Every form of a word, given as it stands in the text."""
    kind = characters(word)
    if kind is not None:
        return [kind]
    folded = unicodedata.normalize("NFKC", word).casefold()
    found = [f"length {len(folded)}"]
    for n in range(1, min(LONGEST, len(folded) - 1) + 1):
        found += [f"begin {folded[:n]}", f"end {folded[-n:]}"]
    if len(word) > 1 and word.isupper():
        found.append("capital all")
    elif word[:1].isupper():
        found.append("capital first")
    return found


def has_form(word: str, form: str) -> bool:
    """Whether the word has the form."""
    return form in forms(word)


def spelling(word: str) -> str:
    """The key that all spellings of a word share: NFKC, case-folded, without a possessive ending."""
    folded = unicodedata.normalize("NFKC", word).casefold().replace("’", "'")
    return folded.removesuffix("'s") or folded


def characters(word: str) -> str | None:
    """`space`, `symbols` or `digits` for a word without letters; None for one with letters."""
    if any(c.isalpha() for c in word):
        return None
    if not word.strip():
        return "space"
    return "digits" if any(c.isdigit() for c in word) else "symbols"


class FormRates:
    """The rate of each form among the running words of a corpus, by word frequency."""

    BANDS = 3
    """Frequency bands of equal width in log count: frequent words are short, rare ones often capitalised."""

    GROUPS_PER_OCTAVE = 4
    """Groups of forms with about one rate, for each factor of 2 in the rate; a group is computed once."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        """Count the forms. `counts`: occurrences of each word of the corpus, as it stands in the text."""
        self._counts = counts
        self._top = np.log(max(counts.values(), default=1)) + 1e-9
        weight: list[dict[str, int]] = [defaultdict(int) for _ in range(self.BANDS)]
        for word, count in counts.items():
            # By occurrences, since a neuron sees a word as often as it occurs.
            own = weight[self._band(word)]
            for form in forms(word):
                own[form] += count
        total = np.zeros(self.BANDS)
        np.add.at(total, [self._band(word) for word in counts], list(counts.values()))
        self._place = {form: i for i, form in enumerate(dict.fromkeys(f for own in weight for f in own))}
        counted = [[own.get(form, 0) for own in weight] for form in self._place]
        self._rates = np.array(counted, dtype=np.float64).reshape(-1, self.BANDS) / np.maximum(total, 1)
        self._nulls: dict[tuple[int, ...], _Null] = {}

    def _band(self, word: str) -> int:
        return int(self.BANDS * np.log(max(self._counts.get(word, 1), 1)) / self._top)

    def shared(self, words: Iterable[str]) -> Shared:
        """The form that the words share most beyond chance; of equal tails the longest.

        The tail of a form is the probability that k or more of n random words have it: binomial with the mean rate over
        the words' frequency bands, which is never less than the exact tail above the mean (Hoeffding 1956). p is the
        sum, over all forms of the corpus, of the largest tail that the form can attain at or under the smallest tail
        seen (Tarone 1990), so p accounts for the thousands of forms that could have been shared.
        """
        chosen = list({spelling(word): word for word in reversed(list(words))}.values())[::-1]
        if len(chosen) < FEWEST:
            return Shared("", float("nan"), float("nan"))
        having = Counter(form for word in chosen for form in forms(word))
        candidates = [form for form, k in having.items() if k >= 2 and form in self._place]
        if not candidates:
            return Shared("", float("nan"), 1.0)
        profile = np.bincount([self._band(word) for word in chosen], minlength=self.BANDS)
        null = self._null(profile)
        rates = self._mean_rates(profile, [self._place[form] for form in candidates])
        tails = [null.tail(rate, having[form]) for rate, form in zip(rates.tolist(), candidates, strict=True)]
        best = min(range(len(candidates)), key=lambda i: (tails[i], -len(candidates[i]), candidates[i]))
        return Shared(candidates[best], having[candidates[best]] / len(chosen), null.p(tails[best]))

    def _null(self, profile: Int64[np.ndarray, "band"]) -> _Null:
        key = tuple(profile.tolist())
        if key not in self._nulls:
            self._nulls[key] = _Null(self._mean_rates(profile, slice(None)), int(profile.sum()))
        return self._nulls[key]

    def _mean_rates(self, profile: Int64[np.ndarray, "band"], forms: Any) -> Float64[np.ndarray, "form"]:
        # Not a matrix product: it rounds differently for a subset of forms, and a form must stay in its group.
        return (self._rates[forms] * profile).sum(axis=1) / profile.sum()


class _Null:
    """The tails of n random words of one frequency profile: bytes in proportion to groups x n, not to forms."""

    def __init__(self, rate: Float64[np.ndarray, "form"], n: int) -> None:
        from scipy.stats import binom

        self._groups, self._size = np.unique(_octave(rate), return_counts=True)
        # Column k: k + 2 words. The rate is the upper edge of the group, so no tail is too small.
        edge = np.minimum(2.0 ** (self._groups / FormRates.GROUPS_PER_OCTAVE), 1.0)
        self._tails = binom.sf(np.arange(1, n)[None], n, edge[:, None])

    def tail(self, rate: float, k: int) -> float:
        """Probability that k or more of the words have a form of this rate."""
        return float(self._tails[np.searchsorted(self._groups, _octave(np.array([rate]))[0]), k - 2])

    def p(self, tail: float) -> float:
        """Probability that some form has a tail this small."""
        attained = np.where(self._tails <= tail * (1 + 1e-9), self._tails, 0.0).max(axis=1)
        return min(1.0, float(self._size @ attained))


def _octave(rate: Float64[np.ndarray, "form"]) -> Int64[np.ndarray, "form"]:
    """The group of each rate: log2 in steps of 1 / `GROUPS_PER_OCTAVE`, rounded up."""
    return np.ceil(FormRates.GROUPS_PER_OCTAVE * np.log2(np.maximum(rate, 1e-9))).astype(np.int64)
