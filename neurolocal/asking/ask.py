"""A subject asked about texts, with the store that says how active its neurons usually are.

Three questions: what do these neurons do on a text, which neurons does it excite most, and what does another text
change.
The measure of excitement is the largest activation over the text's counted tokens as a share of the neuron's own
largest over the store's corpus; ties by lower layer, then neuron.
Invariant: a token's activation is the subject's own on a row of the text alone, BOS in front where the store's config
(without a store: the model) has one. Threads may share an `Asking`: passes run one after another.
Cost: one forward pass a text and question, two for the strongest changes; the store's scales of a layer are read once.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from neurolocal.asking.answer import Comparison, NeuronOnText, TextAnswer, TextToken
from neurolocal.asking.scale import Scale, quantiles, read_scale
from neurolocal.errors import ConfigError
from neurolocal.literals import SIDES, Side, Site
from neurolocal.subject.text import Choice, read_text, text_tokens, these

if TYPE_CHECKING:
    from neurolocal.store import Store
    from neurolocal.subject import Subject

Place = tuple[int, int]
"""Layer, and neuron within it."""


class _Row(NamedTuple):
    """A text as the subject reads it."""

    ids: Int64[np.ndarray, "pos"]
    tokens: list[TextToken]
    counted: Bool[np.ndarray, "pos"]


class Asking:
    """A subject and, where there is one, its store."""

    def __init__(
        self, subject: Subject, store: Store | None = None, *, side: Side = "largest", site: Site | None = None
    ) -> None:
        """Join a subject and a store that was collected with it (`Workspace.loaded_subject` checks that).

        Args:
            subject: the loaded model.
            store: None answers without distributions, verdicts and descriptions.
            side: `largest` or `smallest`: which extreme of a neuron counts as its activation.
            site: where neurons are read without a store; None is `post`, or `mid` in a model that has it.

        Raises:
            ConfigError: another side, or a site beside a store, which has its own.
        """
        if side not in SIDES:
            raise ConfigError(f"asking about side = {side}: choose {' or '.join(SIDES)}")
        if store is not None and site not in (None, store.site):
            raise ConfigError(f"asking at site = {site}: the store is read at {store.site}; open it at that site")
        self.subject, self.store = subject, store
        self.side: Side = side
        own: Site = "mid" if "mid" in subject.sites else "post"
        self.site: Site = store.site if store is not None else site or own
        config = store.manifest["config"] if store is not None else {}
        self._bos = None if store is None else config.get("bos") == "prepend"
        self._control, self._config = config.get("control_tokens", "token"), config
        self._scales: dict[int, Scale] = {}
        self._lock = threading.Lock()

    def neurons(self, text: str, places: Sequence[Place]) -> TextAnswer:
        """What some neurons do on a text, in the order of `places`.

        Args:
            text: any text.
            places: (layer, neuron) of each.

        Raises:
            ConfigError: no places.
            StoreError: the store does not hold one of them.
            SubjectError: the model does not have one of them, or cannot read the text.
        """
        row, chosen = self._row(text), self._chosen(places)
        kept = self._read(row, {layer: these(self.subject, layer, some) for layer, some in chosen.items()})
        found = self._answers(row, kept)
        return self._answer(row, [found[place] for place in places])

    def strongest(self, text: str, *, n: int = 10, layers: Sequence[int] | None = None) -> TextAnswer:
        """The neurons that a text excites most, by the share of their own extreme, strongest first.

        Args:
            text: any text.
            n: how many.
            layers: to look at; None is all of the store's.

        Raises:
            ConfigError: there is no store.
            StoreError: the store does not hold one of the layers.
            SubjectError: the model cannot read the text.
        """
        row = self._row(text)
        kept = self._read(row, {layer: self._most(row, layer, n) for layer in self._layers(layers)})
        found = self._answers(row, kept).values()
        ranked = sorted((one for one in found if one.peak_share == one.peak_share), key=_by_share)
        return self._answer(row, ranked[:n])

    def compare(
        self, text: str, other: str, places: Sequence[Place] | None = None, *, n: int = 10,
        layers: Sequence[int] | None = None,
    ) -> Comparison:  # fmt: skip
        """What changes from one text to another.

        Args:
            text: the one.
            other: the other.
            places: (layer, neuron) of each neuron; None is those whose share at the peak changes most.
            n: how many, without `places`.
            layers: to look at, without `places`; None is all of the store's.

        Raises:
            ConfigError, StoreError, SubjectError: as of `neurons` and `strongest`.
        """
        if places is None:
            places = self._most_changed(text, other, n, self._layers(layers))
        return Comparison(self.neurons(text, places), self.neurons(other, places))

    def scale(self, layer: int) -> Scale:
        """What the store says of a layer's neurons; read once.

        Raises:
            StoreError: the store does not hold that layer.
        """
        assert self.store is not None
        if layer not in self._scales:
            self._scales[layer] = read_scale(self.store, layer, self.side)
        return self._scales[layer]

    def _row(self, text: str) -> _Row:
        ids = text_tokens(self.subject, text, bos=self._bos, control=self._control)
        vocabulary = self.subject.vocabulary
        special = vocabulary.special[ids]
        counted = ~special if self._config.get("skip_special") else np.ones(len(ids), bool)
        if self._bos or (self._bos is None and self.subject.bos is not None):
            counted[0] = bool(self._config.get("count_bos"))
        columns = zip(ids.tolist(), vocabulary.str_tokens(ids), special.tolist(), counted.tolist(), strict=True)
        return _Row(ids, [TextToken(*each) for each in columns], counted)

    def _layers(self, layers: Sequence[int] | None) -> list[int]:
        if self.store is None:
            raise ConfigError(
                f"looking for the strongest neurons of {self.subject.name}: without a store nothing says how active "
                "each usually is. Give a store that was collected with it, or name neurons (--neuron 14:159)."
            )
        return self.store.require_layers(None if layers is None else list(layers))

    def _chosen(self, places: Sequence[Place]) -> dict[int, list[int]]:
        """The neurons of each layer, each once; those that the store does not hold are refused."""
        if not places:
            raise ConfigError("asking about a text: no neurons. Give one or more as (layer, neuron).")
        chosen: dict[int, list[int]] = {}
        for layer, neuron in dict.fromkeys(places):
            if self.store is not None:
                self.store.index_of(layer, neuron)
            chosen.setdefault(layer, []).append(neuron)
        return chosen

    def _read(self, row: _Row, choices: dict[int, Choice]) -> dict[int, Any]:
        with self._lock:  # hooks of two passes at once would receive each other's activations
            return read_text(self.subject, row.ids, choices, site=self.site)

    def _most(self, row: _Row, layer: int, n: int) -> Choice:
        """The n neurons of a layer that are excited most; ties by lower neuron."""
        scale = self.scale(layer)

        def choose(values: Float32[np.ndarray, "pos d_mlp"]) -> Int64[np.ndarray, "neuron"]:
            shares = self._peak_shares(row, scale, values)
            order = np.argsort(-np.where(np.isnan(shares), -np.inf, shares), kind="stable")
            return scale.neurons[order[:n]]

        return choose

    def _peak_shares(
        self, row: _Row, scale: Scale, values: Float32[np.ndarray, "pos d_mlp"]
    ) -> Float64[np.ndarray, "neuron"]:
        """The share at the peak of each neuron of a scale; NaN without one."""
        seen = values[row.counted][:, scale.neurons]
        seen = np.where(np.isnan(seen), -np.inf if self.side == "largest" else np.inf, seen)
        if not len(seen):
            return np.full(len(scale.neurons), np.nan)
        peak = seen.max(axis=0) if self.side == "largest" else seen.min(axis=0)
        return np.where(np.isfinite(peak), peak, np.nan) / scale.extreme

    def _most_changed(self, text: str, other: str, n: int, layers: list[int]) -> list[Place]:
        """The neurons whose share at the peak differs most between two texts."""
        peaks: list[dict[int, Float64[np.ndarray, "neuron"]]] = []
        for each in (text, other):
            row, shares = self._row(each), dict[int, Any]()

            def keep(layer: int, row: _Row = row, shares: dict[int, Any] = shares) -> Choice:
                def choose(values: Float32[np.ndarray, "pos d_mlp"]) -> Int64[np.ndarray, "neuron"]:
                    shares[layer] = self._peak_shares(row, self.scale(layer), values)
                    return np.empty(0, np.int64)

                return choose

            self._read(row, {layer: keep(layer) for layer in layers})
            peaks.append(shares)
        found = [
            (-abs(float(gain)), layer, int(neuron))
            for layer in layers
            for neuron, gain in zip(self.scale(layer).neurons, peaks[1][layer] - peaks[0][layer], strict=True)
            if gain == gain
        ]
        return [(layer, neuron) for _, layer, neuron in sorted(found)[:n]]

    def _answers(self, row: _Row, kept: dict[int, Any]) -> dict[Place, NeuronOnText]:
        """What was read of each neuron, placed in its distribution."""
        found: dict[Place, NeuronOnText] = {}
        for layer, (neurons, values) in kept.items():
            scale = None if self.store is None else self.scale(layer)
            extremes = np.full(len(neurons), np.nan) if scale is None else scale.extremes(neurons)
            placed = np.full(values.shape, np.nan)
            if self.store is not None:
                placed = quantiles(self.store, layer, neurons, values)
            experts = scale.experts if scale is not None else self.subject.experts_of(layer)
            for i, neuron in enumerate(neurons.tolist()):
                found[layer, neuron] = NeuronOnText(
                    layer,
                    neuron,
                    None if experts is None else experts.name(neuron),
                    None if scale is None else scale.verdict.get(neuron),
                    "" if scale is None else scale.description.get(neuron, ""),
                    float(extremes[i]),
                    self._peak(row, values[:, i]),
                    values[:, i].copy(),
                    values[:, i] / extremes[i],
                    placed[:, i],
                )
        return found

    def _peak(self, row: _Row, values: Float32[np.ndarray, "pos"]) -> int | None:
        """The counted token of the extreme, the first of equal ones."""
        there = np.flatnonzero(row.counted & np.isfinite(values))
        if not len(there):
            return None
        return int(there[np.argmax(values[there] if self.side == "largest" else -values[there])])

    def _answer(self, row: _Row, neurons: list[NeuronOnText]) -> TextAnswer:
        return TextAnswer(self.subject.name, self.site, self.side, row.tokens, neurons)


def _by_share(one: NeuronOnText) -> tuple[float, int, int]:
    return -one.peak_share, one.layer, one.neuron
