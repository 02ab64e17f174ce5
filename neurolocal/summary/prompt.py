"""The prompt for an LLM that answers in its own words: everything that the explain half contains about a neuron.

It lists peak words with counts, contexts with the peak marked and activations on a scale of 0 to 10, random contexts of
its weaker range, near misses (the same word where the neuron is silent), substitutes that kept the activation and
substitutes that lost it, promoted tokens and corpus subsets. The answer is JSON, enforced by a grammar. A prompt that
is too long loses whole contexts from its end, with a note.

Invariant: the prompt contains nothing of an odd rank and no text of a scoring row. Cost: string joins, and one
tokenisation for each context that is omitted.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from neurolocal.llm import LLM
from neurolocal.records import SILENT, Example, Neuron
from neurolocal.summary.peaks import MAX_CHARS, PeakWords
from neurolocal.words import Vocabulary

WORKED = (
    (
        "chair (3), sofa (2), desk (2), shelves (1)",
        "- He sat down on the old <<chair>>(10) with it\n- two lamps stood on the <<desk>>(8) by the window",
        "furniture",
    ),
    (
        "roasted (2), fry (2), baking (1), stirred (1)",
        "- and then she <<roasted>>(10) it in the oven\n- you can <<fry>>(9) them in oil",
        "verbs of cooking",
    ),
    (
        "circle (4), square (2), cone (1), oval (1)",
        "- drawn inside the <<circle>>(10) with a pen\n- the paper was <<square>>(7), not long",
        "shapes",
    ),
    (
        "rain (5), foggy (2), thunder (2), Snow (1)",
        "- all night the <<rain>>(10) beat on the roof\n- a <<foggy>>(6) morning in the hills",
        "weather",
    ),
)
"""Solved cases: (words, contexts, name). No test and no benchmark may use these groups."""

INSTRUCTIONS = (
    "A neuron of a language model fires on certain words. Name the group that its words belong to: a kind of thing, "
    "a field, a grammatical role or a spelling. The name is as short as an entry in an index.\n\n"
    + "".join(
        f'Words it fires on: {words}\nContexts:\n{contexts}\nAnswer: {{"group": "{name}"}}\n\n'
        for words, contexts, name in WORKED
    )
)
"""The beginning of every prompt."""

QUESTION = "Answer:"

MOST = 40
"""Largest number of characters of an answer; an answer of this length was cut off, so it is no name."""

GRAMMAR = (
    'root ::= "{\\"group\\": \\"" letter text{0,' + str(MOST - 1) + '} "\\"}"\n'
    "letter ::= [a-zA-Z0-9]\n"
    'text ::= [^"\\\\,:;\\x00-\\x1f]\n'
)
"""Grammar of the answer, in GBNF."""

BEFORE, AFTER = 12, 5
"""Tokens of context shown before and after a peak."""

ACTIVE = 2
"""Activation, on the scale of 0 to 10, from which a token that is not the peak is shown with its activation."""

LISTED = 8
"""Largest number of words in a list."""


def facts(neuron: Neuron, peaks: PeakWords, contexts: Sequence[str]) -> str:
    """What is known about the neuron, with these contexts, and the question."""
    parts = [f"Words it fires on: {_counted(peaks)}"]
    if contexts:
        parts.append("Contexts:\n" + "\n".join(contexts))
    if neuron.weaker:
        weaker = "\n".join(f"- {_plain(text)}" for text in neuron.weaker)
        parts.append(f"Random contexts where it fires less:\n{weaker}")
    if neuron.near_misses:
        missed = "\n".join(f"- {_plain(text)}" for text in neuron.near_misses)
        parts.append(f"Contexts with such a word where it stays silent:\n{missed}")
    held, failed = substitutes(neuron)
    if held:
        parts.append(f"Put in their place, these made it fire: {', '.join(held)}")
    if failed:
        parts.append(f"Put in their place, these did not: {', '.join(failed)}")
    if neuron.promoted:
        parts.append(f"Tokens that it makes the model say: {', '.join(map(json.dumps, neuron.promoted[:LISTED]))}")
    if neuron.subsets:
        parts.append(f"The texts come from: {', '.join(f'{name} {count}' for name, count in neuron.subsets)}")
    return "\n".join(parts) + f"\n{QUESTION}"


def fitting_facts(neuron: Neuron, peaks: PeakWords, vocabulary: Vocabulary, llm: LLM, room: int) -> tuple[str, str]:
    """`facts` with as many whole contexts as fit into `room` tokens, and a note of how many were left out."""
    contexts = [context(e, neuron, vocabulary) for e in neuron.examples if e.rank % 2 == 0]
    kept = list(contexts)
    while (text := facts(neuron, peaks, kept)) and kept and len(llm.tokenize(text)) > room:
        kept.pop()
    left = len(contexts) - len(kept)
    return text, f"{left} of {len(contexts)} contexts left out: the context has {llm.n_ctx} tokens" if left else ""


def context(e: Example, neuron: Neuron, vocabulary: Vocabulary) -> str:
    """A window on one line: the peak in << >>; activations of `ACTIVE` or more stand in brackets after their tokens."""
    most = max((abs(x.activation) for x in neuron.examples if x.rank % 2 == 0), default=0.0) or 1.0
    low, high = max(0, e.peak - BEFORE), min(len(e.tokens), e.peak + AFTER + 1)
    sign, shown = np.sign(e.activation) or 1.0, []
    for i in range(low, high):
        if vocabulary.special[e.tokens[i]]:
            continue
        piece, active = vocabulary.str_tokens([int(e.tokens[i])])[0], float(e.activations[i]) * sign / most * 10
        if i == e.peak:
            space = piece[: len(piece) - len(piece.lstrip())]
            piece = f"{space}<<{_cut(piece.strip() or piece)}>>({min(10, round(active))})"
        elif active >= ACTIVE:
            piece = f"{_cut(piece)}({min(10, round(active))})"
        shown.append(_cut(piece, 2 * MAX_CHARS))
    return "- " + _plain("".join(shown))


def substitutes(neuron: Neuron) -> tuple[list[str], list[str]]:
    """Substitutes in even ranks: those that kept half of the activation, and near ones that kept less than `SILENT`."""
    table = neuron.substitutes
    if table is None:
        return [], []
    mine = [i for i in range(len(table.kind)) if table.neuron[i] == neuron.neuron and table.rank[i] % 2 == 0]
    original = {int(table.rank[i]): float(table.activation[i]) for i in mine if table.kind[i] == "original"}
    held, failed = dict[str, float](), dict[str, float]()
    for i in mine:
        base = original.get(int(table.rank[i]))
        if base and table.kind[i] in ("neighbour", "reach", "grade1", "variant"):
            share, word = float(table.activation[i]) / base, _cut(table.word[i].strip())
            if share >= 0.5:
                held[word] = max(held.get(word, 0.0), share)
            elif share < SILENT and table.kind[i] in ("neighbour", "reach"):
                failed[word] = min(failed.get(word, 1.0), share)
    return (
        [w for w in sorted(held, key=lambda w: (-held[w], w)) if w][:LISTED],
        [w for w in sorted(failed, key=lambda w: (failed[w], w)) if w and w not in held][:LISTED],
    )


def parse(answer: str) -> str:
    """The description in an answer; empty where the answer was cut off."""
    try:
        found = str(json.loads(answer)["group"])
    except (ValueError, KeyError, TypeError):
        return ""
    return "" if len(found) >= MOST else " ".join(found.split()).strip(" .")


def _counted(peaks: PeakWords) -> str:
    return ", ".join(f"{_plain(word)} ({count})" for word, count in peaks.words.most_common(2 * LISTED))


def _cut(text: str, most: int = MAX_CHARS) -> str:
    return text if len(text) <= most else text[:most] + "…"


def _plain(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
