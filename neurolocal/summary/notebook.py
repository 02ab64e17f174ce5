"""The notebook's one question, word for word: stage 5 of the original method.

Invariant: the tokens are listed as the caller gives them, with spaces and repetitions; nothing is cleaned. Cost: one
prompt and at most 50 generated tokens a neuron.
"""

from __future__ import annotations

from collections.abc import Sequence

from neurolocal.llm import LLM, complete

QUESTION = "What do all these words have in common? Words: {words}. Common:"

MAX_TOKENS = 50


def ask(llm: LLM, tokens: Sequence[str]) -> tuple[str, str]:
    """The prompt and the greedy answer; where the context is too small, whole tokens are omitted from the end."""
    kept = list(tokens)
    while kept and len(llm.tokenize(question(kept))) + MAX_TOKENS > llm.room():
        kept.pop()
    prompt = question(kept)
    return prompt, complete(llm, prompt, max_tokens=MAX_TOKENS)[0].text


def question(tokens: Sequence[str]) -> str:
    """The prompt for a list of tokens."""
    return QUESTION.format(words=" ".join(tokens))
