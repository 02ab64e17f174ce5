"""Run by `neurolocal.bounded`: the text of a conversation by a chat template, as transformers renders it.

It imports nothing of this package. Cost: one rendering; a template is compiled once.
"""

from __future__ import annotations

from typing import Any

from transformers.utils.chat_template_utils import render_jinja_template


def answer(question: Any) -> str:
    """The text of `[template, control tokens by name, messages]`."""
    template, tokens, messages = question
    found: Any = render_jinja_template([messages], chat_template=template, **tokens)
    return found[0][0]
