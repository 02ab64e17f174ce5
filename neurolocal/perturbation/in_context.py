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
from neurolocal.perturbation.measurements import BranchSubject, Measured, Measurements, RelativeActivations, joined
from neurolocal.perturbation.substitutes import SubstituteFinder, WordVectors
from neurolocal.records import KINDS, Example, PerturbationTable, Side, SubstituteTable
from neurolocal.stage import Evidence

FIRST_CHECK = 20
"""Examples of a part from which the difference is checked at once."""

ROUNDING = {False: 1e-3, True: 0.1}
"""Largest median relative difference of stored and repeated activations: in float32 (False) and 16 bits (True)."""

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

    def layer_run(self, neurons: Mapping[int, Sequence[Example]], layer: int, *, side: Side = "largest") -> LayerRun:
        """The run of a layer's substitutes, whose parts give the evidence of `perturbation_table`.

        Args:
            neurons: examples by neuron, strongest first.
            layer: of the neurons.
            side: which list the examples are from. Of `smallest` the lowest activation is the strongest; of a sign case
                the one farther from zero on the original's side.
        """
        return LayerRun(
            self.subject, self.rows, self.finder, layer, neurons, contexts=self.contexts, lowest=_lowest(side)
        )

    def evidence(self, run: LayerRun, part: int) -> Evidence:
        """The evidence of one part.

        Raises:
            StoreError: as of `perturbation_table`, where the part has enough examples to say so.
        """
        measured = run.part(part)
        _require_agreement(
            run.neurons, measured, layer=run.layer, half_precision=self.subject.half_precision, least=FIRST_CHECK
        )
        return measured.evidence()

    def perturb(
        self, neurons: Mapping[int, Sequence[Example]], layer: int, *, side: Side = "largest"
    ) -> PerturbationTable:
        """Replace the peak words of each neuron's strongest examples: every part, one after the other.

        Arguments as of `layer_run`, errors as of `perturbation_table`.
        """
        run = self.layer_run(neurons, layer, side=side)
        evidence = [self.evidence(run, part) for part in run.parts]
        return perturbation_table(
            neurons, evidence, layer=layer, config=self.config, half_precision=self.subject.half_precision
        )


def perturbation_table(
    neurons: Mapping[int, Sequence[Example]],
    evidence: Sequence[Evidence],
    *,
    layer: int,
    config: PerturbationConfig,
    half_precision: bool,
) -> PerturbationTable:
    """The figures of a layer's neurons.

    Peak words without letters or without a vector have no neighbours; `n_examples`, `n_neighbours` and `n_controls`
    give what was tested. A neuron without any test has NaN in every figure. Control tokens are not tested.

    Args:
        neurons: examples by neuron, strongest first.
        evidence: of all parts.
        layer: of the neurons.
        config: as of the run.
        half_precision: whether the subject computes in 16 bits.

    Raises:
        StoreError: the activations of the originals differ from those of the examples.
    """
    measured = joined(evidence)
    _require_agreement(neurons, measured, layer=layer, half_precision=half_precision)
    return _table(sorted(neurons), measured, config)


def _lowest(side: Side) -> Callable[[Example], bool]:
    """Whether the lowest activation of an example is its strongest."""
    if side in ("largest", "smallest"):
        return lambda example: side == "smallest"
    return lambda example: example.activation < 0


def _require_agreement(
    neurons: Mapping[int, Sequence[Example]], measured: Measured | Measurements, *, layer: int, half_precision: bool,
    least: int = 1,
) -> None:  # fmt: skip
    """Compare the activations of originals with those in the store, if there are so many.

    Raises:
        StoreError: they differ by more than rounding explains.
    """
    original = [i for i, kind in enumerate(measured.kind) if kind == KINDS.index("original")]
    if len(original) < least:
        return
    activation = {(neuron, e.rank): e.activation for neuron, examples in neurons.items() for e in examples}
    stored = np.array([activation[measured.neuron[i], measured.rank[i]] for i in original])
    repeated = np.array([measured.activation[i] for i in original])
    limit = ROUNDING[half_precision]
    # At least 1/100 of the largest: values near zero have the rounding errors of the large values beside them.
    scale = np.maximum(np.abs(stored), max(1e-2 * np.abs(stored).max(), 1e-9))
    difference = np.abs(repeated - stored) / scale
    if not np.median(difference) <= limit:
        raise StoreError(
            f"perturbing layer {layer}: the activations of the examples' own words differ from the store's "
            f"(median difference {np.median(difference):.1%}, of which rounding explains {limit:.1%}). "
            "Give the subject, in the dtype, that the store was collected with."
        )
    log.info("layer %d: originals equal the store's activations to %.1e", layer, difference.max())


def _table(order: list[int], measured: Measured, config: PerturbationConfig) -> PerturbationTable:
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


def _substitutes(measured: Measured) -> SubstituteTable:
    return SubstituteTable(
        neuron=measured.neuron.astype(np.int64),
        rank=measured.rank.astype(np.int32),
        kind=[KINDS[k] for k in measured.kind.tolist()],
        word=[measured.texts[t] for t in measured.text.tolist()],
        cosine=measured.cosine,
        activation=measured.activation,
    )
