"""A subject asked about texts, with the store that says how active its neurons usually are.

Three questions: what do these neurons do on a text, which neurons does it excite most, and what does another text
change.
The measure of excitement is the largest activation over the text's counted tokens as a share of the neuron's own
largest over the store's corpus; ties by lower layer, then neuron.
Invariant: a token's activation is the subject's own on a row of the text alone, BOS in front where the store's config
(without a store: the model) has one. Threads may share an `Asking`: passes run one after another.
Cost: one forward pass a text and question, two for the strongest changes. What the store says of a layer is read once,
and the distribution of a neuron at the first question about it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from math import nan
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from neurolocal.asking.answer import Comparison, NeuronOnText, TextAnswer, TextToken
from neurolocal.asking.scale import Distribution, Scale, read_distributions, read_scale
from neurolocal.errors import ConfigError
from neurolocal.literals import SIDES, Side, Site
from neurolocal.subject.text import Choice, read_text, text_tokens, these

if TYPE_CHECKING:
    from neurolocal.store import Store
    from neurolocal.subject import Subject

Place = tuple[int, int]
"""Layer, and neuron within it."""


Read = tuple[Int64[np.ndarray, "neuron"], Float32[np.ndarray, "pos neuron"]]
"""Some neurons of a layer, and their activations."""

KEPT = 10_000
"""Distributions (0.8 KB each) that are kept for later questions; with more, all but the newest are forgotten."""


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
        self.site: Site = store.site if store is not None else site or ("mid" if "mid" in subject.sites else "post")
        config = store.manifest["config"] if store is not None else {}
        self._bos = None if store is None else config.get("bos") == "prepend"
        self._control, self._config = config.get("control_tokens", "token"), config
        self._scales: dict[int, Scale] = {}
        self._distributions: dict[Place, Distribution] = {}
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
        return self._answer(row, kept, places)

    def strongest(self, text: str, *, n: int = 10, layers: Sequence[int] | None = None) -> TextAnswer:
        """The neurons that a text excites most, by the share of their own extreme, strongest first.

        Args:
            text: any text.
            n: how many.
            layers: to look at; None is all of the store's.

        Raises:
            ConfigError: there is no store, or `layers` is empty.
            StoreError: the store does not hold one of the layers.
            SubjectError: the model cannot read the text.
        """
        row = self._row(text)
        kept = self._read(row, {layer: self._most(row, layer, n) for layer in self._layers(layers)})
        shares = {
            layer: (neurons, self._peak_shares(row, layer, neurons, values))
            for layer, (neurons, values) in kept.items()
        }
        return self._answer(row, kept, _largest(shares, n))

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
            if not places:
                return Comparison(self._answer(self._row(text), {}, []), self._answer(self._row(other), {}, []))
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
        if layers is not None and not len(layers):
            raise ConfigError("looking for the strongest neurons: no layers. Give one or more, or None for all.")
        return self.store.require_layers(layers)

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

    def _read(self, row: _Row, choices: dict[int, Choice]) -> dict[int, Read]:
        with self._lock:  # hooks of two passes at once would receive each other's activations
            return read_text(self.subject, row.ids, choices, site=self.site)

    def _most(self, row: _Row, layer: int, n: int) -> Choice:
        """The n neurons of a layer that are excited most; ties by lower neuron."""

        def choose(values: Float32[np.ndarray, "pos d_mlp"]) -> Int64[np.ndarray, "neuron"]:
            neurons = self.scale(layer).neurons
            shares = self._peak_shares(row, layer, neurons, values[:, neurons])
            order = np.argsort(-np.where(np.isnan(shares), -np.inf, shares), kind="stable")
            return neurons[order[:n]]

        return choose

    def _peak_shares(
        self, row: _Row, layer: int, neurons: Int64[np.ndarray, "neuron"], values: Float32[np.ndarray, "pos neuron"]
    ) -> Float64[np.ndarray, "neuron"]:
        """The share at the peak of each neuron; NaN without one."""
        sign = 1.0 if self.side == "largest" else -1.0
        seen = sign * values[row.counted]
        peak = np.where(np.isfinite(seen), seen, -np.inf).max(axis=0, initial=-np.inf)
        return sign * np.where(np.isfinite(peak), peak, np.nan) / self.scale(layer).extremes(neurons)

    def _most_changed(self, text: str, other: str, n: int, layers: list[int]) -> list[Place]:
        """The neurons whose peak gains or loses most between two texts; a share below 0 counts as 0."""
        peaks: list[dict[int, Float64[np.ndarray, "neuron"]]] = []
        for each in (text, other):
            row, shares = self._row(each), dict[int, Any]()

            def keep(layer: int, row: _Row = row, shares: dict[int, Any] = shares) -> Choice:
                def choose(values: Float32[np.ndarray, "pos d_mlp"]) -> Int64[np.ndarray, "neuron"]:
                    neurons = self.scale(layer).neurons
                    shares[layer] = self._peak_shares(row, layer, neurons, values[:, neurons])
                    return np.empty(0, np.int64)

                return choose

            self._read(row, {layer: keep(layer) for layer in layers})
            peaks.append(shares)
        gains = {
            layer: (self.scale(layer).neurons, np.abs(_excited(peaks[1][layer]) - _excited(peaks[0][layer])))
            for layer in layers
        }
        return _largest(gains, n)

    def _answer(self, row: _Row, kept: dict[int, Read], places: Sequence[Place]) -> TextAnswer:
        """What was read of some neurons, each placed in its distribution, in the order of `places`."""
        found, known = list[NeuronOnText](), self._distributions_of(places)
        for layer, neuron in places:
            neurons, columns = kept[layer]
            values = columns[:, int(np.flatnonzero(neurons == neuron)[0])].copy()
            found.append(self._on_text(row, layer, neuron, values, known.get((layer, neuron))))
        return TextAnswer(self.subject.name, self.site, self.side, row.tokens, found)

    def _on_text(
        self, row: _Row, layer: int, neuron: int, values: Float32[np.ndarray, "pos"], known: Distribution | None
    ) -> NeuronOnText:
        peak = self._peak(row, values)
        if known is None:
            experts, unknown = self.subject.experts_of(layer), np.full(len(values), nan)
            name = None if experts is None else experts.name(neuron)
            return NeuronOnText(layer, neuron, name, None, "", nan, peak, values, unknown, unknown)
        scale = self.scale(layer)
        extreme = float(scale.extremes(np.array([neuron]))[0])
        return NeuronOnText(
            layer,
            neuron,
            None if scale.experts is None else scale.experts.name(neuron),
            scale.verdict.get(neuron),
            scale.description.get(neuron, ""),
            extreme,
            peak,
            values,
            values / np.float64(extreme),
            known.below(values),
        )

    def _distributions_of(self, places: Sequence[Place]) -> dict[Place, Distribution]:
        """The distributions of some neurons, those that are not known yet from the store; empty without one."""
        if self.store is None:
            return {}
        kept = self._distributions
        known = {place: kept[place] for place in places if place in kept}
        absent: dict[int, list[int]] = {}
        for layer, neuron in dict.fromkeys(places):
            if (layer, neuron) not in known:
                absent.setdefault(layer, []).append(neuron)
        for layer, neurons in absent.items():
            read = read_distributions(self.store, layer, neurons)
            known |= {(layer, n): one for n, one in zip(neurons, read, strict=True)}
        if absent:  # a new dictionary: other threads go on with theirs
            both = kept | known
            self._distributions = both if len(both) <= KEPT else known
        return known

    def _peak(self, row: _Row, values: Float32[np.ndarray, "pos"]) -> int | None:
        """The counted token of the extreme, the first of equal ones."""
        there = np.flatnonzero(row.counted & np.isfinite(values))
        if not len(there):
            return None
        return int(there[np.argmax(values[there] if self.side == "largest" else -values[there])])


def _excited(shares: Float64[np.ndarray, "neuron"]) -> Float64[np.ndarray, "neuron"]:
    """Shares at the peak, those below 0 as 0; NaN stays NaN."""
    return np.maximum(shares, 0.0)


def _largest(
    found: dict[int, tuple[Int64[np.ndarray, "_"], Float64[np.ndarray, "_"]]], n: int
) -> list[Place]:  # fmt: skip
    """The n neurons of the largest values over all layers; ties by lower layer, then neuron; NaN is left out."""
    layers = np.concatenate([np.full(len(neurons), layer) for layer, (neurons, _) in found.items()])
    neurons, values = (np.concatenate(columns) for columns in zip(*found.values(), strict=True))
    order = np.lexsort((neurons, layers, -values))
    order = order[~np.isnan(values[order])][:n]
    return list(zip(layers[order].tolist(), neurons[order].tolist(), strict=True))
