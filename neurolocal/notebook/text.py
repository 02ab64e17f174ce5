"""One neuron on a text, as it prints and as it looks in a notebook."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Float64

from neurolocal.asking import NeuronOnText, TextAnswer
from neurolocal.asking.terminal import print_answer
from neurolocal.notebook.pages import text_html
from neurolocal.notebook.tables import token_table
from neurolocal.words import Vocabulary

if TYPE_CHECKING:
    from pandas import DataFrame


class NeuronText:
    """What one neuron does on a text; arrays have one entry a token."""

    def __init__(self, answer: TextAnswer, vocabulary: Vocabulary) -> None:
        """An answer about one neuron."""
        (self.neuron,) = answer.neurons
        self.answer, self._vocabulary = answer, vocabulary

    neuron: NeuronOnText
    """Its place, verdict, description, extreme and peak."""

    @property
    def tokens(self) -> list[str]:
        """The text of each token."""
        return [token.text for token in self.answer.tokens]

    @property
    def activations(self) -> Float32[np.ndarray, "pos"]:
        """At each token."""
        return self.neuron.activations

    @property
    def shares(self) -> Float64[np.ndarray, "pos"]:
        """Activation / the neuron's largest over the corpus."""
        return self.neuron.shares

    @property
    def quantiles(self) -> Float64[np.ndarray, "pos"]:
        """Share of the corpus's positions at which it is less active."""
        return self.neuron.quantiles

    def table(self) -> DataFrame:
        """A pandas table, one row a token.

        Raises:
            NeurolocalError: pandas is not installed.
        """
        return token_table(self.answer, self.neuron)

    def __repr__(self) -> str:
        """As `neurolocal try` prints it where there is no colour."""
        out = io.StringIO()
        print_answer(self.answer, self._vocabulary, out=out, width=80, color=False)
        return out.getvalue().rstrip("\n")

    def _repr_html_(self) -> str:
        """The text shaded, and every token with its figures."""
        return text_html(self.answer, self.neuron, self._vocabulary)
