"""The notebook's falsification: the nearest words of each example token, run alone after BOS; which fire as strongly?

Invariant: every figure equals that of the notebook's loop, with one model call a substitute, to rounding. These are
stages 3 and 4 of the original, including their faults: no context, no control, only single tokens without a space.
Cost: one pass over BOS for each block of neurons, with each of the block's distinct substitutes once as a branch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from neurolocal.records import Example, PerturbationTable, SubstituteTable
from neurolocal.stage import Evidence
from neurolocal.words import Vocabulary
from neurolocal.words.notebook_examples import NotebookExample, notebook_examples

NEAREST = 5
"""Substitutes checked for each example token."""

BLOCK = 64
"""Neurons whose substitutes are run together; it limits memory."""


@runtime_checkable
class NotebookVectors(Protocol):
    """Word vectors, as this module needs them."""

    def find(self, word: str, *, fold: bool = True) -> Any:
        """The vector of a word, composed if the vectors can; None where the notebook has a KeyError."""
        ...

    def neighbours_of(self, words: Sequence[str], n: int) -> list[list[tuple[str, float]]]:
        """The n nearest words of each word, with their cosines."""
        ...


@runtime_checkable
class NotebookSubject(Protocol):
    """A subject, as this module needs it; see `neurolocal.subject.packed.Packed`."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The bytes of every token id."""
        ...

    @property
    def bos(self) -> int | None:
        """The id before a substitute; None: no id."""
        ...

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Token ids of whole texts, without special tokens."""
        ...

    def decode(self, token: int) -> str:
        """The tokenizer's text of one id."""
        ...

    def activations(
        self, row: Any, branches: Mapping[int, Sequence[tuple[int, Sequence[int], int]]]
    ) -> Mapping[int, Any]:
        """By layer, `flat` and `start` of the activations of each branch (position, token ids, neuron)."""
        ...


class NotebookSubstitute(NamedTuple):
    """One substitute of one example token."""

    word: str
    """The word, in the spelling of the vectors."""
    cosine: float
    """Cosine to the example token."""
    activation: float
    """The largest over all positions, BOS included; NaN where it is not at the substitute."""


class Falsification(NamedTuple):
    """A neuron's examples and their substitutes; no substitutes where the notebook's loop ends with an error."""

    examples: list[NotebookExample]
    """In rank order."""
    checked: list[list[NotebookSubstitute]]
    """Substitutes by example."""


def notebook_perturbation(
    neurons: Mapping[int, Sequence[Example]], subject: NotebookSubject, vectors: NotebookVectors, layer: int
) -> PerturbationTable:
    """Run the nearest words of each neuron's example tokens, each alone after BOS.

    Args:
        neurons: examples by neuron.
        subject: the model that the examples are from, as `Packed`.
        vectors: word vectors; the original used FastText, which has a vector for every token.
        layer: of the neurons.

    `score` is the average activation of the token list that the notebook describes, `held` the share of substitutes
    that it keeps. A token without a vector is an error that ends the notebook's loop for this neuron: the neuron keeps
    its original list and has no substitutes. In the table of substitutes, the kind `original` is an example token with
    the activation of the store.
    """
    order = sorted(neurons)
    parts = [order[begin : begin + BLOCK] for begin in range(0, len(order), BLOCK)]
    return notebook_table(
        [notebook_evidence({n: neurons[n] for n in block}, subject, vectors, layer) for block in parts]
    )


def notebook_evidence(
    neurons: Mapping[int, Sequence[Example]], subject: NotebookSubject, vectors: NotebookVectors, layer: int
) -> Evidence:
    """The figures and substitutes of one block of neurons; arguments as of `notebook_perturbation`."""
    examples = {n: notebook_examples(neurons[n], subject.vocabulary) for n in sorted(neurons)}
    return _columns(_falsify(examples, subject, vectors, layer))


def notebook_table(evidence: Sequence[Evidence]) -> PerturbationTable:
    """The evidence of all blocks as a table."""
    whole: dict[str, Any] = {}
    for name, first in _columns({}).items():
        columns = [first, *(block[name] for block in evidence)]
        whole[name] = [*chain(*columns)] if isinstance(first, list) else np.concatenate(columns)
    substitutes = {f.name: whole.pop(f"substitutes_{f.name}") for f in dataclasses.fields(SubstituteTable)}
    measured: dict[str, Any] = whole | {"substitutes": SubstituteTable(**substitutes)}
    for column in dataclasses.fields(PerturbationTable):
        kind = np.int32 if column.name.startswith("n_") else np.float64 if column.name in ("p", "q") else np.float32
        measured.setdefault(column.name, np.full(len(whole["neuron"]), 0 if kind is np.int32 else np.nan, kind))
    return PerturbationTable(**measured)


def notebook_tokens(table: PerturbationTable) -> dict[int, list[str]]:
    """By neuron, the tokens that the notebook describes: examples and kept substitutes, or the examples alone.

    Stage 4: the longer list is used if its average is at least that of the examples alone.
    """
    columns = table.substitutes
    tokens: dict[int, list[str]] = {int(n): [] for n in table.neuron}
    kept: dict[int, list[str]] = {int(n): [] for n in table.neuron}
    total = dict.fromkeys(tokens, 0.0)
    original = 0.0
    for i, neuron in enumerate(columns.neuron.tolist()):
        activation = float(columns.activation[i])
        if columns.kind[i] == "original":
            original = activation
            tokens[neuron].append(columns.word[i])
        elif activation >= original:  # False for NaN
            kept[neuron].append(columns.word[i])
            total[neuron] += activation
    return {n: tokens[n] + (kept[n] if total[n] >= 0 else []) for n in tokens}


