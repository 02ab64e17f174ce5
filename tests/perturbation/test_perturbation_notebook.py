"""The notebook's falsification against its own loop: one model call a substitute, from original-method.md."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from perturbation_twins import ToyVectors
from tables import filled

from neurolocal.perturbation import notebook_perturbation, notebook_tokens
from neurolocal.records import PerturbationTable, SubstituteTable
from neurolocal.subject.packed import Packed
from neurolocal.words.notebook_examples import as_parsed, notebook_examples


@pytest.fixture(scope="session")
def tokens(small) -> ToyVectors:
    """Vectors of every token as it stands and of its bare word, as FastText would have."""
    rng = np.random.default_rng(3)
    names = {t for row in small.rows.values() for t in as_parsed(small.subject.vocabulary.str_tokens(row))}
    return ToyVectors({w: rng.normal(size=6) for w in sorted(names | {n.strip() for n in names} - {""})})


def literal(small, vectors, examples, table: PerturbationTable, neuron: int, layer: int):
    """Stages 3 and 4 as the notebook runs them.

    Each activation is compared with the table's, which decides from there on: rounding would break ties otherwise.
    """
    columns = zip(*(getattr(table.substitutes, name) for name in ("neuron", "kind", "word", "activation")), strict=True)
    measured = {word: float(value) for n, kind, word, value in columns if n == neuron and kind != "original"}
    subject = small.subject
    own = notebook_examples(examples, subject.vocabulary)
    total = sum(e.activation for e in own)
    names, kept, kept_sum, checked = [e.token for e in own], [], 0.0, 0
    try:
        for example in own:
            if vectors.find(example.token, fold=False) is None:
                raise KeyError(example.token)
            for word, _ in vectors.near(example.token, 5):
                ids = [subject.bos, *subject.encode([word])[0]]
                values = subject.activations(torch.tensor([ids]), layer)[0, :, neuron]
                near = 1e-4 * float(values.abs().max())
                strings = {subject.tokenizer.decode([ids[i]]) for i in torch.nonzero(values >= values.max() - near)}
                value = measured[word]
                assert strings - {word} if np.isnan(value) else word in strings
                assert np.isnan(value) or abs(value - float(values.max())) < near
                checked += 1
                if value >= example.activation:
                    kept.append(word)
                    kept_sum += value
    except KeyError:
        return names, names, total / (6 * len(own)), 0, 0
    average = (total + kept_sum) / (6 * len(own))
    if average >= total / (6 * len(own)):
        return names, names + kept, average, checked, len(kept)
    return names, names, total / (6 * len(own)), checked, len(kept)


def weak(small, layer: int, neurons, rng) -> dict[str, Any]:
    """Examples at weak positions too, so that substitutes do reach them."""
    from dataclasses import replace

    found = small.examples(layer, neurons)
    return {
        n: [replace(e, activations=(e.activations * s).astype(np.float32)) for e in own]
        for n, own in found.items()
        for s in [rng.choice([1.0, 0.1, 0.01])]
    }


def test_equals_the_notebooks_loop(small, tokens, rng: np.random.Generator) -> None:
    layer = int(rng.integers(5))
    neurons = weak(small, layer, rng.choice(172, 70, replace=False).tolist(), rng)
    table = notebook_perturbation(neurons, Packed(small.subject), tokens, layer)
    described = notebook_tokens(table)
    n_kept = 0
    for i, neuron in enumerate(table.neuron.tolist()):
        names, expected, average, checked, kept = literal(small, tokens, neurons[neuron], table, neuron, layer)
        assert table.n_examples[i] == len(names)
        assert table.n_neighbours[i] == checked
        assert described[neuron] == expected
        assert table.score[i] == pytest.approx(average, rel=1e-4, abs=1e-5)
        assert table.held[i] == pytest.approx(kept / checked)
        n_kept += kept
    assert n_kept > 0, "no substitute was kept, so the comparison shows nothing"
    assert np.isnan([*table.half, *table.p, *table.q, *table.auc]).all()


def test_a_token_without_a_vector_falls_back_to_the_original_list(small, toy) -> None:
    neurons = small.examples(1, range(6))
    table = notebook_perturbation(neurons, Packed(small.subject), toy, 1)
    for i, neuron in enumerate(table.neuron.tolist()):
        names, expected, average, checked, _ = literal(small, toy, neurons[neuron], table, neuron, 1)
        assert checked == table.n_neighbours[i]
        assert notebook_tokens(table)[neuron] == expected == names
        assert table.score[i] == pytest.approx(average, rel=1e-5)
    assert (table.n_neighbours == 0).any()
    assert np.isnan(table.held[table.n_neighbours == 0]).all()


def test_no_examples_is_no_score(small, tokens) -> None:
    table = notebook_perturbation({4: []}, Packed(small.subject), tokens, 0)
    assert np.isnan(table.score).all()
    assert notebook_tokens(table) == {4: []}


def test_a_weaker_list_is_not_used() -> None:
    """Kept substitutes of negative examples lower the sum: stage 4 then describes the examples alone."""
    columns = SubstituteTable(
        neuron=np.array([1, 1, 1, 2, 2]),
        rank=np.zeros(5, np.int32),
        kind=["original", "neighbour", "neighbour", "original", "neighbour"],
        word=["a", "b", "c", "d", "e"],
        cosine=np.ones(5, np.float32),
        activation=np.array([-3.0, -2.0, np.nan, 1.0, 2.0], np.float32),
    )
    table = filled(PerturbationTable, [1, 2], substitutes=columns)
    assert notebook_tokens(table) == {1: ["a"], 2: ["d", "e"]}
