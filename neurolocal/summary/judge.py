"""An LLM proposes names for a group of words, and chooses among candidates by likelihood.

Asked "What do all these words have in common?" a model of 135M parameters repeats the words. After six solved cases it
names the group or a related one, and it chooses well among candidates by likelihood:

    score = mean over the words of [log P(word | "NAME:") - log P(word | "words:")]  +  0.5 * log P(NAME | the words)

The first term measures how much the name explains. The second measures how natural the name is for these words; it
ranks "vehicles" above "trains". A word that the name itself contains is left out, so that copying the list gains
nothing.

Invariant: the result depends on the words, the config and the LLM alone. Cost: `samples` completions a neuron, and one
prefix with at most `MAX_WORDS` continuations for each candidate; the solved cases are evaluated once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float64

from neurolocal.config import SummaryConfig
from neurolocal.llm import LLM, Generation, complete, log_probabilities
from neurolocal.records import Neuron
from neurolocal.summary import prompt
from neurolocal.summary.peaks import PeakWords
from neurolocal.words import Vocabulary

SHOTS = (
    ("furniture", ("chair", "table", "sofa", "shelf", "desk", "drawer")),
    ("weather", ("rain", "snow", "storm", "wind", "fog", "thunder")),
    ("shapes", ("circle", "square", "triangle", "cube", "oval", "cone")),
    ("insects", ("ant", "bee", "wasp", "beetle", "moth", "fly")),
    ("tools", ("hammer", "saw", "drill", "wrench", "pliers", "axe")),
    ("verbs of cooking", ("bake", "boil", "fry", "roast", "stir", "grill")),
)
"""Solved cases of the prompts. No test and no benchmark may use these groups."""

NEUTRAL = "words"
"""A name without information, to compare with."""

MAX_WORDS = 8
"""Largest number of distinct words that are listed and scored, commonest first: more cost more and change little."""

MAX_NAME = 60
"""Largest number of characters of a description; longer answers are rambling."""

JSON_TOKENS = 40
"""Largest number of tokens of an answer in JSON."""

NATURAL = 0.5
"""Weight of log P(NAME | words)."""

CLIP = (-3.0, 8.0)
"""Limits in nats of one word's gain, so that no single word decides."""

CLEAR = 0.5
"""Gain in nats from which a name explains a word."""

FIND, JUDGE, DESCRIBE = 0, 1, 2
"""The prepared heads: words -> name, name -> words, facts -> JSON."""


@dataclass(frozen=True)
class Proposal:
    """A question to the LLM, with its answers."""

    prompt: str
    """The whole prompt."""
    answers: list[str]
    """Raw answers, the greedy one first."""
    names: list[str]
    """Those that can serve as a description."""
    note: str = ""
    """Contexts that were left out, and answers that were empty or repeated themselves; empty where nothing was."""


@dataclass(frozen=True)
class Candidate:
    """A name with its scores."""

    name: str
    """The description."""
    score: float
    """The score of the module docstring; candidates are compared by it."""
    gain: float
    """How much more probable it makes the words than `NEUTRAL` does, in nats a token."""
    share: float
    """Share of the words whose gain is at least `CLEAR`."""


