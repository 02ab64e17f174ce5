"""Examples as the original notebook reads them: every strongest position of a window, with its token and phrase.

Invariant: equals the notebook's parser, including its faults (the window's last entry is dropped; the phrase ends
before the window's last token). `--method notebook` of similarity, perturbation and summary starts from these examples.
Cost: one pass over each window.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from neurolocal.records import Example
from neurolocal.words.vocabulary import Vocabulary


class NotebookExample(NamedTuple):
    """A position of a window with the largest activation of that window."""

    token: str
    """The token's text with its leading space."""
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
        tokens = vocabulary.str_tokens(example.tokens[:-1].tolist())
        activations = example.activations[:-1]
        if not len(tokens):
            continue
        # fmax ignores NaN: one NaN in a window must not hide its finite maximum.
        for i in np.flatnonzero(activations == np.fmax.reduce(activations)):
            phrase = " ".join(tokens[max(i - 3, 0) : min(i + 3, len(tokens) - 1)])
            found.append(NotebookExample(tokens[i], float(activations[i]), phrase))
    return found
