"""The tokens that a neuron's output promotes and suppresses, as the views show them: by the weights, and measured.

Invariant: ids without a text, which stores of version 0.1.0 list of a padded vocabulary, are left out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from neurolocal.render.visible import spaced, visible
from neurolocal.report.layer import Layer


class TokenEffect(NamedTuple):
    """A token, and what the neuron adds to its logit."""

    token: str
    """Text of the token, unchanged: hidden characters are not made visible."""
    effect: float
    """Logits for an activation of 1 at a norm's scale of 1, above the vocabulary's mean."""


def promoted(read: Layer, neuron: int) -> list[TokenEffect]:
    """The tokens that the neuron promotes most, strongest first; empty if the store holds none."""
    effects, at = read.effects, read.index[neuron]
    return [] if effects is None else _listed(read, effects.promoted[at], effects.promoted_effect[at])


def suppressed(read: Layer, neuron: int) -> list[TokenEffect]:
    """The tokens that the neuron suppresses most, strongest first; empty if the store holds none."""
    effects, at = read.effects, read.index[neuron]
    return [] if effects is None else _listed(read, effects.suppressed[at], effects.suppressed_effect[at])


def token_effects(read: Layer, neuron: int, *, limit: int) -> list[tuple[str, list[TokenEffect]]]:
    """Every list that the store holds, by what the neuron does to the tokens in it.

    Args:
        read: the layer.
        neuron: index within the layer.
        limit: tokens of a list, at most.
    """
    lists = [("promotes", promoted(read, neuron)), ("suppresses", suppressed(read, neuron)), *measured(read, neuron)]
    return [(name, tokens[:limit]) for name, tokens in lists if tokens]


def measured(read: Layer, neuron: int) -> list[tuple[str, list[TokenEffect]]]:
    """The tokens whose log-probability changed most when the activation was changed, in nats; empty if it was not.

    Those that say what the neuron itself does: they fall when it is set to 0 at its own peaks, or rise when it is
    raised at random positions.
    """
    table = read.tables["intervention"]
    if table is None or not read.has("intervention", neuron):
        return []
    tokens, rows = table.tokens, read.changed_token_rows.get(neuron, [])
    texts = read.store.vocabulary.str_tokens(tokens.token[rows])
    lists: dict[str, list[TokenEffect]] = {}
    for i, text in zip(rows, texts, strict=True):
        difference, change = float(tokens.difference[i]), tokens.change[i]
        if text and (difference < 0 if change == "zero" else difference > 0):
            name = "falls without it" if change == "zero" else f"rises at {change[1:]} x its strongest"
            lists.setdefault(name, []).append(TokenEffect(text, difference))
    return list(lists.items())


LEVEL = 0.05
"""q at or under which a change of the neuron did more than as large a change of random neurons."""

LONGEST_NAME = 80
"""Characters of a description that the line shows."""

NAMED = 4
"""Tokens that one line names."""


def fires_and_promotes(read: Layer, neuron: int) -> str:
    """In one line what the neuron fires on and what it then does; empty where that was not measured, or is chance.

    What it promotes are the tokens that rise when it is raised; what it is needed for, those that fall when it is set
    to 0 at its own peaks. Each is named only where the change does more than the same of random neurons.
    """
    parts = []
    for verb, name, stem in (("promotes", "rises", "steer"), ("is needed for", "falls", "zero")):
        tokens = next((tokens for title, tokens in measured(read, neuron) if title.startswith(name)), [])
        if tokens and read.figure("intervention", f"{stem}_q", neuron) <= LEVEL:
            parts.append(f"{verb} {', '.join(f'“{spaced(one.token)}”' for one in tokens[:NAMED])}")
    what = read.text("summary", "description", neuron)
    return "; ".join(([f"fires on {visible(what, limit=LONGEST_NAME)}"] if what else []) + parts) if parts else ""


def _listed(read: Layer, tokens: np.ndarray, values: np.ndarray) -> list[TokenEffect]:
    texts = read.store.vocabulary.str_tokens(tokens)
    return [TokenEffect(text, float(value)) for text, value in zip(texts, values, strict=True) if text]
