"""Examples as the original notebook reads them: every strongest position of a window, with its token and phrase.

Invariant: equals the notebook's parser of a page that shows the window, including its faults: JSON is never decoded,
quotation marks vanish, a token that contains `, ` counts as several; the window's last entry is dropped; the phrase
ends before the window's last token. `--method notebook` of similarity, perturbation and summary starts from these
examples.
Cost: one pass over each window.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from neurolocal.records import Example
from neurolocal.words.vocabulary import Vocabulary


class NotebookExample(NamedTuple):
    """A position of a window with the largest activation of that window."""

    token: str
    """The token with its leading space, as `as_parsed` has it."""
    activation: float
    """Value at the site."""
    phrase: str
    """From three tokens before to two after, within the window, joined by single spaces."""


def notebook_examples(examples: Iterable[Example], vocabulary: Vocabulary) -> list[NotebookExample]:
    """The notebook's examples of one neuron, in rank order, and in text order within a window.

    The last entry of a window is dropped. Every position whose activation equals the maximum of the other n entries
    gives one example with the phrase tokens[max(i - 3, 0) : min(i + 3, n - 1)]. A window of one entry gives none. As in
    the original, the peak is lost if it is the window's last entry.
    """
    found = []
    for example in examples:
        tokens = as_parsed(vocabulary.str_tokens(example.tokens.tolist()))[:-1]
        activations = example.activations[:-1]
        if not len(activations):
            continue
        # fmax ignores NaN: one NaN in a window must not hide its finite maximum.
        for i in np.flatnonzero(activations == np.fmax.reduce(activations)):
            phrase = " ".join(tokens[max(i - 3, 0) : min(i + 3, len(tokens) - 1)])
            found.append(NotebookExample(tokens[i], float(activations[i]), phrase))
    return found


def as_parsed(tokens: Sequence[str]) -> list[str]:
    """Tokens as the notebook finds them in a page: at least as many, since it splits at every `, `.

    A page holds them as JSON; a newline becomes backslash and n, `•` six characters, `="#` becomes `=\\#`.
    """
    return ", ".join(json.dumps(token) for token in tokens).replace('"', "").split(", ")
