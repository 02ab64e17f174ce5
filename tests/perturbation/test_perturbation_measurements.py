"""Measurements: memory, and activation / original by neuron, example and kind."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from perturbation_twins import CONFIG

from neurolocal.perturbation.measurements import Measured, Measurements, RelativeActivations, joined
from neurolocal.perturbation.substitutes import Substitute
from neurolocal.records import KINDS, Example
from neurolocal.words import Vocabulary


def measured_of(rows) -> Measurements:
    measured = Measurements()
    for order, (neuron, rank, kind, activation, lowest) in enumerate(rows):
        example = Example(rank, 0, 3, 1.0, 0, np.arange(8), np.zeros(8, np.float32))
        substitute = Substitute(kind, kind, (1,), 0.5)
        i = measured.add(neuron, example, substitute, order=order, position=3, lowest=lowest)
        measured.activation[i] = activation
    return measured


def whole(rows) -> Measured:
    return joined([measured_of(rows).evidence()])


def test_an_original_on_the_wrong_side_of_zero_is_left_out() -> None:
    rows = [(7, 0, "original", -1.0, False), (7, 0, "neighbour", 2.0, False)]
    rows += [(7, 1, "original", 2.0, False), (7, 1, "neighbour", 1.0, False)]
    relative = RelativeActivations([7], whole(rows), CONFIG)
    assert relative.n_examples.tolist() == [1]
    assert np.array_equal(relative["neighbour"][0, :2, 0], [np.nan, 0.5], equal_nan=True)
    assert np.isnan(relative["control"]).all()
    down = RelativeActivations([7], whole([(*row[:4], True) for row in rows]), CONFIG)
    assert np.array_equal(down["neighbour"][0, :2, 0], [-2.0, np.nan], equal_nan=True)


def test_a_substitute_takes_28_bytes() -> None:
    rows = [(n, r, KINDS[r % len(KINDS)], 1.0, False) for n in range(1000) for r in range(10)]
    measured = measured_of(rows)
    columns = ("neuron", "rank", "order", "kind", "text", "cosine", "position", "lowest", "activation")
    held = sum(len(c) * c.itemsize for c in (getattr(measured, name) for name in columns))
    assert held == 28 * len(rows)
    assert len(measured.texts) == len({kind for _, _, kind, *_ in rows})


def test_parts_are_joined_by_neuron_rank_and_order(rng: np.random.Generator) -> None:
    """However the substitutes are dealt to parts, and whatever number a text has in each."""
    rows = [(n, r, KINDS[k], float(rng.normal()), False) for n in (2, 9) for r in range(3) for k in range(4)]
    measured, at = measured_of(rows), rng.permutation(len(rows))
    parts = []
    for some in np.array_split(at, 3):
        evidence = measured.evidence()
        columns = {name: column[some] for name, column in evidence.items() if name != "texts"}
        texts = list(reversed(evidence["texts"]))
        parts.append(columns | {"text": (len(texts) - 1 - columns["text"]).astype(np.int32), "texts": texts})
    found, expected = joined(parts), whole(rows)
    for name in Measured._fields[:-1]:
        if name != "text":
            assert np.array_equal(getattr(found, name), getattr(expected, name)), name
    assert [found.texts[t] for t in found.text] == [expected.texts[t] for t in expected.text]


def test_relative_activations_equal_a_plain_loop(rng: np.random.Generator) -> None:
    rows = []
    for neuron, rank in [(n, r) for n in (2, 5, 9) for r in range(CONFIG.examples)]:
        rows.append((neuron, rank, "original", float(rng.normal()), False))
        kinds = rng.choice(["neighbour", "control", "reach"], rng.integers(0, 8)).tolist()
        rows += [(neuron, rank, kind, float(rng.normal()), False) for kind in kinds]
    order = rng.permutation(len(rows))
    relative = RelativeActivations([2, 5, 9], whole([rows[i] for i in order]), CONFIG)
    for i, neuron in enumerate((2, 5, 9)):
        for rank in range(CONFIG.examples):
            own = [rows[j] for j in order if rows[j][:2] == (neuron, rank)]
            original = np.float32(next(a for *_, kind, a, _ in own if kind == "original"))
            for kind in ("neighbour", "control", "reach"):
                found = relative[kind][i, rank]
                values = [np.round(np.float32(a) / original, 4) for *_, k, a, _ in own if k == kind]
                if original <= 0:
                    assert np.isnan(found).all()
                else:
                    assert found[~np.isnan(found)].tolist() == values
    assert relative.n_examples.sum() == sum(kind == "original" and a > 0 for _, _, kind, a, _ in rows)


class Recorder:
    """A subject whose activation at a branch is the branch's neuron; it records the passes."""

    vocabulary = Vocabulary([b"a"], np.array([False]))
    n_ctx = bos = None
    half_precision = False

    def __init__(self) -> None:
        self.passes: list[list[Any]] = []

    def encode_exactly(self, text: str) -> None:
        return None

    def activations_of_rows(self, layer, rows):
        for i, (_, some) in reversed(list(enumerate(rows))):  # any order
            self.passes.insert(0, list(some))
            values = np.array([neuron for _, _, neuron in some], np.float32)
            yield i, SimpleNamespace(largest=values, smallest=-values)


def test_equal_substitutes_are_run_side_by_side_and_each_gets_its_own_activation(monkeypatch) -> None:
    monkeypatch.setattr("neurolocal.perturbation.measurements.BRANCHES", 4)
    measured = measured_of([(n, 0, kind, 0.0, n % 2 == 1) for n in range(5) for kind in ("control", "neighbour")])
    subject = Recorder()
    measured.run([(range(10), np.arange(3))], subject, 7)
    assert [len(one) for one in subject.passes] == [4, 4, 2]
    assert [tokens for one in subject.passes for _, tokens, _ in one] == [(1,)] * 10
    assert [n for one in subject.passes for *_, n in one] == [*range(5), *range(5)], "grouped by text"
    assert list(measured.activation) == [float(-n if n % 2 else n) for n in range(5) for _ in "ab"]
