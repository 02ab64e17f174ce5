"""The default method against a loop of single calls, and what it leaves out or refuses."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest
from perturbation_twins import one_by_one

from neurolocal.config import PerturbationConfig
from neurolocal.errors import StoreError
from neurolocal.perturbation import perturb
from neurolocal.perturbation.default import Trial, relative
from neurolocal.perturbation.statistics import auc, false_discovery, permutation_p
from neurolocal.perturbation.substitutes import Substitute, Substitutes
from neurolocal.subject.packed import Packed

CONFIG = PerturbationConfig(examples=4, neighbours=3, controls=3, permutations=99)


def run(small, toy, neurons, *, layer: int = 2, sign: int = 1, config=CONFIG, **changes):
    arguments = {"word_counts": small.counts, "config": config, "side": "largest" if sign > 0 else "smallest"}
    return perturb(neurons, small.rows.__getitem__, Packed(small.subject), toy, layer, **(arguments | changes))


def literal(small, toy, neuron: int, examples, *, layer: int, sign: int):
    """(rank, kind, text, activation) of one neuron's substitutes by plain loops, one model call a substitute."""
    packed = Packed(small.subject)
    finder = Substitutes(packed, toy, word_counts=small.counts, config=CONFIG)
    rows = []
    for example in examples[: CONFIG.examples]:
        row = small.rows[example.row]
        word = small.subject.vocabulary.word_at(row, example.position)
        substitutes = finder.at(row, word, row_index=example.row)
        if len(substitutes) < 2:
            continue
        for s in substitutes:
            values = one_by_one(small.subject, row, layer, [(word.start, s.tokens, neuron)])[0]
            rows.append((example.rank, s.kind, s.text, sign * max(sign * v for v in values)))
    return rows


def padded(rows, kind: str, sign: int) -> np.ndarray:
    """Activation / original, one line an example that counts, NaN where there are fewer than three."""
    lines = []
    for _, group in groupby(rows, key=lambda r: r[0]):
        own = list(group)
        original = np.float32(own[0][3])
        if sign * original > 0 and any(r[1] == "neighbour" for r in own):
            values = [np.float32(r[3]) / original for r in own if r[1] == kind]
            lines.append(values + [np.nan] * (3 - len(values)))
    return np.array(lines, np.float32).reshape(-1, 3)


@pytest.mark.parametrize("sign", [1, -1])
def test_equals_one_call_a_substitute(small, toy, sign: int, rng: np.random.Generator) -> None:
    layer = int(rng.integers(5))
    neurons = small.examples(layer, rng.choice(172, 12, replace=False).tolist(), sign=sign)
    table = run(small, toy, neurons, layer=layer, sign=sign)
    assert table.neuron.tolist() == sorted(neurons)
    assert (table.n_examples > 0).sum() > 6
    s = table.substitutes
    for i, neuron in enumerate(table.neuron.tolist()):
        true = literal(small, toy, neuron, neurons[neuron], layer=layer, sign=sign)
        own = [(s.rank[j], s.kind[j], s.word[j], s.activation[j]) for j in np.flatnonzero(s.neuron == neuron)]
        assert [r[:3] for r in own] == [r[:3] for r in true]
        a, b = np.array([r[3] for r in own]), np.array([r[3] for r in true])
        assert np.abs(a - b).max(initial=0) < 1e-4 * np.abs(b).max(initial=1)
        # From here on by the table's own activations: ties that rounding decides are then decided alike.
        near, far = padded(own, "neighbour", sign), padded(own, "control", sign)
        assert table.n_examples[i] == len(near)
        assert table.n_neighbours[i] == (~np.isnan(near)).sum()
        if not len(near):
            assert np.isnan([table.held[i], table.half[i], table.auc[i], table.p[i], table.score[i]]).all()
            continue
        assert table.relative[i] == pytest.approx(np.nanmean(near), rel=1e-5)
        assert table.control_relative[i] == pytest.approx(np.nanmean(far), rel=1e-5)
        for column, values, least in [
            (table.held, near, 1.0),
            (table.half, near, 0.5),
            (table.control_held, far, 1.0),
            (table.control_half, far, 0.5),
        ]:
            assert column[i] == pytest.approx((values[~np.isnan(values)] >= least).mean(), abs=1e-6)
        assert table.score[i] == pytest.approx(table.half[i] - table.control_half[i], abs=1e-6)
        assert table.auc[i] == pytest.approx(auc(near, far), abs=1e-6)
        p = permutation_p(near, far, permutations=99, rng=np.random.default_rng((CONFIG.seed, layer, neuron)))
        assert table.p[i] == pytest.approx(p, abs=1e-6)
    assert np.allclose(table.q, false_discovery(table.p), equal_nan=True)


def test_neither_order_nor_company_changes_a_neuron(small, toy) -> None:
    neurons = small.examples(1, [3, 50, 7, 120])
    whole = run(small, toy, neurons, layer=1)
    again = run(small, toy, dict(reversed(neurons.items())), layer=1)
    for name in ("neuron", "held", "half", "auc", "p", "q", "relative"):
        assert np.allclose(getattr(whole, name), getattr(again, name), equal_nan=True, atol=1e-5)
    alone = run(small, toy, {50: neurons[50]}, layer=1)
    at = whole.neuron.tolist().index(50)
    assert alone.p[0] == whole.p[at]
    own = whole.substitutes.neuron == 50
    assert [w for w, o in zip(whole.substitutes.word, own, strict=True) if o] == alone.substitutes.word
    assert np.allclose(whole.substitutes.activation[own], alone.substitutes.activation, atol=1e-5)


def test_a_store_of_another_model_is_refused(small, toy) -> None:
    neurons = small.examples(2, range(20))
    other = {n: [replace(e, activation=e.activation * 1.5) for e in own] for n, own in neurons.items()}
    with pytest.raises(StoreError, match=r"layer 2: .*median difference .*Give the subject"):
        run(small, toy, other)
    with pytest.raises(StoreError):
        run(small, toy, {n: other[n] for n in range(2)})


def test_examples_without_a_word_are_left_out_and_counted(small, toy) -> None:
    neurons = small.examples(2, range(5))
    full_stop = small.subject.encode(["cat."])[0][-1]
    row_index, row = next((i, r) for i, r in small.rows.items() if full_stop in r)
    at = int(np.flatnonzero(row == full_stop)[0])
    blank = {n: [replace(e, row=row_index, position=at) for e in own] for n, own in neurons.items()}
    bos = {n + 10: [replace(e, position=0) for e in own] for n, own in neurons.items()}
    table = run(small, toy, blank | bos | {99: []})
    assert table.n_examples.tolist() == [0] * 11
    assert np.isnan([*table.half, *table.p, *table.q, *table.score]).all()
    assert table.substitutes.kind == []


def test_an_original_on_the_wrong_side_of_zero_is_left_out() -> None:
    words = [Substitute("original", "a", (1,), 1.0), Substitute("neighbour", "b", (2,), 0.5)]
    examples = [Trial(0, words, np.array([-1.0, 2.0], np.float32)), Trial(1, words, np.array([2.0, 1.0], np.float32))]
    near, far = relative(examples, config=CONFIG, sign=1)
    assert near.shape == (1, 3)
    assert near[0, 0] == 0.5
    assert np.isnan(far).all()
    assert relative(examples, config=CONFIG, sign=-1)[0][0, 0] == -2.0
