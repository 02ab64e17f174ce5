"""The default method: substitutes in place of the peak word, within its context, neighbours beside random controls.

Invariant: neurons are independent of each other: the table is the same whatever other neurons are tested, to rounding
of the forward pass. The original word is run as a branch too: its activation is the reference of its substitutes, and
must equal the store's, or else store and subject do not belong together.
Cost: see `layer_run`; then the statistics of `statistics`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64

from neurolocal.config import PerturbationConfig
from neurolocal.errors import StoreError
from neurolocal.fdr import q_values
from neurolocal.perturbation import statistics
from neurolocal.perturbation.layer_run import Context, LayerRun, RowTokens, random_contexts
from neurolocal.perturbation.measurements import BranchSubject, Measurements, RelativeActivations
from neurolocal.perturbation.substitutes import SubstituteFinder, WordVectors
from neurolocal.records import KINDS, Example, PerturbationTable, Side, SubstituteTable

ROUNDING = {False: 1e-3, True: 0.1}
"""Largest median relative difference of stored and repeated activations: in float32 (False) and 16 bits (True)."""

FIRST_CHECK = 20
"""Examples after which the difference is checked for the first time."""

DOSE_KINDS = ("neighbour", "grade1", "grade2", "grade3", "control")
"""From near to far: the kinds of the dose-response curve."""

log = logging.getLogger(__name__)


class InContextPerturbation:
    """Perturbs neurons of one subject on one corpus; its look-ups serve every layer and side."""

    def __init__(
        self,
        subject: BranchSubject,
        vectors: WordVectors,
        *,
        rows: RowTokens,
        row_index: Int64[np.ndarray, "row"],
        word_counts: Mapping[str, int],
        config: PerturbationConfig,
    ) -> None:
        """Prepare.

        Args:
            subject: the model that the examples are from, as `Packed`.
            vectors: word vectors.
            rows: token ids of a row by its index in the corpus.
            row_index: indices of the stored rows, from which the other contexts are drawn.
            word_counts: occurrences of each word of the corpus, as it stands in the text.
            config: how many substitutes of each kind.
        """
        self.subject, self.rows, self.config = subject, rows, config
        self.finder = SubstituteFinder(subject, vectors, word_counts=word_counts, config=config)
        self.contexts: list[Context] = (
            random_contexts(subject, rows, row_index, seed=config.seed) if config.contexts else []
        )

    def perturb(
        self,
        neurons: Mapping[int, Sequence[Example]],
        layer: int,
        *,
        side: Side = "largest",
        progress: bool = False,
    ) -> PerturbationTable:
        """Replace the peak words of each neuron's strongest examples.

        Peak words without letters or without a vector have no neighbours; `n_examples`, `n_neighbours` and `n_controls`
        give what was tested. A neuron without any test has NaN in every figure. Control tokens are not tested.

        Args:
            neurons: examples by neuron, strongest first.
            layer: of the neurons.
            side: which list the examples are from. Of `smallest` the lowest activation is the strongest; of a sign case
                the one farther from zero on the original's side.
            progress: whether to show a bar.

        Raises:
            StoreError: the activations of the originals differ from those of the examples.
        """
        agreement = _Agreement(layer, half_precision=self.subject.half_precision)
        run = LayerRun(self.subject, self.rows, self.finder, layer, contexts=self.contexts)
        measured = run.run(neurons, lowest=_lowest(side), repeated=agreement.add, progress=progress)
        agreement.check(final=True)
        return _table(sorted(neurons), measured, self.config)


def _lowest(side: Side) -> Callable[[Example], bool]:
    """Whether the lowest activation of an example is its strongest."""
    if side in ("largest", "smallest"):
        return lambda example: side == "smallest"
    return lambda example: example.activation < 0


class _Agreement:
    """Compares the activations of the originals with those in the store."""

    def __init__(self, layer: int, *, half_precision: bool) -> None:
        self.layer, self.limit = layer, ROUNDING[half_precision]
        self.pairs: list[tuple[float, float]] = []

    def add(self, stored: float, repeated: float) -> None:
        self.pairs.append((stored, repeated))
        if len(self.pairs) == FIRST_CHECK:
            self.check()

    def check(self, *, final: bool = False) -> None:
        if not self.pairs:
            return
        stored, repeated = np.array(self.pairs).T
        # At least 1/100 of the largest: values near zero have the rounding errors of the large values beside them.
        scale = np.maximum(np.abs(stored), max(1e-2 * np.abs(stored).max(), 1e-9))
        difference = np.abs(repeated - stored) / scale
        if not np.median(difference) <= self.limit:
            raise StoreError(
                f"perturbing layer {self.layer}: the activations of the examples' own words differ from the store's "
                f"(median difference {np.median(difference):.1%}, of which rounding explains {self.limit:.1%}). "
                "Give the subject, in the dtype, that the store was collected with."
            )
        if final:
            log.info("layer %d: originals equal the store's activations to %.1e", self.layer, difference.max())


def _table(order: list[int], measured: Measurements, config: PerturbationConfig) -> PerturbationTable:
    relative = RelativeActivations(order, measured, config)
    neighbours, controls = relative["neighbour"], relative["control"]
    cosines, values = (
        np.concatenate([f(kind) for kind in DOSE_KINDS], axis=2) for f in (relative.cosines, relative.__getitem__)
    )
    # The test is of the reported figure, the share that keeps half. A test of means finds every small similarity.
    kept = [np.where(np.isnan(values), np.nan, values >= 0.5) for values in (neighbours, controls)]
    p = statistics.permutation_p(*kept, permutations=config.permutations, seed=config.seed)
    figures: dict[str, Any] = {
        "held": statistics.share(neighbours, 1.0),
        "half": statistics.share(neighbours, 0.5),
        "control_held": statistics.share(controls, 1.0),
        "control_half": statistics.share(controls, 0.5),
        "relative": statistics.mean(neighbours),
        "control_relative": statistics.mean(controls),
        "auc": statistics.auc(neighbours, controls),
        "dose": statistics.dose(cosines, values),
        **{name: statistics.mean(relative[name]) for name in ("grade1", "grade2", "grade3", "alone")},
        **{
            f"{name}_half": statistics.share(relative[name], 0.5)
            for name in ("variant", "form", "spelled", "reach", "elsewhere")
        },
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
        substitutes=_substitutes(measured),
    )


def _substitutes(measured: Measurements) -> SubstituteTable:
    """Sorted by neuron and example; within an example in the order in which they were found."""
    neuron, rank = np.frombuffer(measured.neuron, np.int32), np.frombuffer(measured.rank, np.int16)
    order = np.lexsort((np.arange(len(measured)), rank, neuron))
    kind, text = np.frombuffer(measured.kind, np.int8)[order], np.frombuffer(measured.text, np.int32)[order]
    return SubstituteTable(
        neuron=neuron[order].astype(np.int64),
        rank=rank[order].astype(np.int32),
        kind=[KINDS[k] for k in kind.tolist()],
        word=[measured.texts[t] for t in text.tolist()],
        cosine=np.frombuffer(measured.cosine, np.float32)[order],
        activation=np.frombuffer(measured.activation, np.float32)[order],
    )
