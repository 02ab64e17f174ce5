"""The tokens that the neurons of a layer promote, as the store holds them: measured, and by the weights alone.

Invariant: ids without a text are left out. Cost: reads one table, or the logit effects of one layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neurolocal.literals import Side
    from neurolocal.store import Store


NEGATIVE = ("smallest", "gate+_in-", "gate-_in+")
"""Sides on which the activation is below 0."""


def measured(store: Store, layer: int, side: Side) -> Mapping[int, Sequence[str]]:
    """Neuron -> the tokens that rise when it is raised at random positions; empty without intervention's table."""
    table = store.evidence("intervention", layer, side)
    if table is None:
        return {}
    tokens, found = table.tokens, dict[int, list[str]]()
    texts = store.vocabulary.str_tokens(tokens.token)
    for neuron, change, rise, text in zip(tokens.neuron.tolist(), tokens.change, tokens.difference, texts, strict=True):
        if change != "zero" and rise > 0 and text:
            found.setdefault(neuron, []).append(text)
    return found


def direct(store: Store, layer: int, side: Side) -> Mapping[int, Sequence[str]]:
    """Neuron -> the tokens that its output weights promote, where it fires on this side; empty without logit effects.

    Where its activations are negative, a neuron promotes what its weights suppress.
    """
    effects = store.logit_effects(layer)
    if effects is None:
        return {}
    tokens = effects.suppressed if side in NEGATIVE else effects.promoted
    texts = store.vocabulary.str_tokens(tokens.ravel())
    k = tokens.shape[1]
    return {
        neuron: [text for text in texts[i * k : (i + 1) * k] if text]
        for i, neuron in enumerate(store.neurons(layer).tolist())
    }
