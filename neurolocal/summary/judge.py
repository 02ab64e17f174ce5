"""The LLM as it is good at it: it goes on with a list of examples, and it knows how probable a word is.

Asked «What do all these words have in common?» a model of 135M parameters repeats the words. Shown six solved cases it
names the group or comes near, and among candidates it chooses well by likelihood:

    score = mean over the words of [log P(word | "NAME:") - log P(word | "words:")]  +  0.5 * log P(NAME | the words)

The first part says how much the name explains, the second how natural it is to call these words so (it keeps «vehicles»
above «trains»). A word that the name itself contains is left out, so that copying the list gains nothing.

Cost: some 250 tokens a neuron, a second on 2 cores with SmolLM2-135M.
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
from neurolocal.llm.model import LLM, Generation
from neurolocal.records import Neuron
from neurolocal.summary import explain
from neurolocal.summary.peaks import Peaks
from neurolocal.words import Vocabulary

SHOTS = (
    ("furniture", ("chair", "table", "sofa", "shelf", "desk", "drawer")),
    ("weather", ("rain", "snow", "storm", "wind", "fog", "thunder")),
    ("shapes", ("circle", "square", "triangle", "cube", "oval", "cone")),
    ("insects", ("ant", "bee", "wasp", "beetle", "moth", "fly")),
    ("tools", ("hammer", "saw", "drill", "wrench", "pliers", "axe")),
    ("verbs of cooking", ("bake", "boil", "fry", "roast", "stir", "grill")),
)
"""Solved cases of the prompts; no test and no benchmark may use these groups."""

NEUTRAL = "words"
"""The description that says nothing."""

MAX_WORDS = 8
"""Distinct words that are listed and judged, commonest first: more cost more and change little."""

MAX_NAME = 60
"""Characters of a description at most; what is longer is rambling."""

SPOKEN = 40
"""Tokens of an answer in JSON."""

NATURAL = 0.5
"""Weight of log P(NAME | words)."""

CLIP = (-3.0, 8.0)
"""Nats a single word can count for or against a name, so that no odd word decides alone."""

CLEAR = 0.5
"""Nats from which a name counts as explaining a word."""

FIND, JUDGE, SPEAK = 0, 1, 2


@dataclass(frozen=True)
class Proposal:
    """What the LLM was asked, and what it said."""

    prompt: str
    """The whole prompt."""
    answers: list[str]
    """Raw answers, the greedy one first."""
    names: list[str]
    """What of them can serve as a description."""
    said: str = ""
    """What is to be told: contexts left out, answers that were empty or went round in circles."""


@dataclass(frozen=True)
class Judged:
    """A candidate and what the LLM thinks of it."""

    name: str
    """The description."""
    score: float
    """By which candidates are compared."""
    gain: float
    """Nats a token by which it makes the words more probable than `NEUTRAL` does."""
    share: float
    """Share of the words that it makes more probable by `CLEAR` nats or more."""


class Judge:
    """An LLM with its two prompt heads evaluated once."""

    def __init__(self, llm: LLM, config: SummaryConfig) -> None:
        self.llm, self.config = llm, config
        shots = list(SHOTS)
        heads = _heads(shots)
        # Two thirds of the context are for the neuron's own words; a small context has fewer solved cases.
        while len(shots) > 1 and sum(len(llm.tokenize(h)) for h in heads) > llm.n_ctx // 3:
            shots.pop()
            heads = _heads(shots)
        self._find = heads[FIND]
        self.speaks = llm.chats
        """Whether it is asked for a description in its own words."""
        self._parts = llm.chat_parts() if self.speaks else None
        speak = [*(self._parts[0] if self._parts else []), *llm.tokenize(explain.INSTRUCTIONS, after="")]
        llm.prepare([*heads, speak] if self.speaks else heads)

    def propose(self, words: Sequence[str]) -> Proposal:
        """Let the LLM name the group: once greedily, then by seeded samples."""
        config = self.config
        words = self._fitting(words)
        body = f"{', '.join(words)} ->"
        said = self.llm.complete(
            body,
            head=FIND,
            max_tokens=config.max_tokens,
            samples=config.samples,
            temperature=config.temperature,
            seed=config.seed,
            stop="\n",
        )
        said_so = [clean(g.text) for g in said]
        notes = [f"{n} of {len(said)} answers {what}" for what, n in (
            ("were empty", sum(not a for a in said_so)), ("went round in circles", sum(loops(a) for a in said_so)),
        ) if n]  # fmt: skip
        return Proposal(self._find + body, [g.text for g in said], _names(said, words), "; ".join(notes))

    def speak(self, neuron: Neuron, peaks: Peaks, vocabulary: Vocabulary) -> Proposal:
        """Let an LLM that can speak describe the neuron from all that is known of it, as JSON."""
        config, llm = self.config, self.llm
        end = self._parts[1] if self._parts else llm.tokenize(" ", after="")
        room = llm.room() - len(end) - config.samples * SPOKEN
        text, said = explain.fitting(neuron, peaks, vocabulary, llm, room)
        written = llm.complete(
            [*llm.tokenize(text, after=""), *end], head=SPEAK, max_tokens=SPOKEN, samples=config.samples,
            temperature=config.temperature, seed=config.seed, grammar=explain.GRAMMAR,
        )  # fmt: skip
        found = [explain.read(g.text) for g in written]
        names = [n for n in dict.fromkeys(found) if re.search(r"[^\W\d_]", n) and not loops(n)]
        notes = [said] if said else []
        for what, n in (("had no end", sum(not f for f in found)), ("went round in circles", sum(map(loops, found)))):
            notes += [f"{n} of {len(found)} answers {what}"] if n else []
        return Proposal(explain.INSTRUCTIONS + text, [g.text for g in written], names, "; ".join(notes))

    def choose(self, names: Sequence[str], words: Sequence[str]) -> list[Judged]:
        """The candidates with their scores, best first; ties keep the given order."""
        words = self._fitting(words)
        names = list(dict.fromkeys(names))
        neutral = self._given(NEUTRAL, words)
        natural = self.llm.log_probabilities(f"{', '.join(words)} ->", [f" {n}\n" for n in names], head=FIND)
        judged = []
        for name, spelt in zip(names, natural, strict=True):
            kept = [i for i, w in enumerate(words) if not contains(name, w)]
            if kept:
                given = self._given(name, [words[i] for i in kept])
                gains = np.array([g.sum() - neutral[i].sum() for i, g in zip(kept, given, strict=True)])
                score = float(np.clip(gains, *CLIP).mean()) + NATURAL * float(spelt.sum())
                share = float((gains >= CLEAR).mean())
                judged.append(Judged(name, score, float(gains.sum() / sum(len(g) for g in given)), share))
        return sorted(judged, key=lambda j: -j.score)

    def _given(self, name: str, words: Sequence[str]) -> list[Float64[np.ndarray, "_"]]:
        return self.llm.log_probabilities(f"{name}:", [f" {w}" for w in words], head=JUDGE)

    def _fitting(self, words: Sequence[str]) -> list[str]:
        """As many of the first words as fit into the context beside the answers; never part of a word."""
        kept = list(words[:MAX_WORDS])
        room = self.llm.room() - self.config.samples * self.config.max_tokens - 2 * MAX_NAME
        while len(kept) > 1 and len(self.llm.tokenize(", ".join(kept))) > room:
            kept.pop()
        return kept


def contains(name: str, word: str) -> bool:
    """Whether a description contains a word, or its plural, as a word of its own."""
    found = {w.removesuffix("s") for w in re.findall(r"\w+", name.casefold())}
    return word.casefold().removesuffix("s") in found


def clean(answer: str) -> str:
    """An answer as one line of plain text: spaces collapsed, what follows an arrow and stray punctuation dropped."""
    line = " ".join("".join(c if c.isprintable() else " " for c in answer).split())
    return line.split("->")[0].strip(" .,;:*-–—\"'“”`")


def loops(text: str) -> bool:
    """Whether a word is said three times or more, or two words twice: what a small model does when it knows nothing."""
    words = re.findall(r"\w+", text.casefold())
    pairs = Counter(pairwise(words))
    return max(Counter(words).values(), default=0) > 2 or max(pairs.values(), default=0) > 1


def _names(said: Sequence[Generation], words: Sequence[str]) -> list[str]:
    """What can serve as a description: it says something, doesn't loop, and doesn't repeat the words.

    Of `numbers of baking time` the part before `of` is a candidate too: small models tend to go on too long.
    """
    names = []
    for generation in said:
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
