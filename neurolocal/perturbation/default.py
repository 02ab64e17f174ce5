"""The default method: substitutes in the peak word's place, within its context, neighbours beside random controls.

Invariant: neurons don't know each other; the table is the same whatever else is tested beside them, to rounding of
the forward pass. The original word runs as a branch too: it is the reference of its substitutes, and must give what the
store says, else store and subject don't belong together.
Cost: see `plan`; the figures some 0.1 ms a neuron.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from neurolocal.config import PerturbationConfig
from neurolocal.errors import StoreError
from neurolocal.fdr import q_values
from neurolocal.perturbation import statistics
from neurolocal.perturbation.plan import BranchSubject, Context, Rows, Run, Tried, contexts
from neurolocal.perturbation.substitutes import NearWords, Substitutes
from neurolocal.records import KINDS, Example, PerturbationTable, Side, SubstituteTable

ROUNDING = {False: 1e-3, True: 0.1}
"""Median relative difference of stored and repeated activations that float32 (False) and 16 bits (True) explain."""

ENOUGH = 20
"""Examples from which a median is believed before the end."""

log = logging.getLogger(__name__)


class Tester:
    """Tests neurons of one subject on one corpus; what it looks up serves every layer and side."""

    def __init__(
        self,
        subject: BranchSubject,
        vectors: NearWords,
        *,
        rows: Rows,
        row_index: Int64[np.ndarray, "row"],
        word_counts: Mapping[str, int],
        config: PerturbationConfig,
    ) -> None:
        """Prepare.

        Args:
            subject: the model that the examples are from, as `Packed`.
            vectors: word vectors.
            rows: token ids of a row by its index in the corpus.
            row_index: the rows that there are; the other contexts are drawn from them.
            word_counts: how often each word occurs in the corpus, as it stands in the text.
            config: how many of what.
        """
        self.subject, self.rows, self.config = subject, rows, config
        self.finder = Substitutes(subject, vectors, word_counts=word_counts, config=config)
        self.contexts: list[Context] = contexts(subject, rows, row_index, seed=config.seed) if config.contexts else []

    def perturb(
        self,
        neurons: Mapping[int, Sequence[Example]],
        layer: int,
        *,
        side: Side = "largest",
        progress: bool = False,
    ) -> PerturbationTable:
        """Replace the peak words of each neuron's strongest examples.

        Args:
            neurons: examples by neuron, strongest first.
            layer: of the neurons.
            side: which list the examples are from: of the smallest, lower is stronger; of a sign case, what lies
                farther on the original's side of zero.
            progress: whether to show a bar.

        Peak words without letters or without a vector have no neighbours; `n_examples`, `n_neighbours` and `n_controls`
        say what was tested. A neuron that nothing was tested of has NaN in every figure. Control tokens are not tested.

        Raises:
            StoreError: the originals do not give the activations of the examples.
        """
        agreement = _Agreement(layer, half_precision=self.subject.half_precision)
        run = Run(self.subject, self.rows, self.finder, layer, others=self.contexts)
        tried = run.run(neurons, down=_direction(side), repeated=agreement.add, progress=progress)
        agreement.check(final=True)
        return _table(sorted(neurons), tried, self.config)


def _direction(side: Side) -> Callable[[Example], bool]:
    """Whether an example's activation is the stronger the lower it is."""
    if side in ("largest", "smallest"):
        return lambda example: side == "smallest"
    return lambda example: example.activation < 0


class _Agreement:
    """Do the originals give what the store says?"""

    def __init__(self, layer: int, *, half_precision: bool) -> None:
        self.layer, self.limit = layer, ROUNDING[half_precision]
        self.pairs: list[tuple[float, float]] = []

    def add(self, stored: float, repeated: float) -> None:
        self.pairs.append((stored, repeated))
        if len(self.pairs) == ENOUGH:
            self.check()

    def check(self, *, final: bool = False) -> None:
        if not self.pairs:
            return
        before, after = np.array(self.pairs).T
        # A hundredth of the largest: values near zero carry the rounding of the large ones beside them.
        scale = np.maximum(np.abs(before), max(1e-2 * np.abs(before).max(), 1e-9))
        difference = np.abs(after - before) / scale
        if not np.median(difference) <= self.limit:
            raise StoreError(
                f"perturbing layer {self.layer}: the examples' own words give other activations than the store says "
                f"(median difference {np.median(difference):.1%}, rounding explains {self.limit:.1%}). "
                "Give the subject, in the dtype, that the store was collected with."
            )
        if final:
            log.info("layer %d: originals equal the store's activations to %.1e", self.layer, difference.max())


