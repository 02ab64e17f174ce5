"""A text of one's own: what neurons do on it, token by token, each value placed in the neuron's own distribution.

Joins a subject and, where there is one, the store that was collected with it. Read order: `scale`, `answer`, `ask`,
`as_json`, `terminal`. `Asking` is loaded when it is first used (PEP 562): who only looks at answers needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from neurolocal.asking.answer import Comparison, NeuronOnText, TextAnswer, TextToken
from neurolocal.asking.as_json import answer_object, comparison_object

if TYPE_CHECKING:
    from neurolocal.asking.ask import Asking as Asking

__all__ = [
    "Asking",
    "Comparison",
    "NeuronOnText",
    "TextAnswer",
    "TextToken",
    "answer_object",
    "comparison_object",
]


def __getattr__(name: str) -> Any:
    """`Asking`, on its first use."""
    if name != "Asking":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.ask").Asking
