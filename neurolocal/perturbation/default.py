"""The default method: substitutes in the peak word's place, within its context, neighbours beside random controls.

Invariant: neurons don't know each other; the table is the same whatever else is tested beside them, to rounding of
the forward pass. The original word runs as a branch too: it is the reference of its substitutes, and must give what the
store says, else store and subject don't belong together.
Cost: one pass over the rows that hold examples, one over the substitutes' tokens, up to the layer read.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Integer

from neurolocal.config import PerturbationConfig
from neurolocal.discovery import q_values
from neurolocal.errors import StoreError
from neurolocal.perturbation import statistics
from neurolocal.perturbation.substitutes import Encoder, NearWords, Substitute, Substitutes
from neurolocal.records import Example, PerturbationTable, Side, SubstituteTable
from neurolocal.words import Vocabulary, Word

ROUNDING = {False: 1e-3, True: 0.1}
"""Median relative difference of stored and repeated activations that float32 (False) and 16 bits (True) explain."""

ENOUGH = 20
"""Examples from which a median is believed before the end."""

log = logging.getLogger(__name__)


@runtime_checkable
class Strongest(Protocol):
    """Activations of branches; see `neurolocal.subject.packed.Activations`."""

    @property
    def largest(self) -> Float32[np.ndarray, "branch"]:
        """The largest over each branch's own tokens."""
        ...

    @property
    def smallest(self) -> Float32[np.ndarray, "branch"]:
        """The smallest over each branch's own tokens."""
        ...


@runtime_checkable
class BranchSubject(Encoder, Protocol):
    """A subject that runs branches; see `neurolocal.subject.packed.Packed`."""

    @property
    def half_precision(self) -> bool:
        """Whether it computes in 16 bits."""
        ...

    def activations(
        self, row: Any, branches: Mapping[int, Sequence[tuple[int, Sequence[int], int]]]
    ) -> Mapping[int, Any]:
        """By layer, the `Strongest` of each branch (position, token ids, neuron)."""
        ...


class Trial(NamedTuple):
    """One example with its substitutes, the original first, and their activations."""

    rank: int
    """Of the example."""
    substitutes: Sequence[Substitute]
    """The original first."""
    activation: Float32[np.ndarray, "substitute"]
    """The strongest over each substitute's tokens."""


def perturb(
    neurons: Mapping[int, Sequence[Example]],
    rows: Callable[[int], Integer[np.ndarray, "pos"]],
    subject: BranchSubject,
    vectors: NearWords,
    layer: int,
    *,
    word_counts: Mapping[str, int],
    config: PerturbationConfig,
    side: Side = "largest",
    progress: bool = False,
) -> PerturbationTable:
    """Replace the peak words of each neuron's strongest examples.

    Args:
        neurons: examples by neuron, strongest first.
        rows: token ids of a row by its index in the corpus.
        subject: the model that the examples are from, as `Packed`.
        vectors: word vectors.
        layer: of the neurons.
        word_counts: how often each case-folded word occurs in the corpus.
        config: how many of what.
        side: which end of the activations the examples hold; of the smallest, lower is stronger.
        progress: whether to show a bar.

    Examples whose peak token has no letters or whose word has no vector or no neighbour are left out: `n_examples`
    says how many were tested. A neuron with none has NaN in every figure.

    Raises:
        StoreError: the originals do not give the activations of the examples.
    """
    finder = Substitutes(subject, vectors, word_counts=word_counts, config=config)
    tested = _run(neurons, rows, subject, finder, layer, config=config, side=side, progress=progress)
    return _table(neurons, tested, layer, config=config, sign=1 if side == "largest" else -1)


def _run(
    neurons: Mapping[int, Sequence[Example]],
    rows: Callable[[int], Integer[np.ndarray, "pos"]],
    subject: BranchSubject,
    finder: Substitutes,
    layer: int,
    *,
    config: PerturbationConfig,
    side: Side,
    progress: bool,
) -> dict[int, list[Trial]]:
    """Row by row, so that a row's prefix is run once and no more than a row's branches are in memory."""
    from tqdm import tqdm

    of_row: dict[int, list[tuple[int, Example]]] = defaultdict(list)
    for neuron, examples in neurons.items():
        for example in examples[: config.examples]:
            of_row[example.row].append((neuron, example))
    words = {index: _peak_words(subject.vocabulary, rows(index), [e for _, e in of_row[index]]) for index in of_row}
    finder.know(word.text for own in words.values() for word in own.values())
    found: dict[int, list[Trial]] = defaultdict(list)
    agreement = _Agreement(layer, half_precision=subject.half_precision)
    for index in tqdm(sorted(of_row), desc=f"perturbation: layer {layer}", unit="row", disable=not progress):
        row = rows(index)
        places = {w.start: finder.at(row, w, row_index=index) for w in words[index].values()}
        asked = [
            (neuron, example, word.start)
            for neuron, example in of_row[index]
            if (word := words[index].get(example.position)) and len(places[word.start]) > 1
        ]
        branches = [(start, s.tokens, neuron) for neuron, _, start in asked for s in places[start]]
        if not branches:
            continue
        answer: Strongest = subject.activations(row, {layer: branches})[layer]
        strongest = answer.largest if side == "largest" else answer.smallest
        parts = np.split(strongest, np.cumsum([len(places[start]) for *_, start in asked])[:-1])
        for (neuron, example, start), part in zip(asked, parts, strict=True):
            found[neuron].append(Trial(example.rank, places[start], part))
            agreement.add(example.activation, float(part[0]))
        agreement.check()
    agreement.check(final=True)
    return found


