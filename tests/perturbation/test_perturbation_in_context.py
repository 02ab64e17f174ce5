"""The default method against a loop of single calls; what it leaves out, and what it refuses."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from perturbation_twins import CONFIG, ToyVectors, in_context, one_by_one
from scipy import stats

from neurolocal.errors import StoreError
from neurolocal.fdr import q_values
from neurolocal.perturbation import InContextPerturbation
from neurolocal.perturbation.statistics import permutation_p
from neurolocal.records import Example


def literal(small, asked: InContextPerturbation, neuron: int, examples, *, layer: int, sign: int):
    """(rank, kind, text, cosine, activation) of one neuron's substitutes: plain loops, one model call a substitute."""
    vocabulary, finder = small.subject.vocabulary, asked.finder
    (traits,) = finder.common_traits([[vocabulary.word_at(e.tokens, e.peak).text for e in examples]])
    rows = []
    for example in examples[: CONFIG.examples]:
        row = small.rows[example.row]
        word = vocabulary.word_at(row, example.position)
        here = finder.at_place(row, word, row_index=example.row)
        here += finder.of_neuron(row, word, traits, row_index=example.row, rank=example.rank)
        places = [(s, row, word.start) for s in here]
        places.append((here[0]._replace(kind="alone"), np.array([small.subject.bos]), 1))
        order = np.random.default_rng([CONFIG.seed, example.row, example.position, 2]).permutation(len(asked.contexts))
        others = []
        for i in order:
            index, place = asked.contexts[i]
            if index != example.row and place.text.casefold() != word.text.casefold():
                there = finder.elsewhere(place, word.text)
                if there is not None:
                    others.append((there, small.rows[index], place.start))
        for s, prefix, start in places + others[: CONFIG.contexts]:
            values = one_by_one(small.subject, prefix, layer, [(start, s.tokens, neuron)])[0]
            rows.append((example.rank, s.kind, s.text, s.cosine, sign * max(sign * float(v) for v in values)))
    return rows


def by_example(rows, *kinds: str, sign: int):
    """For each example whose original is on its own side: (cosine, activation / original) of the kinds."""
    examples = defaultdict(list)
    for row in rows:
        examples[row[0]].append(row)
    found = []
    for own in examples.values():
        original = np.float32(own[0][4])
        assert own[0][1] == "original"
        if sign * original > 0:
            found.append([(r[3], np.round(np.float32(r[4]) / original, 4)) for r in own if r[1] in kinds])
    return found


def padded(examples, size: int) -> np.ndarray:
    lines = [[v for _, v in line] + [np.nan] * (size - len(line)) for line in examples]
    return np.array(lines, np.float32).reshape(1, -1, size)


@pytest.mark.parametrize("sign", [1, -1])
def test_equals_one_call_a_substitute(small, toy, sign: int, rng: np.random.Generator) -> None:
    layer = int(rng.integers(5))
    neurons = small.examples(layer, rng.choice(172, 10, replace=False).tolist(), sign=sign)
    asked = in_context(small, toy)
    table = asked.perturb(neurons, layer, side="largest" if sign > 0 else "smallest")
    assert table.neuron.tolist() == sorted(neurons)
    assert (table.n_examples > 0).sum() > 5
    assert set(table.substitutes.kind) >= {"original", "neighbour", "control", "form", "alone", "elsewhere", "reach"}
    s = table.substitutes
    for i, neuron in enumerate(table.neuron.tolist()):
        true = literal(small, asked, neuron, neurons[neuron], layer=layer, sign=sign)
        at = np.flatnonzero(s.neuron == neuron)
        own = [(int(s.rank[j]), s.kind[j], s.word[j], float(s.cosine[j]), float(s.activation[j])) for j in at]
        assert [r[:3] for r in own] == [r[:3] for r in true]
        a, b = np.array([r[4] for r in own]), np.array([r[4] for r in true])
        assert np.abs(a - b).max(initial=0) < 1e-4 * np.abs(b).max(initial=1)
        # From here on with the activations of the table, so that rounding decides ties in the same way.
        check_figures(table, i, own, sign=sign)
    assert np.allclose(table.q, q_values(table.p), equal_nan=True)


