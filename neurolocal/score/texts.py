"""Which texts a description is judged by: what of a neuron's own the score half holds, and random text.

The corpus is cut into texts of `SIZE` tokens. A neuron's are drawn in four strata: texts of the score half's examples;
random texts in which it fires; random ones in which it is silent although a word stands there on which it peaks (near
misses); and other silent ones. Each drawn text stands for `weight` of the corpus, so that what is measured can be said
of texts in their natural proportion, too.

Invariant: of the sample's rows every fourth scores, the others explain; a row that holds an explaining example
of the neuron is never among its scoring texts, and a row of a scoring example never explains.
Cost: milliseconds a neuron; the random rows are run through the subject once a layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int64, Integer

from neurolocal.records import FIRING, SILENT, Example, Sample
from neurolocal.words import Vocabulary
from neurolocal.words.marked import AFTER, BEFORE, marked, one_line

SIZE = 26
"""Tokens of a text: a sentence or two, so that asking about it is cheap."""

Stratum = Literal["example", "fires", "near", "random"]


@dataclass(frozen=True)
class Text:
    """A text to ask about."""

    stratum: Stratum
    row: int
    """Row index in the corpus."""
    start: int
    """Position in the row of its first token."""
    text: str
    """As it is shown: on one line."""
    fires: bool
    """Whether the neuron does in it."""
    weight: float
    """Texts of the corpus that it stands for."""


@dataclass(frozen=True)
class Marked:
    """A text with one word marked."""

    row: int
    position: int
    """Of the marked word's first token in the row."""
    text: str
    """With `<<word>>`, on one line."""
    fires: bool
    """Whether the neuron fires at that word."""


@dataclass(frozen=True)
class RandomRows:
    """Rows drawn at random and run through the subject, with the activations of some neurons."""

    index: Int64[np.ndarray, "row"]
    tokens: Sequence[Integer[np.ndarray, "pos"]]
    activations: Mapping[int, Sequence[Float32[np.ndarray, "pos"]]]
    """By neuron, row by row; NaN where a position does not count."""

    def of(
        self, neuron: int, examples: Sequence[Example]
    ) -> Iterator[tuple[int, Integer[np.ndarray, "_"], Float32[np.ndarray, "_"]]]:
        """(row, tokens, activations) of the rows that hold no example of the neuron."""
        own = {e.row for e in examples}
        for row, tokens, values in zip(self.index.tolist(), self.tokens, self.activations[neuron], strict=True):
            if row not in own:
                yield row, tokens, values


def scoring_rows(sample: Sample, most: int, *, seed: int) -> Int64[np.ndarray, "row"]:
    """Rows that score, at most so many, drawn at random, ascending."""
    return np.sort(np.random.default_rng(seed).permutation(sample.scoring_rows)[:most])


def draw(
    examples: Sequence[Example],
    random: Sequence[tuple[int, Integer[np.ndarray, "_"], Float32[np.ndarray, "_"]]],
    vocabulary: Vocabulary,
    *,
    row: Mapping[int, Integer[np.ndarray, "pos"]],
    most: float,
    each: int,
    n_texts: int,
    rng: np.random.Generator,
) -> list[Text]:
    """The texts of a neuron, at most `each` of a stratum.

    Args:
        examples: its list, all ranks; texts come from the odd ones, peak tokens of near misses from the even ones.
        random: (row, tokens, activations) of random rows without an example.
        vocabulary: the tokens' text.
        row: the whole rows of the odd ranks.
        most: the strongest explaining activation.
        each: texts a stratum.
        n_texts: texts of the whole corpus.
        rng: of the choice.
    """
    fire = [e for e in examples if e.activation / most >= FIRING]
    own = [e for e in fire if e.rank % 2 == 1]
    chosen = [own[i] for i in np.sort(rng.permutation(len(own))[:each])]
    found = [_of_example(e, row[e.row], vocabulary, len(fire) / len(chosen)) for e in chosen]
    peaks = np.unique([int(e.tokens[e.peak]) for e in examples if e.rank % 2 == 0])
    strata: dict[Stratum, list[tuple[int, int, np.ndarray]]] = {"fires": [], "near": [], "random": []}
    for index, tokens, values in random:
        for start in starts(len(tokens)):
            part, active = tokens[start : start + SIZE], values[start : start + SIZE] / most
            fires = bool((active >= FIRING).any())  # NaN is not
            stratum: Stratum = "fires" if fires else "near" if np.isin(part, peaks).any() else "random"
            strata[stratum].append((index, start, part))
    drawn_from = sum(map(len, strata.values()))
    for stratum, texts in strata.items():
        some = [texts[i] for i in np.sort(rng.permutation(len(texts))[:each])]
        weight = n_texts / max(drawn_from, 1) * len(texts) / max(len(some), 1)
        found += [Text(stratum, r, s, one_line(vocabulary, t), stratum == "fires", weight) for r, s, t in some]
    return [t for t in found if t.text]


def marks(
    examples: Sequence[Example], vocabulary: Vocabulary, *, most: float, each: int, rng: np.random.Generator
) -> list[Marked]:
    """Of the odd ranks' windows, each twice: its peak marked, and a word marked at which the neuron is silent.

    A window that holds `<<` or `>>` of its own (shifts, templates of C++) is left out.
    """
    found: list[Marked] = []
    own = [e for e in examples if e.rank % 2 == 1 and e.activation / most >= FIRING]
    for e in own[:each]:
        words = vocabulary.row_words(e.tokens)
        peak = words[e.peak]
        active = e.activations / most
        low, high = max(0, e.peak - BEFORE), min(len(e.tokens), e.peak + AFTER + 1)
        silent = {
            (w.start, w.end)
            for i in range(low, high)
            if active[i] < SILENT
            for w in [words[i]]
            if low <= w.start and w.end <= high and any(c.isalpha() for c in w.text)
            if w.text.casefold() != peak.text.casefold() and (active[w.start : w.end] < SILENT).all()
        }
        if not silent:
            continue
        wrong, pair = sorted(silent)[int(rng.integers(len(silent)))], list[Marked]()
        for (start, end), fires in (((peak.start, peak.end), True), (wrong, False)):
            text = marked(e.tokens, start, end, min(low, start), max(high, end), vocabulary)
            pair.append(Marked(e.row, e.start + start, text, fires))
        if all(m.text.count("<<") == m.text.count(">>") == 1 for m in pair):
            found += pair
    return found


def _of_example(e: Example, tokens: np.ndarray, vocabulary: Vocabulary, weight: float) -> Text:
    start = max((s for s in starts(len(tokens)) if s <= e.position), default=0)
    return Text("example", e.row, start, one_line(vocabulary, tokens[start : start + SIZE]), True, weight)


def starts(length: int) -> range:
    """Where the texts of a row begin; a row shorter than one is one."""
    return range(0, max(length - SIZE + 1, 1), SIZE)
