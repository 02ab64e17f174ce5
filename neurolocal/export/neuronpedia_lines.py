"""The lines of one layer in Neuronpedia's tables: `Neuron` (features), `Activation` and `Explanation`.

Invariant: the names are the columns of its database; all lines of a table have the same keys.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32

from neurolocal.export.neurons import NeuronTexts, Text
from neurolocal.render.figures import histogram_range
from neurolocal.store import Store

BINS = 50
"""Bins of the histogram of activations."""


@dataclass(frozen=True)
class Source:
    """One layer as a source of Neuronpedia: what its lines have in common."""

    model: str
    """Id of the model."""
    layer: int
    """Index of the layer."""
    site: str
    """Where in the MLP the neurons are read."""
    creator: str
    """Id of the user to whom the lines belong."""
    corpus: str
    """Name of the corpus."""
    subject: str
    """What names the subject's weights; makes the ids of lines differ from those of other models."""

    @property
    def set(self) -> str:
        """The source set: `neurons`, as Neuronpedia names them; other sites than `post` have sets of their own."""
        return "neurons" if self.site == "post" else f"neurons-{self.site.replace('_', '-')}"

    @property
    def id(self) -> str:
        """The source: the layer's number, and for other sets than `neurons` their name."""
        return str(self.layer) if self.site == "post" else f"{self.layer}-{self.set}"

    def place(self, neuron: int) -> dict[str, str]:
        """The columns that name a neuron."""
        return {"modelId": self.model, "layer": self.id, "index": str(neuron)}

    def line_id(self, *parts: object) -> str:
        """An id of a line, the same in each export."""
        text = "/".join(map(str, (self.subject, self.model, self.id, *parts)))
        return "c" + hashlib.sha256(text.encode()).hexdigest()[:24]


class LayerLines:
    """The lines of a layer's neurons."""

    def __init__(self, store: Store, source: Source) -> None:
        """The lines of one layer of a store."""
        self.source = source
        self._statistics, self._sampled = store.statistics(source.layer), store.sampled(source.layer)
        self._effects = store.logit_effects(source.layer)
        self._vocabulary = store.vocabulary
        self._described = _explanations(store, source.layer)
        self._scored = _scores(store, source.layer)

    def batch(self, neurons: Sequence[NeuronTexts]) -> dict[str, list[dict[str, Any]]]:
        """The lines of some neurons by folder."""
        return {
            "features": [self.feature(one) for one in neurons],
            "activations": [self.activation(one.neuron, text) for one in neurons for text in one.texts],
            "explanations": [self.explanation(one.neuron) for one in neurons if one.neuron in self._described],
        }

    def feature(self, one: NeuronTexts) -> dict[str, Any]:
        """The line of a neuron in the table `Neuron`."""
        s, at = self._statistics, one.at
        finite = max(s.count - int(s.nonfinite[at]), 1)
        largest = float(s.maximum[at])
        heights, middles = _histogram(self._sampled[at])
        return {
            **self.source.place(one.neuron),
            "sourceSetName": self.source.set,
            "creatorId": self.source.creator,
            "maxActApprox": largest if np.isfinite(largest) else 0.0,
            "frac_nonzero": int(s.positive[at]) / finite,
            **self._logits(at),
            "freq_hist_data_bar_heights": heights,
            "freq_hist_data_bar_values": middles,
        }

    def _logits(self, at: int) -> dict[str, Any]:
        e = self._effects
        if e is None:
            return {"pos_str": [], "pos_values": [], "neg_str": [], "neg_values": []}
        up, down = np.isfinite(e.promoted_effect[at]), np.isfinite(e.suppressed_effect[at])
        return {
            "pos_str": self._vocabulary.str_tokens(e.promoted[at][up]),
            "pos_values": e.promoted_effect[at][up],
            "neg_str": self._vocabulary.str_tokens(e.suppressed[at][down]),
            "neg_values": e.suppressed_effect[at][down],
        }

    def activation(self, neuron: int, text: Text) -> dict[str, Any]:
        """The line of an example in the table `Activation`."""
        e, values = text.example, np.nan_to_num(text.values, posinf=0.0, neginf=0.0)
        largest = int(values.argmax())
        return {
            "id": self.source.line_id(neuron, "activation", e.rank),
            **self.source.place(neuron),
            "creatorId": self.source.creator,
            "dataSource": self.source.corpus,
            "dataIndex": str(e.row),
            "tokens": text.str_tokens,
            "values": values,
            "maxValue": values[largest],
            "maxValueTokenIndex": largest,
            "minValue": values.min(),
            "qualifyingTokenIndex": e.peak,
        }

    def explanation(self, neuron: int) -> dict[str, Any]:
        """The line of a description in the table `Explanation`."""
        description, origin = self._described[neuron]
        scores = "; ".join(self._scored.get(neuron, []))
        return {
            "id": self.source.line_id(neuron, "explanation"),
            **self.source.place(neuron),
            "authorId": self.source.creator,
            "description": description,
            "notes": f"neurolocal, source: {origin}" + (f"; {scores}" if scores else ""),
        }


def _explanations(store: Store, layer: int) -> dict[int, tuple[str, str]]:
    """Neuron -> its description and where that comes from; empty descriptions are left out."""
    table = store.evidence("summary", layer)
    if table is None:
        return {}
    lines = zip(table.neuron.tolist(), table.description, table.source, strict=True)
    return {neuron: (description, source) for neuron, description, source in lines if description}


def _scores(store: Store, layer: int) -> dict[int, list[str]]:
    """Neuron -> its scores in words, each beside that of another neuron's description."""
    table: Any = store.evidence("score", layer)
    if table is None:
        return {}
    found = dict[int, list[str]]()
    for i, neuron in enumerate(table.neuron.tolist()):
        if np.isfinite(table.value[i]):
            control = f" (another's {table.control[i]:.2f})" if np.isfinite(table.control[i]) else ""
            found.setdefault(neuron, []).append(f"{table.measure[i]} {table.value[i]:.2f}{control}")
    return found


def _histogram(values: Float32[np.ndarray, "sample"]) -> tuple[list[int], list[float]]:
    """Heights and middles of equal bins of the sampled activations."""
    finite = values[np.isfinite(values)].astype(np.float64)
    if not len(finite):
        return [], []
    limits = histogram_range(float(finite.min()), float(finite.max()), bins=BINS)
    heights, edges = np.histogram(finite, bins=BINS, range=limits)
    return heights.tolist(), ((edges[:-1] + edges[1:]) / 2).tolist()