def check_figures(table, i: int, own, *, sign: int) -> None:
    def share(least: float, *kinds: str) -> float:
        values = [v for line in by_example(own, *kinds, sign=sign) for _, v in line]
        return sum(v >= least for v in values) / len(values) if values else np.nan

    def mean(*kinds: str) -> float:
        values = [v for line in by_example(own, *kinds, sign=sign) for _, v in line]
        return sum(values) / len(values) if values else np.nan

    near, far = by_example(own, "neighbour", sign=sign), by_example(own, "control", sign=sign)
    counts = {"n_examples": len(near), "n_neighbours": sum(map(len, near)), "n_controls": sum(map(len, far))}
    counts["n_reach"] = sum(map(len, by_example(own, "reach", sign=sign)))
    assert {name: int(getattr(table, name)[i]) for name in counts} == counts
    rhos = []
    for line in by_example(own, "neighbour", "grade1", "grade2", "grade3", "control", sign=sign):
        pairs = [(c, v) for c, v in line if not np.isnan(c)]
        if len(pairs) >= 3 and all(len(set(column)) > 1 for column in zip(*pairs, strict=True)):
            rhos.append(stats.spearmanr(*zip(*pairs, strict=True))[0])
    expected = {
        "held": share(1.0, "neighbour"),
        "half": share(0.5, "neighbour"),
        "control_held": share(1.0, "control"),
        "control_half": share(0.5, "control"),
        "relative": mean("neighbour"),
        "control_relative": mean("control"),
        "alone": mean("alone"),
        **{kind: mean(kind) for kind in ("grade1", "grade2", "grade3")},
        **{f"{kind}_half": share(0.5, kind) for kind in ("variant", "form", "spelled", "reach", "elsewhere")},
        "dose": float(np.mean(rhos)) if rhos else np.nan,
        "score": share(0.5, "neighbour") - share(0.5, "control"),
    }
    for name, value in expected.items():
        assert float(getattr(table, name)[i]) == pytest.approx(value, rel=1e-4, abs=1e-5, nan_ok=True), name
    pairs = [(x, y) for one, two in zip(near, far, strict=True) for _, x in one for _, y in two]
    auc = sum((x > y) + (x == y) / 2 for x, y in pairs) / len(pairs) if pairs else np.nan
    assert float(table.auc[i]) == pytest.approx(auc, nan_ok=True)
    if near:
        kept = [np.where(np.isnan(v), np.nan, v >= 0.5) for v in (padded(near, 3), padded(far, 3))]
        p = permutation_p(*kept, permutations=99, seed=CONFIG.seed)[0]
        assert table.p[i] == pytest.approx(p, abs=0.011, nan_ok=True), "the draws depend on the example's rank"


def test_a_neurons_figures_depend_on_no_other_neuron(small, toy) -> None:
    neurons = small.examples(1, [3, 50, 7, 120])
    whole = in_context(small, toy).perturb(neurons, 1)
    again = in_context(small, toy).perturb(dict(reversed(neurons.items())), 1)
    for name in (
        "neuron",
        "held",
        "half",
        "auc",
        "p",
        "q",
        "relative",
        "elsewhere_half",
        "reach_half",
        "alone",
        "dose",
    ):
        assert np.allclose(getattr(whole, name), getattr(again, name), equal_nan=True, atol=1e-5), name
    alone = in_context(small, toy).perturb({50: neurons[50]}, 1)
    at = whole.neuron.tolist().index(50)
    assert alone.p[0] == whole.p[at]
    own = whole.substitutes.neuron == 50
    assert [w for w, o in zip(whole.substitutes.word, own, strict=True) if o] == alone.substitutes.word
    assert np.allclose(whole.substitutes.activation[own], alone.substitutes.activation, atol=1e-5)


