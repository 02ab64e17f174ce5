"""Simulation: how strongly would a neuron with this description fire at each token of a text?

The LLM reads the description and the text, one token a line, each followed by `unknown` (all tokens at once, as in the
faster variant of Bills et al. 2023, "Language models can explain neurons in language models"). The probabilities of the
digits where `unknown` begins give the expected activation, from 0 to 10. It is compared with the real activations by
Pearson's correlation and the cosine, over texts in their natural proportion: over top and random texts in equal parts
both miss false labels (NeuronEval, ICML 2025).

Invariant: a text's expected activations depend on the LLM, the description and the text alone, to rounding. Cost: one
evaluation of about 4 LLM tokens for each token of a text and each description; the figures take sums of each text, so
that a bootstrap draw costs O(texts).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float64

from neurolocal.llm import LLM, Prompt, next_log_probabilities

MOST = 10.0
"""Expected activation of a token at which the neuron is certain to fire."""

CASES: tuple[tuple[str, str, dict[str, int]], ...] = (
    ("furniture", "He sat down at the old table and opened the letter that had come", {"table": 9}),
    ("verbs of cooking", "They could not remember who had written it , nor when", {}),
    ("insects", "A wasp flew into the room , turned round twice above the bread", {"wasp": 9}),
    ("tools", "He took the hammer from the bench and went out to mend the fence", {"hammer": 9, "bench": 3}),
)
"""Solved cases: description, text, digits above 0 by token. 9 is the strongest: of 10 only the first digit is read.

No test and no benchmark may use these groups.
"""

UNKNOWN = "unknown\n"


def _begin(description: str) -> str:
    return f"Neuron: {description}\nActivations:\n"


HEAD = "".join(
    f"{_begin(name)}{''.join(f'{token}{chr(9)}{active.get(token, 0)}{chr(10)}' for token in text.split())}\n"
    for name, text, active in CASES
)
"""What stands before every prompt."""


class Simulator:
    """An LLM that was prepared with `HEAD` as one of its heads."""

    def __init__(self, llm: LLM, *, head: int) -> None:
        self.llm, self.head = llm, head
        self._digits = [llm.tokenize(str(digit), after="\t")[0] for digit in range(10)]

    def expected(self, texts: Sequence[Sequence[str]], description: str) -> list[Float64[np.ndarray, "_"]]:
        """The expected activation, 0 to `MOST`, at each token of each text.

        A digit d stands for d / 9 of `MOST`, since 10 has two tokens in most vocabularies; the solved cases say 9, too.

        Raises:
            LLMError: a text and the description do not fit into the context.
        """
        prompts = [self.prompt(tokens, description) for tokens in texts]
        found = next_log_probabilities(self.llm, prompts, self._digits, head=self.head)
        p = [np.exp(one - one.max(axis=1, keepdims=True)) for one in found]
        return [(one @ np.arange(10.0)) / one.sum(axis=1) * MOST / 9 for one in p]

    def prompt(self, tokens: Sequence[str], description: str) -> Prompt:
        """The tokens of a text, one a line; a digit is wanted before each `unknown`."""
        entries, wanted = self.llm.tokenize(_begin(description), after="\n"), list[int]()
        unknown = self.llm.tokenize(UNKNOWN, after="\t")
        for token in tokens:
            entries += self.llm.tokenize(f"{' '.join(token.split()) or '_'}\t", after="\n")
            wanted.append(len(entries))
            entries += unknown
        return Prompt(entries, wanted)


def sums(
    expected: Float64[np.ndarray, "pos"], real: Float64[np.ndarray, "pos"], weight: float
) -> Float64[np.ndarray, "6"]:
    """Weighted sums of a text over the tokens whose activation is known: 1, x, y, x x, y y, x y; they add up."""
    there = ~np.isnan(real)
    x, y = expected[there], real[there]
    return weight * np.array([len(x), x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum()], np.float64)


def pearson(total: Float64[np.ndarray, "6"]) -> float:
    """Pearson's correlation; NaN where one side does not vary."""
    n, x, y, xx, yy, xy = total.tolist()
    spread = max(n * xx - x * x, 0.0) * max(n * yy - y * y, 0.0)
    if spread <= 1e-12 * (n * xx) * (n * yy):  # rounding of a side that does not vary
        return float("nan")
    return float((n * xy - x * y) / np.sqrt(spread))


def cosine(total: Float64[np.ndarray, "6"]) -> float:
    """Cosine of the activations; NaN where one side is 0 everywhere."""
    *_, xx, yy, xy = total.tolist()
    return float(xy / np.sqrt(xx * yy)) if xx * yy > 0 else float("nan")


CONSTANT = "expected or real activations do not vary in these texts"

FIGURES: dict[str, Callable[[np.ndarray], float]] = {"pearson": pearson, "cosine": cosine}
"""The figures of sums."""


def interval(
    figure: Callable[[np.ndarray], float],
    texts: Float64[np.ndarray, "text 6"],
    fires: Bool[np.ndarray, "text"],
    *,
    draws: int,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """95 % percentile interval over bootstrap draws, firing and silent texts each drawn as often as there are."""
    kinds = [np.flatnonzero(fires), np.flatnonzero(~fires)]
    found = []
    for _ in range(draws):
        i = np.concatenate([kind[rng.integers(len(kind), size=len(kind))] if len(kind) else kind for kind in kinds])
        found.append(figure(texts[i].sum(axis=0)))
    low, high = np.nanquantile(found, [0.025, 0.975]) if not np.isnan(found).all() else (np.nan, np.nan)
    return float(low), float(high)