class Judge:
    """An LLM whose prompt heads are evaluated once."""

    def __init__(self, llm: LLM, config: SummaryConfig) -> None:
        self.llm, self.config = llm, config
        shots = list(SHOTS)
        heads = _heads(shots)
        # Two thirds of the context are kept for the neuron's own words; a small context gets fewer solved cases.
        while len(shots) > 1 and sum(len(llm.tokenize(h)) for h in heads) > llm.n_ctx // 3:
            shots.pop()
            heads = _heads(shots)
        self._find = heads[FIND]
        self.describes = llm.chats
        """Whether the LLM is also asked for a description in its own words."""
        self._parts = llm.chat_parts() if self.describes else None
        describe = [*(self._parts[0] if self._parts else []), *llm.tokenize(prompt.INSTRUCTIONS, after="")]
        llm.prepare([*heads, describe] if self.describes else heads)

    def propose(self, words: Sequence[str]) -> Proposal:
        """Names of the group from the LLM: the greedy one, then seeded samples."""
        config = self.config
        words = self._fitting(words)
        body = f"{', '.join(words)} ->"
        answers = complete(
            self.llm,
            body,
            head=FIND,
            max_tokens=config.max_tokens,
            samples=config.samples,
            temperature=config.temperature,
            seed=config.seed,
            stop="\n",
        )
        cleaned = [clean(g.text) for g in answers]
        notes = [f"{n} of {len(answers)} answers {what}" for what, n in (
            ("were empty", sum(not a for a in cleaned)), ("went round in circles", sum(loops(a) for a in cleaned)),
        ) if n]  # fmt: skip
        return Proposal(self._find + body, [g.text for g in answers], _names(answers, words), "; ".join(notes))

    def describe(self, neuron: Neuron, peaks: PeakWords, vocabulary: Vocabulary) -> Proposal:
        """Descriptions from the LLM in its own words, as JSON, from all that is known about the neuron."""
        config, llm = self.config, self.llm
        end = self._parts[1] if self._parts else llm.tokenize(" ", after="")
        room = llm.room() - len(end) - config.samples * JSON_TOKENS
        text, note = prompt.fitting_facts(neuron, peaks, vocabulary, llm, room)
        written = complete(
            llm, [*llm.tokenize(text, after=""), *end], head=DESCRIBE, max_tokens=JSON_TOKENS, samples=config.samples,
            temperature=config.temperature, seed=config.seed, grammar=prompt.GRAMMAR,
        )  # fmt: skip
        found = [prompt.parse(g.text) for g in written]
        names = [n for n in dict.fromkeys(found) if re.search(r"[^\W\d_]", n) and not loops(n)]
        notes = [note] if note else []
        for what, n in (("had no end", sum(not f for f in found)), ("went round in circles", sum(map(loops, found)))):
            notes += [f"{n} of {len(found)} answers {what}"] if n else []
        return Proposal(prompt.INSTRUCTIONS + text, [g.text for g in written], names, "; ".join(notes))

    def choose(self, names: Sequence[str], words: Sequence[str]) -> list[Candidate]:
        """The names with their scores, best first; ties keep the given order.

        A name that contains all of the words has no score and is left out.
        """
        words = self._fitting(words)
        names = list(dict.fromkeys(names))
        neutral = self._given(NEUTRAL, words)
        natural = log_probabilities(self.llm, f"{', '.join(words)} ->", [f" {n}\n" for n in names], head=FIND)
        candidates = []
        for name, spelt in zip(names, natural, strict=True):
            kept = [i for i, w in enumerate(words) if not contains(name, w)]
            if kept:
                given = self._given(name, [words[i] for i in kept])
                gains = np.array([g.sum() - neutral[i].sum() for i, g in zip(kept, given, strict=True)])
                score = float(np.clip(gains, *CLIP).mean()) + NATURAL * float(spelt.sum())
                share = float((gains >= CLEAR).mean())
                gain = float(gains.sum() / sum(len(g) for g in given))
                candidates.append(Candidate(name, score, gain, share))
        return sorted(candidates, key=lambda candidate: -candidate.score)

    def _given(self, name: str, words: Sequence[str]) -> list[Float64[np.ndarray, "_"]]:
        """The log-probabilities of each word's tokens, given a name."""
        return log_probabilities(self.llm, f"{name}:", [f" {w}" for w in words], head=JUDGE)

    def _fitting(self, words: Sequence[str]) -> list[str]:
        """The first whole words that fit into the context together with the answers."""
        kept = list(words[:MAX_WORDS])
        room = self.llm.room() - self.config.samples * self.config.max_tokens - 2 * MAX_NAME
        while len(kept) > 1 and len(self.llm.tokenize(", ".join(kept))) > room:
            kept.pop()
        return kept


def contains(name: str, word: str) -> bool:
    """Whether a description contains a word or its plural as a separate word."""
    found = {w.removesuffix("s") for w in re.findall(r"\w+", name.casefold())}
    return word.casefold().removesuffix("s") in found


def clean(answer: str) -> str:
    """An answer as one line of plain text, without what follows an arrow and without punctuation at its ends."""
    line = " ".join("".join(c if c.isprintable() else " " for c in answer).split())
    return line.split("->")[0].strip(" .,;:*-–—\"'“”`")


def loops(text: str) -> bool:
    """Whether a word occurs three times or a pair of words twice: small models without an answer do so."""
    words = re.findall(r"\w+", text.casefold())
    pairs = Counter(pairwise(words))
    return max(Counter(words).values(), default=0) > 2 or max(pairs.values(), default=0) > 1


def _names(answers: Sequence[Generation], words: Sequence[str]) -> list[str]:
    """The answers that can serve as a description: they have letters, don't loop and don't repeat the words.

    Of `numbers of baking time` the part before `of` is a name too, since small models tend to write too much.
    """
    names = []
    for generation in answers:
        name = clean(generation.text)
        names += [
            part for part in (name, re.split(r" (?:of|for|that|in) ", name)[0]) if generation.stopped or part != name
        ]
    low = {w.casefold() for w in words}
    return [
        name
        for name in dict.fromkeys(names)
        if re.search(r"[^\W\d_]", name)
        and len(name) <= MAX_NAME
        and not loops(name)
        and name.casefold() not in low
        and sum(contains(name, w) for w in words) < 2
    ]


def _heads(shots: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    find = "".join(f"{', '.join(words)} -> {name}\n" for name, words in shots)
    judge = "".join(f"{name}: {', '.join(words)}\n" for name, words in shots)
    return [f"Find the group that the words belong to.\n{find}", f"Groups of words.\n{judge}"]
