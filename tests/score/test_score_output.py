"""Output scores against plain loops, and on neurons whose output is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from neurolocal.records import Neuron
from neurolocal.score.classifier import Classifier, Task
from neurolocal.score.output import ASKED, ByVectors, Fits, Outputs, OutputScorer, by_llm, share
from neurolocal.score.rows import score_table
from neurolocal.score.scorer import DescribedNeuron

WORDS = ["one", "two", "three", "red", "blue", "green"]


class Vectors:
    """A vector for each of WORDS; the two groups are far apart."""

    def __init__(self, rng: np.random.Generator) -> None:
        group = np.repeat([[1.0, 0.0], [0.0, 1.0]], 3, axis=0)
        each = np.concatenate([group, 0.2 * rng.standard_normal((6, 6))], axis=1)
        self.of = dict(zip(WORDS, (each / np.linalg.norm(each, axis=1, keepdims=True)).astype(np.float32), strict=True))

    def find(self, word: str) -> np.ndarray | None:
        return self.of.get(word)


def described(neuron: int, description: str) -> DescribedNeuron:
    return DescribedNeuron(Neuron(neuron, []), description)


@pytest.mark.parametrize("seed", range(5))
def test_share_is_the_count_of_others_that_fit_less(seed: int) -> None:
    rng = np.random.default_rng(seed)
    fits = rng.integers(0, 4, 30).astype(float)
    fits[rng.integers(1, 30, 5)] = np.nan
    others = [f for f in fits[1:].tolist() if f == f]
    less = sum(1.0 if f < fits[0] else 0.5 if f == fits[0] else 0.0 for f in others)
    found = share(fits)
    assert found.value == pytest.approx(less / len(others))
    assert found.p == pytest.approx((1 + sum(f >= fits[0] for f in others)) / (1 + len(others)))
    assert found.n == len(others)


def test_without_a_fit_or_another_neuron_there_is_no_share() -> None:
    for fits in ([np.nan, 1.0], [1.0], [1.0, np.nan]):
        value, p, _ = share(np.array(fits))
        assert np.isnan([value, p]).all()


def test_by_vectors_is_the_mean_cosine_of_the_words() -> None:
    rng = np.random.default_rng(3)
    vectors = Vectors(rng)
    lists = [[f" {w}" for w in rng.permutation(WORDS)[: rng.integers(1, 5)]] for _ in range(8)] + [["zz", "\n"]]
    found = ByVectors(vectors)(["red and blue", "things in zz"], lists)
    mean = (vectors.of["red"] + vectors.of["blue"]) / 2
    for i, tokens in enumerate(lists[:-1]):
        cosines = [float(vectors.of[t.strip()] @ mean / np.linalg.norm(mean)) for t in tokens]
        assert found[i, 0] == pytest.approx(np.mean(cosines), rel=1e-5)
    assert np.isnan(found[:, 1]).all(), "no word of the description has a vector"
    assert np.isnan(found[-1]).all(), "no word of the tokens has one"


def lists(n: int) -> dict[int, list[str]]:
    """Neuron 0 promotes numbers, 1 and all others colours."""
    return {i: [" one", " three"] if i == 0 else [" red", " green"] for i in range(n)}


def scorer(n: int, n_direct: int, llm: Fits | None) -> OutputScorer:
    vectors = ByVectors(Vectors(np.random.default_rng(0)))
    return OutputScorer(Outputs(lists(n), seed=0), Outputs(lists(n_direct), seed=0), vectors=vectors, llm=llm)


def counting(descriptions: Sequence[str], some: Sequence[Sequence[str]]) -> np.ndarray:
    """Tokens that are in the description."""
    return np.array([[float(sum(t.strip() in d for t in tokens)) for d in descriptions] for tokens in some])


def test_a_description_of_what_the_neuron_promotes_is_above_another_one() -> None:
    right, wrong = described(0, "one and two"), described(1, "blue things")
    by = {row.measure: row for row in scorer(30, 300, counting).rows(right, wrong)}
    assert set(by) == {"output_auc", "output_embedding_auc", "output_direct_embedding_auc"}
    for name, row in by.items():
        assert (row.value, row.against, row.said) == (1.0, 1, "")
        assert row.p == pytest.approx(1 / (1 + row.n))
        assert row.control == (0.5 if name == "output_auc" else 0.0)
    assert [by[m].n for m in by] == [29, ASKED, 200]
    swapped = scorer(30, 300, None).rows(described(0, "blue things"), right)
    assert all(row.value == 0.0 and row.p == 1.0 and row.control == 1.0 for row in swapped)


def test_the_llm_is_asked_about_the_weights_where_few_neurons_were_measured() -> None:
    one = described(0, "one")
    assert {r.measure for r in scorer(6, 100, counting).rows(one, None)} == {
        "output_embedding_auc", "output_direct_embedding_auc", "output_direct_auc",
    }  # fmt: skip
    assert {r.measure for r in scorer(6, 0, counting).rows(one, None)} == {"output_embedding_auc", "output_auc"}
    assert scorer(0, 0, counting).rows(one, None) == []


def test_what_fails_is_said_and_the_rest_is_measured() -> None:
    def broken(descriptions: Sequence[str], some: Sequence[Sequence[str]]) -> np.ndarray:
        raise RuntimeError("llama_decode\nreturned 1")

    by = {row.measure: row for row in scorer(30, 0, broken).rows(described(0, "one"), None)}
    assert by["output_auc"].said == "llama_decode"
    assert by["output_embedding_auc"].value == 1.0


def test_the_llm_reads_each_token_once() -> None:
    read: list[str] = []

    class Asked(Classifier):
        def __init__(self) -> None:
            """Without an LLM."""

        def answers(self, task: Task, texts: Sequence[str], descriptions: Sequence[str]) -> np.ndarray:
            read.extend([task, *texts])
            return np.zeros((len(texts), len(descriptions)))

    by_llm(Asked())(["one"], [[" one", "one", " ", "Two"]])
    assert read == ["detection", "one, Two"]


def test_q_is_taken_over_the_neurons_of_a_measure() -> None:
    from neurolocal.fdr import q_values

    rng = np.random.default_rng(1)
    blank = scorer(30, 0, None).rows(described(0, "one"), None)[0]
    p = rng.random(6)
    names = ["output_auc", "output_embedding_auc"] * 3
    rows = [blank._replace(measure=m, p=x) for m, x in zip(names, p, strict=True)]
    table = score_table([*rows, blank._replace(measure="firing_f1", p=np.nan)], [])
    np.testing.assert_array_equal(table.q[0:6:2], q_values(p[0::2]))
    np.testing.assert_array_equal(table.q[1:6:2], q_values(p[1::2]))
    assert np.isnan(table.q[6])
