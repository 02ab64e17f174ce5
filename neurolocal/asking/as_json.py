"""Answers as plain objects for JSON: a stable form that programs, the page's text box and notebooks read.

Invariant: strict JSON: unknown figures are None, lone surrogates U+FFFD. The names of the fields are stable.
"""

from __future__ import annotations

from typing import Any

from neurolocal.asking.answer import Comparison, NeuronOnText, TextAnswer
from neurolocal.render.figures import strict


def answer_object(answer: TextAnswer) -> dict[str, Any]:
    """An answer as one plain object."""
    return strict(
        {
            "format": "neurolocal-try",
            "version": 1,
            "subject": answer.subject,
            "site": answer.site,
            "side": answer.side,
            "measure": f"{answer.side} activation over the counted tokens / the neuron's own extreme in the store",
            "tokens": [token._asdict() for token in answer.tokens],
            "neurons": [_neuron(one) for one in answer.neurons],
        }
    )


def comparison_object(comparison: Comparison) -> dict[str, Any]:
    """A comparison as one plain object: the first text's answer, the second's, what changes, the aligned tokens."""
    return {
        **answer_object(comparison.first),
        "compare": answer_object(comparison.second),
        "changes": strict(comparison.changes),
        "pairs": [list(pair) for pair in comparison.pairs()],
    }


def _neuron(one: NeuronOnText) -> dict[str, Any]:
    return {
        **one._asdict(),
        **{name: getattr(one, name).tolist() for name in ("activations", "shares", "quantiles")},
        **{name: getattr(one, name) for name in ("peak_activation", "peak_share", "peak_quantile")},
    }