class Relative:
    """Activation / original of every substitute, and its cosine, by neuron, example and kind."""

    def __init__(self, neurons: Sequence[int], tried: Tried, config: PerturbationConfig) -> None:
        """Lay out what was tried. Examples whose original is not on its own side of zero have NaN: no half of it."""
        neuron, kind = np.frombuffer(tried.neuron, np.int32), np.frombuffer(tried.kind, np.int8)
        rank, down = np.frombuffer(tried.rank, np.int16), np.frombuffer(tried.down, np.int8)
        activation, cosine = np.frombuffer(tried.activation, np.float32), np.frombuffer(tried.cosine, np.float32)
        at = np.searchsorted(np.array(neurons, np.int64), neuron)
        original = np.full((len(neurons), config.examples), np.nan, np.float32)
        first = kind == KINDS.index("original")
        sound = first & (activation * np.where(down, -1, 1) > 0)
        original[at[sound], rank[sound]] = activation[sound]
        self.n_examples = (~np.isnan(original)).sum(axis=1)
        # What two passes round differently is equal: substitutes that share their strongest token tie.
        relative = np.round(activation / original[at, rank], 4)
        self._of: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for code, name in enumerate(KINDS):
            own = np.flatnonzero(kind == code)
            group = at[own] * config.examples + rank[own]
            slot = _number_within(group)
            width = max(int(slot.max(initial=-1)) + 1, 1)
            values, cosines = (np.full((len(neurons), config.examples, width), np.nan, np.float32) for _ in range(2))
            values[at[own], rank[own], slot] = relative[own]
            cosines[at[own], rank[own], slot] = cosine[own]
            self._of[name] = values, cosines

    def __getitem__(self, kind: str) -> Float32[np.ndarray, "neuron example substitute"]:
        """Activation / original of a kind; NaN where there is none."""
        return self._of[kind][0]

    def cosines(self, kind: str) -> Float32[np.ndarray, "neuron example substitute"]:
        """Cosines of a kind."""
        return self._of[kind][1]


def _number_within(group: Int64[np.ndarray, "s"]) -> Int64[np.ndarray, "s"]:
    """Of each entry, how many of its group stand before it."""
    order = np.argsort(group, kind="stable")
    ordered = group[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])) if len(group) else np.empty(0, np.int64)
    within = np.arange(len(group)) - np.repeat(starts, np.diff(np.append(starts, len(group))))
    number = np.empty(len(group), np.int64)
    number[order] = within
    return number


GRADED = ("neighbour", "grade1", "grade2", "grade3", "control")
"""From near to far: the dose-response curve."""


def _table(order: list[int], tried: Tried, config: PerturbationConfig) -> PerturbationTable:
    relative = Relative(order, tried, config)
    neighbours, controls = relative["neighbour"], relative["control"]
    graded = [np.concatenate([f(kind) for kind in GRADED], axis=2) for f in (relative.cosines, relative.__getitem__)]
    # What is tested is what is said: who keeps half. Means would call every trace of likeness significant.
    kept = [np.where(np.isnan(values), np.nan, values >= 0.5) for values in (neighbours, controls)]
    p = statistics.permutation_p(*kept, permutations=config.permutations, seed=config.seed)
    halves = {
        f"{name}_half": statistics.share(relative[name], 0.5)
        for name in ("variant", "form", "spelled", "reach", "elsewhere")
    }
    figures: dict[str, Any] = {
        "held": statistics.share(neighbours, 1.0),
        "half": statistics.share(neighbours, 0.5),
        "control_held": statistics.share(controls, 1.0),
        "control_half": statistics.share(controls, 0.5),
        "relative": statistics.mean(neighbours),
        "control_relative": statistics.mean(controls),
        "auc": statistics.auc(neighbours, controls),
        "dose": statistics.dose(*graded),
        **{name: statistics.mean(relative[name]) for name in ("grade1", "grade2", "grade3", "alone")},
        **halves,
    }
    figures["score"] = figures["half"] - figures["control_half"]
    return PerturbationTable(
        neuron=np.array(order, dtype=np.int64),
        n_examples=relative.n_examples.astype(np.int32),
        n_neighbours=statistics.number(neighbours).astype(np.int32),
        n_controls=statistics.number(controls).astype(np.int32),
        n_reach=statistics.number(relative["reach"]).astype(np.int32),
        **{name: values.astype(np.float32) for name, values in figures.items()},
        p=p,
        q=q_values(p),
        substitutes=_substitutes(tried),
    )


def _substitutes(tried: Tried) -> SubstituteTable:
    """By neuron, example, and kind, in the order in which they were found."""
    columns = [np.frombuffer(c, d) for c, d in ((tried.neuron, np.int32), (tried.rank, np.int16))]
    order = np.lexsort((np.arange(len(tried.neuron)), columns[1], columns[0]))
    kind, text = np.frombuffer(tried.kind, np.int8)[order], np.frombuffer(tried.text, np.int32)[order]
    return SubstituteTable(
        neuron=columns[0][order].astype(np.int64),
        rank=columns[1][order].astype(np.int32),
        kind=[KINDS[k] for k in kind.tolist()],
        word=[tried.texts[t] for t in text.tolist()],
        cosine=np.frombuffer(tried.cosine, np.float32)[order],
        activation=np.frombuffer(tried.activation, np.float32)[order],
    )
