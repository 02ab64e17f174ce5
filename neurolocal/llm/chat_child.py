"""Run by `neurolocal.bounded`: a user's message by an LLM's chat template, as llama-cpp-python renders it.

It imports nothing of this package. Cost: one rendering.
"""

from __future__ import annotations

from typing import Any

from llama_cpp.llama_chat_format import Jinja2ChatFormatter


def answer(question: Any) -> str:
    """The prompt of `[template, BOS, EOS, the user's message]`."""
    template, bos, eos, message = question
    formatter = Jinja2ChatFormatter(template, eos_token=eos, bos_token=bos)
    return formatter(messages=[{"role": "user", "content": message}]).prompt
