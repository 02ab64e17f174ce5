"""A text of one's own: what neurons do on it, token by token, each value placed in the neuron's own distribution.

Joins a subject and, where there is one, the store that was collected with it. Read order: `scale`, `answer`, `ask`,
`as_json`.
"""

from neurolocal.asking.answer import Comparison, NeuronOnText, TextAnswer, TextToken
from neurolocal.asking.as_json import answer_object, comparison_object
from neurolocal.asking.ask import Asking

__all__ = [
    "Asking",
    "Comparison",
    "NeuronOnText",
    "TextAnswer",
    "TextToken",
    "answer_object",
    "comparison_object",
]
