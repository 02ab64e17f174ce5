"""The notebook's falsification: each example token's nearest words, alone after BOS: which of them fire as strongly?

Invariant: every figure equals the notebook's loop, one model call a substitute, to rounding. It follows stages 3 and 4
of the original to the letter, its weak points included: no context, no control, single tokens without a space only.
Cost: BOS once a block of neurons, and each of the block's distinct substitutes once, side by side.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from neurolocal.records import Example, PerturbationTable, SubstituteTable
from neurolocal.words import Vocabulary
from neurolocal.words.notebook_examples import NotebookExample, notebook_examples

NEAREST = 5
"""Substitutes checked for each example token."""

BLOCK = 64
"""Neurons whose substitutes are run together: it bounds memory, and shows progress."""


@runtime_checkable
class NotebookVectors(Protocol):
    """Word vectors, as the notebook needs them."""

    def find(self, word: str, *, fold: bool = True) -> Any:
        """The vector of a word, composed where the vectors can; None is the notebook's KeyError."""
        ...

    def neighbours_of(self, words: Sequence[str], n: int) -> list[list[tuple[str, float]]]:
        """The n nearest words of each word, with their cosines."""
        ...


@runtime_checkable
class NotebookSubject(Protocol):
    """A subject, as the notebook needs it; see `neurolocal.subject.packed.Packed`."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The bytes of every token id."""
        ...

    @property
    def bos(self) -> int | None:
        """The id that is put before a substitute; None puts nothing."""
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


class Checked(NamedTuple):
    """One substitute of one example token."""

    word: str
    """As the vectors give it."""
    cosine: float
    """To the example token."""
    activation: float
    """The strongest over all positions, BOS included; NaN where another token than the substitute was strongest."""


class Falsified(NamedTuple):
    """A neuron's examples and what became of their substitutes; no substitutes where the notebook's loop failed."""

    examples: list[NotebookExample]
    """In order."""
    checked: list[list[Checked]]
    """By example."""


def notebook_perturb(
    neurons: Mapping[int, Sequence[Example]],
    subject: NotebookSubject,
    vectors: NotebookVectors,
    layer: int,
    *,
    progress: bool = False,
) -> PerturbationTable:
    """Check the nearest words of each neuron's example tokens, each alone after BOS.

    Args:
        neurons: examples by neuron.
        subject: the model that the examples are from, as `Packed`.
        vectors: word vectors; the original's were FastText's, which know every token.
        layer: of the neurons.
        progress: whether to show a bar.

    `score` is the notebook's average of the token list that it describes, `held` the share of substitutes that it
    keeps. A token without a vector is an error that ends the stage for its neuron: it keeps its original list and has
    no substitutes. In the table of substitutes the kind `original` is an example token with the store's activation.
    """
    from tqdm import tqdm

    order = sorted(neurons)
    found: dict[int, Falsified] = {}
    with tqdm(total=len(order), desc=f"perturbation: layer {layer}", unit="neuron", disable=not progress) as bar:
        for begin in range(0, len(order), BLOCK):
            block = order[begin : begin + BLOCK]
            examples = {n: notebook_examples(neurons[n], subject.vocabulary) for n in block}
            found |= _falsify(examples, subject, vectors, layer)
            bar.update(len(block))
    return _table(found)


def notebook_tokens(table: PerturbationTable) -> dict[int, list[str]]:
    """By neuron, the tokens that the notebook describes: examples and kept substitutes, or the examples alone.

    Stage 4: the enlarged list is taken where its average is at least that of the examples alone.
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
) -> dict[int, Falsified]:
    near = _nearest({e.token for one in examples.values() for e in one}, vectors)
    sound = {n: all(near[e.token] is not None for e in one) for n, one in examples.items()}
    words = sorted({w for found in near.values() for w, _ in found or ()})
    ids = dict(zip(words, subject.encode(words), strict=True))
    head = [] if subject.bos is None else [subject.bos]
    asked = [
        (neuron, word)
        for neuron, one in examples.items()
        if sound[neuron]
        for word in dict.fromkeys(w for e in one for w, _ in near[e.token] or ())
        if ids[word]
    ]
    strongest = _strongest([(n, ids[w]) for n, w in asked], head, subject, layer)
    # What fired elsewhere than at the substitute is no evidence for it.
    own = {
        (neuron, word): activation if subject.decode(token) == word else float("nan")
        for (neuron, word), (token, activation) in zip(asked, strongest, strict=True)
    }
    nowhere = float("nan")
    return {
        neuron: Falsified(
            one,
            [
                [Checked(w, cosine, own.get((neuron, w), nowhere)) for w, cosine in near[e.token] or ()]
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
    asked: Sequence[tuple[int, Sequence[int]]], head: Sequence[int], subject: NotebookSubject, layer: int
) -> list[tuple[int, float]]:
    """Of each (neuron, ids of a text): the token at the first strongest position, BOS included, and its activation."""
    if not asked:
        return []
    row = np.array(head, dtype=np.int64)
    firsts = {n: i for i, n in enumerate(dict.fromkeys(n for n, _ in asked))} if head else {}
    branches = [(0, head, n) for n in firsts] + [(len(head), ids, n) for n, ids in asked]
    flat, start = subject.activations(row, {layer: branches})[layer]
    parts = np.split(flat, start[1:])
    found = []
    for (neuron, ids), own in zip(asked, parts[len(firsts) :], strict=True):
        values = np.concatenate([parts[firsts[neuron]], own]) if head else own
        at = int(np.argmax(values))
        found.append(([*head, *ids][at], float(values[at])))
    return found


def _table(found: Mapping[int, Falsified]) -> PerturbationTable:
    order = list(found)
    figures = np.array([_figures(found[n]) for n in order], dtype=np.float64).reshape(-1, 4)
    measured: dict[str, Any] = {
        "neuron": np.array(order, dtype=np.int64),
        "n_examples": figures[:, 0].astype(np.int32),
        "n_neighbours": figures[:, 1].astype(np.int32),
        "held": figures[:, 2].astype(np.float32),
        "score": figures[:, 3].astype(np.float32),
        "substitutes": _substitutes(found),
    }
    for column in dataclasses.fields(PerturbationTable):
        kind = np.int32 if column.name.startswith("n_") else np.float64 if column.name in ("p", "q") else np.float32
        measured.setdefault(column.name, np.full(len(order), 0 if kind is np.int32 else np.nan, kind))
    return PerturbationTable(**measured)


def _figures(found: Falsified) -> tuple[int, int, float, float]:
    """Examples, substitutes checked, share kept, and the average of the list that is described."""
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


def _substitutes(found: Mapping[int, Falsified]) -> SubstituteTable:
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
