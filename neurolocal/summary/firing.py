"""When will a neuron fire? Its pattern, fitted to the explaining examples, against plain look-up tables; no LLM.

A neuron fires where its activation is at least half of its largest explaining example's. Three ways to say where, all
fitted to the windows of the even ranks (law 5), after the baselines of Neuron2Graph (Foote et al., 2023):

- token look-up: where a token stands that fired in a window;
- n-gram look-up: where the last n tokens are ones at whose end it fired in a window;
- the pattern: the longest known ending of up to `LONGEST` tokens decides, by whether it fired more often than not;
  what perturbation saw of single tokens in other contexts counts for these tokens, and a substitute that fired in an
  example's place is known too.

Invariant: whatever has an odd rank is dropped before anything else sees it. Cost: some 2 us a position.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Integer

from neurolocal.records import Example, SubstituteTable

LONGEST = 5
"""Tokens of the longest ending that is remembered, the firing one included."""

SHARE = 0.5
"""Of the activation of the strongest explaining example: from here on a neuron fires."""

TRIED = frozenset({"neighbour", "variant", "form", "spelled", "reach", "elsewhere"})
"""Kinds of substitutes that stand in a running text and are no controls."""

Ending = tuple[int, ...]
"""The last tokens up to a position, that one included."""


@dataclass(frozen=True)
class Seen:
    """Endings of the explaining windows, and how often the neuron fired there."""

    threshold: float
    """Activation from which it fires."""
    fired: Counter[Ending]
    """By ending of 1 to `LONGEST` tokens."""
    silent: Counter[Ending]
    """The same where it did not fire."""


@dataclass(frozen=True)
class Score:
    """Predicted against real firing; adds up over rows."""

    right: int
    """Positions where it was said to fire, and does."""
    wrong: int
    """Positions where it was said to fire, and doesn't."""
    missed: int
    """Positions where it fires, and was not said to."""

    @property
    def precision(self) -> float:
        """Share of the predicted that fire; 0 where none was predicted."""
        return self.right / max(self.right + self.wrong, 1)

    @property
    def recall(self) -> float:
        """Share of the firing that were predicted; NaN where it never fires."""
        real = self.right + self.missed
        return self.right / real if real else float("nan")

    @property
    def f1(self) -> float:
        """2 right / (predicted + firing); NaN where it never fires."""
        return (
            2 * self.right / (2 * self.right + self.wrong + self.missed) if self.right + self.missed else float("nan")
        )


def seen(examples: Sequence[Example]) -> Seen:
    """What the even ranks' windows show; ValueError where no even rank has a positive activation."""
    explain = [e for e in examples if e.rank % 2 == 0]
    threshold = SHARE * max((e.activation for e in explain), default=0.0)
    if not threshold > 0:
        raise ValueError("no explaining example with a positive activation: nothing to predict")
    fired: Counter[Ending] = Counter()
    silent: Counter[Ending] = Counter()
    for example in explain:
        tokens = example.tokens.tolist()
        for i, value in enumerate(example.activations.tolist()):
            if not np.isnan(value):
                count = fired if value >= threshold else silent
                count.update(tuple(tokens[i + 1 - n : i + 1]) for n in range(1, min(LONGEST, i + 1) + 1))
    return Seen(threshold, fired, silent)


def lookup(known: Seen, n: int) -> dict[Ending, bool]:
    """The endings of exactly n tokens at which it fired at least once."""
    return {ending: True for ending in known.fired if len(ending) == n}


def pattern(
    known: Seen, neuron: int, substitutes: SubstituteTable | None, token_ids: Mapping[str, int]
) -> dict[Ending, bool]:
    """Every known ending of 1 to `LONGEST` tokens, and whether it fires there.

    `token_ids` gives the token that a text is, where it is one: substitutes of several tokens are passed over.
    """
    fired, silent = Counter(known.fired), Counter(known.silent)
    if substitutes is not None:
        for i in np.flatnonzero((substitutes.neuron == neuron) & (substitutes.rank % 2 == 0)):
            token = token_ids.get(substitutes.word[i])
            if token is not None and substitutes.kind[i] in TRIED:
                (fired if substitutes.activation[i] >= known.threshold else silent)[token,] += 1
    return {e: fired[e] > silent[e] for e in fired.keys() | silent.keys()}


def predict(rules: Mapping[Ending, bool], tokens: Integer[np.ndarray, "pos"]) -> Bool[np.ndarray, "pos"]:
    """Where a row's longest known ending says that the neuron fires."""
    row, out = tokens.tolist(), np.zeros(len(tokens), dtype=bool)
    last = {ending[-1] for ending, fires in rules.items() if fires}
    for i in (i for i, token in enumerate(row) if token in last):
        for n in range(min(LONGEST, i + 1), 0, -1):
            if (fires := rules.get(tuple(row[i + 1 - n : i + 1]))) is not None:
                out[i] = fires
                break
    return out


def score(
    rules: Mapping[Ending, bool],
    threshold: float,
    rows: Iterable[tuple[Integer[np.ndarray, "pos"], Float32[np.ndarray, "pos"]]],
) -> Score:
    """Rules against the activations of rows: (tokens, activations) each; NaN activations are left out."""
    right = wrong = missed = 0
    for tokens, activations in rows:
        said, real = predict(rules, tokens) & ~np.isnan(activations), activations >= threshold
        right += int((said & real).sum())
        wrong += int((said & ~real).sum())
        missed += int((~said & real).sum())
    return Score(right, wrong, missed)