def _peak_words(
    vocabulary: Vocabulary, row: Integer[np.ndarray, "pos"], examples: Sequence[Example]
) -> dict[int, Word]:
    """The word at each example's position; control tokens are no words."""
    return {
        position: vocabulary.word_at(row, position)
        for position in sorted({e.position for e in examples})
        if not vocabulary.special[row[position]]
    }


class _Agreement:
    """Do the originals give what the store says?"""

    def __init__(self, layer: int, *, half_precision: bool) -> None:
        self.layer, self.limit = layer, ROUNDING[half_precision]
        self.pairs: list[tuple[float, float]] = []

    def add(self, stored: float, repeated: float) -> None:
        self.pairs.append((stored, repeated))

    def check(self, *, final: bool = False) -> None:
        if not self.pairs or (not final and len(self.pairs) < ENOUGH):
            return
        stored, repeated = np.array(self.pairs).T
        # A hundredth of the largest: values near zero carry the rounding of the large ones beside them.
        scale = np.maximum(np.abs(stored), max(1e-2 * np.abs(stored).max(), 1e-9))
        difference = np.abs(repeated - stored) / scale
        if not np.median(difference) <= self.limit:
            raise StoreError(
                f"perturbing layer {self.layer}: the examples' own words give other activations than the store says "
                f"(median difference {np.median(difference):.1%}, rounding explains {self.limit:.1%}). "
                "Give the subject, in the dtype, that the store was collected with."
            )
        if final:
            log.info(
                "layer %d: originals equal the store's activations to %.1e (largest relative difference)",
                self.layer,
                difference.max(),
            )


def _table(
    neurons: Mapping[int, Sequence[Example]],
    tested: Mapping[int, Sequence[Trial]],
    layer: int,
    *,
    config: PerturbationConfig,
    sign: int,
) -> PerturbationTable:
    order = sorted(neurons)
    figures = [_figures(tested.get(n, ()), (config.seed, layer, n), config=config, sign=sign) for n in order]
    columns = {name: np.array([f[name] for f in figures]) for name in FIGURES}
    p = columns["p"].astype(np.float64)
    return PerturbationTable(
        neuron=np.array(order, dtype=np.int64),
        **{name: columns[name].astype(np.int32) for name in ("n_examples", "n_neighbours")},
        **{name: columns[name].astype(np.float32) for name in FIGURES[2:-1]},
        p=p,
        q=q_values(p),
        score=(columns["half"] - columns["control_half"]).astype(np.float32),
        substitutes=_substitutes({n: tested.get(n, ()) for n in order}),
    )


FIGURES = (
    *("n_examples", "n_neighbours", "held", "half", "control_held", "control_half"),
    *("relative", "control_relative", "auc", "p"),
)
"""Columns of the table that one neuron alone decides."""


def _figures(
    tested: Sequence[Trial], seed: tuple[int, int, int], *, config: PerturbationConfig, sign: int
) -> dict[str, int | float]:
    neighbours, controls = relative(tested, config=config, sign=sign)
    return {
        "n_examples": len(neighbours),
        "n_neighbours": int((~np.isnan(neighbours)).sum()),
        "held": statistics.share(neighbours, 1.0),
        "half": statistics.share(neighbours, 0.5),
        "control_held": statistics.share(controls, 1.0),
        "control_half": statistics.share(controls, 0.5),
        "relative": statistics.mean(neighbours),
        "control_relative": statistics.mean(controls),
        "auc": statistics.auc(neighbours, controls),
        "p": statistics.permutation_p(
            neighbours, controls, permutations=config.permutations, rng=np.random.default_rng(seed)
        ),
    }


def relative(
    tested: Sequence[Trial], *, config: PerturbationConfig, sign: int
) -> tuple[Float32[np.ndarray, "example neighbour"], Float32[np.ndarray, "example control"]]:
    """Activation / original of neighbours and controls, one line an example in rank order, NaN where there is none.

    Examples without a neighbour, or whose original is not on its own side of zero, are left out: there is no
    half of what is not there.
    """
    lines = []
    for example in sorted(tested, key=lambda t: t.rank):
        kinds = [s.kind for s in example.substitutes]
        if not sign * example.activation[0] > 0 or "neighbour" not in kinds:
            continue
        ratio = example.activation / example.activation[0]
        lines.append(
            [_padded(ratio, kinds, "neighbour", config.neighbours), _padded(ratio, kinds, "control", config.controls)]
        )
    if not lines:
        return np.empty((0, config.neighbours), np.float32), np.empty((0, config.controls), np.float32)
    return np.stack([a for a, _ in lines]), np.stack([b for _, b in lines])


def _padded(ratio: Float32[np.ndarray, "s"], kinds: Sequence[str], kind: str, size: int) -> Float32[np.ndarray, "size"]:
    values = ratio[[i for i, k in enumerate(kinds) if k == kind]]
    return np.concatenate([values, np.full(size - len(values), np.nan, np.float32)])


def _substitutes(tested: Mapping[int, Sequence[Trial]]) -> SubstituteTable:
    flat = [
        (neuron, example.rank, s, a)
        for neuron, examples in tested.items()
        for example in sorted(examples, key=lambda t: t.rank)
        for s, a in zip(example.substitutes, example.activation, strict=True)
    ]
    return SubstituteTable(
        neuron=np.array([n for n, *_ in flat], dtype=np.int64),
        rank=np.array([r for _, r, _, _ in flat], dtype=np.int32),
        kind=[s.kind for _, _, s, _ in flat],
        word=[s.text for _, _, s, _ in flat],
        cosine=np.array([s.cosine for _, _, s, _ in flat], dtype=np.float32),
        activation=np.array([a for *_, a in flat], dtype=np.float32),
    )
