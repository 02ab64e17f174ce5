"""What words share by their letters alone: beginnings, endings, length, capitals; and how surprising that is.

A form is written as one string: `begin un`, `end ing`, `length 4`, `capital first`, `capital all`. Words without
letters have the form of their characters: `digits`, `symbols`, `space`.
Invariant: a function of the words as they stand in the text; case matters for capitals only. Random words of the same
frequency share an `-s` often and a `-tion` seldom, so a form counts by how much more of the neuron's words have it than
as many random words of the corpus.
Cost: a corpus's rates one pass over its distinct words (0.4 s for 57,000); a neuron's p some 0.1 ms.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

LONGEST = 5
"""Letters of a beginning or ending, at most."""

FEWEST = 3
"""Words that can share a form: two are too few to tell a form from one word in two spellings."""


class Shared(NamedTuple):
    """The form that a set of words shares most beyond chance."""

    form: str
    """As `forms` names it; empty where there are fewer than `FEWEST` words."""
    share: float
    """Share of the words that have it; NaN where there is none."""
    p: float
    """Probability that as many random words share any form as surprisingly; NaN where there are fewer than `FEWEST`."""


def forms(word: str) -> list[str]:
    """Every form of a word as it stands in the text."""
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
    """What all spellings of a word have in common: compatibility form, case and possessive ending folded away."""
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
    """How often random words of a corpus have each form, by how frequent they are."""

    BANDS = 3
    """Of equal width in log count: frequent words are short, rare ones capitalised."""

    GROUPS_PER_OCTAVE = 4
    """Forms of about one rate are counted together."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        """Count the forms of a corpus's words, as they stand in the text, with their occurrences."""
        self._counts = counts
        self._top = np.log(max(counts.values(), default=1)) + 1e-9
        weight: list[dict[str, int]] = [defaultdict(int) for _ in range(self.BANDS)]
        for word, count in counts.items():
            # Occurrences: a neuron meets words as often as they occur.
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
        """The form that distinct words share most beyond chance; of equally surprising ones the longest.

        A form's tail is the probability that as many of n random words or more have it (binomial, with the mean rate of
        words as frequent; never less than the exact tail above the mean: Hoeffding 1956). p sums, over all forms of the
        corpus, the probability of a tail as small as the smallest one seen, each form counting what it can attain
        (Tarone 1990): two words that share five letters are no news where thousands of beginnings could be shared.
        """
        chosen = list({spelling(word): word for word in reversed(list(words))}.values())[::-1]
        if len(chosen) < FEWEST:
            return Shared("", float("nan"), float("nan"))
        having = Counter(form for word in chosen for form in forms(word))
        tried = [form for form, k in having.items() if k >= 2 and form in self._place]
        if not tried:
            return Shared("", float("nan"), 1.0)
        profile = np.bincount([self._band(word) for word in chosen], minlength=self.BANDS)
        null = self._null(profile)
        rates = self._mean_rates(profile, [self._place[form] for form in tried])
        tails = [null.tail(rate, having[form]) for rate, form in zip(rates.tolist(), tried, strict=True)]
        best = min(range(len(tried)), key=lambda i: (tails[i], -len(tried[i]), tried[i]))
        return Shared(tried[best], having[tried[best]] / len(chosen), null.p(tails[best]))

    def _null(self, profile: Int64[np.ndarray, "band"]) -> _Null:
        key = tuple(profile.tolist())
        if key not in self._nulls:
            self._nulls[key] = _Null(self._mean_rates(profile, slice(None)), int(profile.sum()))
        return self._nulls[key]

    def _mean_rates(self, profile: Int64[np.ndarray, "band"], forms: Any) -> Float64[np.ndarray, "form"]:
        # Not a matrix product, which rounds some forms otherwise than all: a form must stay in its group.
        return (self._rates[forms] * profile).sum(axis=1) / profile.sum()


class _Null:
    """What n random words of one frequency profile share: some 16 kB, whatever the number of forms."""

    def __init__(self, rate: Float64[np.ndarray, "form"], n: int) -> None:
        from scipy.stats import binom

        self._groups, self._size = np.unique(_octave(rate), return_counts=True)
        # Column k is k + 2 words. Of a group the upper edge is taken, so no tail is too small.
        edge = np.minimum(2.0 ** (self._groups / FormRates.GROUPS_PER_OCTAVE), 1.0)
        self._tails = binom.sf(np.arange(1, n)[None], n, edge[:, None])

    def tail(self, rate: float, k: int) -> float:
        """Probability that k or more of the words have a form of that rate."""
        return float(self._tails[np.searchsorted(self._groups, _octave(np.array([rate]))[0]), k - 2])

    def p(self, tail: float) -> float:
        """Probability of a form whose tail is that small."""
        attained = np.where(self._tails <= tail * (1 + 1e-9), self._tails, 0.0).max(axis=1)
        return min(1.0, float(self._size @ attained))


def _octave(rate: Float64[np.ndarray, "form"]) -> Int64[np.ndarray, "form"]:
    """The group of each rate: the parts of an octave that it lies under."""
    return np.ceil(FormRates.GROUPS_PER_OCTAVE * np.log2(np.maximum(rate, 1e-9))).astype(np.int64)
