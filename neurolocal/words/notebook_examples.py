"""The original notebook's way of reading examples: every strongest position of a window, with its token and phrase.

Invariant: follows the notebook's parser to the letter, its weak points included (the window's last entry is dropped,
the phrase ends before the window's last token); `--method notebook` of all three evidence stages starts here.
Cost: one pass over a window.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from neurolocal.records import Example
from neurolocal.words.vocabulary import Vocabulary


class NotebookExample(NamedTuple):
    """One position of a window at which the neuron is as strong as anywhere in it."""

    token: str
    """The token's text as it stands, leading space kept."""
    activation: float
    """Value at the site."""
    phrase: str
    """Three tokens before to two after, as far as the window goes, joined by single spaces."""


def notebook_examples(examples: Iterable[Example], vocabulary: Vocabulary) -> list[NotebookExample]:
    """The notebook's examples of one neuron, in rank order, within a window in text order.

    Of each window less its last entry, every position whose activation equals the maximum of what is left gives one;
    a window of one entry gives none. With n tokens left the phrase of i is tokens [max(i - 3, 0), min(i + 3, n - 1)).
    The peak itself is lost where it is the window's last entry, as in the original.
    """
    found = []
    for example in examples:
        tokens = vocabulary.str_tokens(example.tokens[:-1].tolist())
        activations = example.activations[:-1]
        if not len(tokens):
            continue
        # fmax: a NaN beside the peak equals nothing, and must not hide what is finite.
        for i in np.flatnonzero(activations == np.fmax.reduce(activations)):
            phrase = " ".join(tokens[max(i - 3, 0) : min(i + 3, len(tokens) - 1)])
            found.append(NotebookExample(tokens[i], float(activations[i]), phrase))
    return found