def test_a_sign_case_takes_the_side_of_the_original(small, toy) -> None:
    up, down = small.examples(2, range(8)), small.examples(2, range(8), sign=-1)
    mixed = {n: [replace(e, rank=i) for i, e in enumerate((up[n][0], down[n][0], up[n][1], down[n][1]))] for n in up}
    table = in_context(small, toy).perturb(mixed, 2, side="gate-_in+")
    largest, smallest = in_context(small, toy).perturb(up, 2), in_context(small, toy).perturb(down, 2, side="smallest")

    def activations(one, neuron: int, rank: int, kind: str) -> list[float]:
        s = one.substitutes
        at = [j for j in np.flatnonzero((s.neuron == neuron) & (s.rank == rank)) if s.kind[j] == kind]
        return [float(s.activation[j]) for j in at]

    for n in range(8):
        for kind in ("original", "neighbour", "control", "alone"):
            assert activations(table, n, 0, kind) == pytest.approx(activations(largest, n, 0, kind), abs=1e-5)
            assert activations(table, n, 1, kind) == pytest.approx(activations(smallest, n, 0, kind), abs=1e-5)
            assert activations(table, n, 2, kind) == pytest.approx(activations(largest, n, 1, kind), abs=1e-5)


def test_a_store_of_another_model_is_refused(small, toy) -> None:
    neurons = small.examples(2, range(20))
    other = {n: [replace(e, activation=e.activation * 1.5) for e in own] for n, own in neurons.items()}
    with pytest.raises(StoreError, match=r"layer 2: .*median difference .*Give the subject"):
        in_context(small, toy).perturb(other, 2)
    with pytest.raises(StoreError):
        in_context(small, toy).perturb({n: other[n] for n in range(2)}, 2)


def test_a_peak_without_letters_has_controls_but_no_neighbours(small, toy) -> None:
    neurons = small.examples(2, range(5))
    full_stop = small.subject.encode(["cat."])[0][-1]
    row_index, row = next((i, r) for i, r in small.rows.items() if full_stop in r)
    at = int(np.flatnonzero(row == full_stop)[0])
    value = small.subject.activations(_batch(row), 2)[0, at].float().numpy()
    window = slice(max(at - 8, 0), at + 3)

    def stop(n: int, e: Example) -> Example:
        return replace(e, row=row_index, position=at, activation=float(value[n]), start=window.start,
                       tokens=row[window], activations=np.zeros(len(row[window]), np.float32))  # fmt: skip

    blank = {n: [stop(n, e) for e in own[:1]] for n, own in neurons.items()}
    bos = {n + 10: [replace(e, position=0, start=0) for e in own] for n, own in neurons.items()}
    table = in_context(small, toy).perturb(blank | bos | {99: []}, 2)
    positive = (value[:5] > 0).astype(int).tolist()
    assert table.n_examples.tolist() == positive + [0] * 6
    assert table.n_neighbours.tolist() == [0] * 11
    assert table.n_controls.tolist() == [3 * p for p in positive] + [0] * 6
    assert np.isnan([*table.half, *table.p, *table.q, *table.score]).all()
    kinds = {k for k, n in zip(table.substitutes.kind, table.substitutes.neuron, strict=True) if n < 5}
    assert kinds >= {"original", "control", "alone", "elsewhere"}
    assert not kinds & {"neighbour", "reach", "variant", "grade1"}


def _batch(row: np.ndarray):
    import torch

    return torch.from_numpy(row)[None]


def test_vectors_that_know_nothing_leave_nan_not_zero(small) -> None:
    nothing = ToyVectors({"zzz": np.ones(8)})
    table = in_context(small, nothing).perturb(small.examples(2, range(6)), 2)
    assert table.n_neighbours.tolist() == table.n_controls.tolist() == [0] * 6
    assert np.isnan([*table.half, *table.control_half, *table.p, *table.score, *table.dose]).all()
    assert not np.isnan(table.elsewhere_half[table.n_examples > 0]).any()


def test_no_neurons_and_nothing_wanted(small, toy) -> None:
    table = in_context(small, toy).perturb({}, 2)
    assert table.neuron.shape == (0,)
    assert table.substitutes.kind == []
    none = dict.fromkeys(("grades", "variants", "forms", "spelled", "reach", "contexts"), 0)
    table = in_context(small, toy, **none).perturb(small.examples(2, range(4)), 2)
    assert set(table.substitutes.kind) == {"original", "neighbour", "control"}
    assert np.isnan([*table.alone, *table.elsewhere_half, *table.reach_half, *table.form_half]).all()