def _falsify(
    examples: Mapping[int, list[NotebookExample]],
    subject: NotebookSubject,
    vectors: NotebookVectors,
    layer: int,
) -> dict[int, Falsification]:
    near = _nearest({e.token for one in examples.values() for e in one}, vectors)
    sound = {n: all(near[e.token] is not None for e in one) for n, one in examples.items()}
    words = sorted({w for found in near.values() for w, _ in found or ()})
    ids = dict(zip(words, subject.encode(words), strict=True))
    head = [] if subject.bos is None else [subject.bos]
    pairs = [
        (neuron, word)
        for neuron, one in examples.items()
        if sound[neuron]
        for word in dict.fromkeys(w for e in one for w, _ in near[e.token] or ())
        if ids[word]
    ]
    strongest = _strongest([(n, ids[w]) for n, w in pairs], head, subject, layer)
    # An activation at another token than the substitute is no evidence for the substitute.
    own = {
        (neuron, word): activation if subject.decode(token) == word else float("nan")
        for (neuron, word), (token, activation) in zip(pairs, strongest, strict=True)
    }
    missing = float("nan")
    return {
        neuron: Falsification(
            one,
            [
                [NotebookSubstitute(w, cosine, own.get((neuron, w), missing)) for w, cosine in near[e.token] or ()]
                for e in one
                if sound[neuron]
            ],
        )
        for neuron, one in examples.items()
    }


def _nearest(tokens: set[str], vectors: NotebookVectors) -> dict[str, list[tuple[str, float]] | None]:
    known = sorted(t for t in tokens if vectors.find(t, fold=False) is not None)
    return dict.fromkeys(tokens) | dict(zip(known, vectors.neighbours_of(known, NEAREST), strict=True))


def _strongest(
    texts: Sequence[tuple[int, Sequence[int]]], head: Sequence[int], subject: NotebookSubject, layer: int
) -> list[tuple[int, float]]:
    """For each (neuron, ids of a text): the token at the first strongest position, BOS included, and its activation."""
    if not texts:
        return []
    row = np.array(head, dtype=np.int64)
    firsts = {n: i for i, n in enumerate(dict.fromkeys(n for n, _ in texts))} if head else {}
    branches = [(0, head, n) for n in firsts] + [(len(head), ids, n) for n, ids in texts]
    flat, start = subject.activations(row, {layer: branches})[layer][:2]
    parts = np.split(flat, start[1:])
    found = []
    for (neuron, ids), own in zip(texts, parts[len(firsts) :], strict=True):
        values = np.concatenate([parts[firsts[neuron]], own]) if head else own
        at = int(np.argmax(values))
        found.append(([*head, *ids][at], float(values[at])))
    return found


def _columns(found: Mapping[int, Falsification]) -> dict[str, Any]:
    order = list(found)
    figures = np.array([_figures(found[n]) for n in order], dtype=np.float64).reshape(-1, 4)
    return {
        "neuron": np.array(order, dtype=np.int64),
        "n_examples": figures[:, 0].astype(np.int32),
        "n_neighbours": figures[:, 1].astype(np.int32),
        "held": figures[:, 2].astype(np.float32),
        "score": figures[:, 3].astype(np.float32),
        **{f"substitutes_{name}": column for name, column in vars(_substitutes(found)).items()},
    }


def _figures(found: Falsification) -> tuple[int, int, float, float]:
    """Examples, substitutes, share of substitutes kept, and the average of the list that is described."""
    own = sum(e.activation for e in found.examples)
    n_checked = sum(len(one) for one in found.checked)
    kept = [
        c.activation
        for e, one in zip(found.examples, found.checked, strict=False)
        for c in one
        if c.activation >= e.activation  # False for NaN
    ]
    n = len(found.examples)
    average = max(own + sum(kept), own) / ((NEAREST + 1) * n) if n else float("nan")
    return n, n_checked, len(kept) / n_checked if n_checked else float("nan"), average


def _substitutes(found: Mapping[int, Falsification]) -> SubstituteTable:
    flat: list[tuple[int, int, str, str, float, float]] = []
    for neuron, one in found.items():
        for i, example in enumerate(one.examples):
            flat.append((neuron, i, "original", example.token, 1.0, example.activation))
            for c in one.checked[i] if one.checked else ():
                flat.append((neuron, i, "neighbour", c.word, c.cosine, c.activation))
    return SubstituteTable(
        neuron=np.array([line[0] for line in flat], dtype=np.int64),
        rank=np.array([line[1] for line in flat], dtype=np.int32),
        kind=[line[2] for line in flat],
        word=[line[3] for line in flat],
        cosine=np.array([line[4] for line in flat], dtype=np.float32),
        activation=np.array([line[5] for line in flat], dtype=np.float32),
    )
