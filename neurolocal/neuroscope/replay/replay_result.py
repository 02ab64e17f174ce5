"""The result of a replay: how the requested subject and the best hypothesis fit, and whether that is agreement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from neurolocal.neuroscope.replay.hypothesis import Fit
from neurolocal.neuroscope.replay.layers import FEW, LayerFit
from neurolocal.neuroscope.replay.rerun import FOLDED, TextDifference, correlation


@dataclass(frozen=True)
class NeuronDifference:
    """The texts of one neuron, compared."""

    layer: int
    neuron: int
    texts: int
    same_peak: int
    """Texts whose strongest token is the same."""
    largest: float
    """Largest |difference|."""
    relative: float
    """The same, minus the rounding error of the pages' decimals, as a share of the neuron's largest |activation|."""
    correlation: float


@dataclass(frozen=True)
class ReplayResult:
    """The result of a replay."""

    asked: Fit
    """The requested subject as it is, on all texts."""
    fits: Fit
    """The hypothesis that fits best, on all texts: `asked` or another."""
    tried: tuple[Fit, ...]
    """All hypotheses on some of the rows, best first; only `asked` if it is the same, or too little was compared."""
    layers: tuple[LayerFit, ...]
    """Of `fits`: every layer by itself."""
    rounding: str | None
    """The dtype whose rounding `layers` were judged by; None is float32."""
    stated: str | None
    """The dtype that the store states."""
    neurons: tuple[NeuronDifference, ...]
    """Of `asked`, worst first."""
    texts: int
    activations: int
    same_peak: int
    largest: float
    """Largest |difference|."""
    relative: float
    """The same, minus the rounding error of the pages' decimals, as a share of its neuron's largest |activation|."""
    left_out: int
    """Texts whose peak is behind a token with no known id, or beyond the subject's context."""
    absent: int
    """Tokens that the tokenizer does not have."""
    ambiguous: int
    """Tokens whose string belongs to several ids."""
    spaces: str
    """How the pages' tokens and the tokenizer's differ in leading spaces; empty if they do not."""

    @property
    def same(self) -> bool:
        """Whether every layer is within what float32 rounds, in whatever dtype it was computed."""
        return self.rounding is None and not any(one.why for one in self.layers)

    @property
    def enough(self) -> bool:
        """Whether the texts compared are enough to judge by.

        They are not if most texts were left out; a text left out as ambiguous does not count where the others are the
        same. Rounding is told from other weights by `FEW` texts and more.
        """
        if self.left_out > self.texts:
            return self.same and not self.absent and self.texts >= FEW
        return self.same or self.rounding is None or self.texts >= FEW

    @property
    def level(self) -> str:
        """The dtype within whose rounding `fits` agrees; `nothing`, or `unknown` if too little was compared."""
        if not self.enough:
            return "unknown"
        if any(one.why for one in self.layers):
            return "nothing"
        dtype = self.rounding or self.fits.way.dtype
        return "bfloat16" if dtype == "autocast" else dtype

    @property
    def agrees(self) -> bool:
        """Whether weights and tokenizer are those of the store, read at a site and in a dtype that the subject has."""
        way = self.fits.way
        plain = way.bos == "as shown" and not way.shift and way.site != FOLDED
        return self.level not in ("nothing", "unknown") and way.weights == self.asked.way.weights and plain


def by_neuron(compared: Sequence[TextDifference]) -> list[NeuronDifference]:
    """The differences of each neuron, worst first."""
    of: dict[tuple[int, int], list[TextDifference]] = {}
    for c in compared:
        of.setdefault((c.text.layer, c.text.neuron), []).append(c)
    found = [
        NeuronDifference(
            layer, neuron, len(some), sum(c.same_peak for c in some), max(c.largest for c in some),
            max(c.relative for c in some), correlation(some),
        )
        for (layer, neuron), some in of.items()
    ]  # fmt: skip
    return sorted(found, key=lambda one: (-one.relative, one.layer, one.neuron))
