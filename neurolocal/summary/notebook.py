"""The notebook's one question, word for word: stage 5 of the original method.

Its tokens are the caller's, spaces and repetitions included; nothing is cleaned. Cost: up to 50 generated tokens,
half a second with SmolLM2-135M on 2 cores.
"""

from __future__ import annotations

from collections.abc import Sequence

from neurolocal.llm.model import LLM

QUESTION = "What do all these words have in common? Words: {words}. Common:"

MAX_TOKENS = 50


def ask(llm: LLM, tokens: Sequence[str]) -> tuple[str, str]:
    """The prompt and the greedy answer; tokens that the context cannot hold are left out from the end, whole."""
    kept = list(tokens)
    while kept and len(llm.tokenize(question(kept))) + MAX_TOKENS > llm.room():
        kept.pop()
    prompt = question(kept)
    return prompt, llm.complete(prompt, max_tokens=MAX_TOKENS)[0].text


def question(tokens: Sequence[str]) -> str:
    """The prompt for a list of tokens."""
    return QUESTION.format(words=" ".join(tokens))
