"""Simulation: expected activations against one prompt each, and the figures against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from text_twins import drawn

from neurolocal.errors import LLMError
from neurolocal.llm import LLM, Prompt, next_log_probabilities
from neurolocal.score import simulation
from neurolocal.score.simulation import HEAD, Simulator

TEXTS = [["The", " dog", " ran", "\n\n", " to", " her"], [" mom", " and", " said", ":", "\t"]]


@pytest.fixture(params=["stories", pytest.param("smol", marks=pytest.mark.slow)])
def simulator(request: pytest.FixtureRequest) -> Simulator:
    llm: LLM = request.getfixturevalue(request.param)
    llm.prepare([HEAD])
    return Simulator(llm, head=0)


def test_every_token_against_a_prompt_that_ends_there(simulator: Simulator) -> None:
    """The slow twin: one text, one token a decode."""
    found = simulator.expected(TEXTS, "animals")
    digits = [simulator.llm.tokenize(str(d), after="\t")[0] for d in range(10)]
    for tokens, of_text in zip(TEXTS, found, strict=True):
        whole = simulator.prompt(tokens, "animals")
        assert len(of_text) == len(tokens) == len(whole.wanted)
        for n, one in zip(whole.wanted, of_text, strict=True):
            alone = Prompt(whole.tokens[:n], [n])
            p = np.exp(next_log_probabilities(simulator.llm, [alone], digits, head=0)[0][0])
            assert one == pytest.approx((p * np.arange(10)).sum() / p.sum() * 10 / 9, abs=0.4), "quantised: rounding"
            assert 0 <= one <= 10


@pytest.mark.slow
def test_a_description_and_what_stands_before_a_token_matter(smol: LLM) -> None:
    smol.prepare([HEAD])
    simulator = Simulator(smol, head=0)
    words = [["The", "dog", "ran"], ["A", "dog", "ran"]]
    one, other = (np.concatenate(simulator.expected(words, d)) for d in ("animals", "law"))
    assert np.abs(one - other).max() > 1e-3
    assert one[2] != one[5]


def test_the_prompt_is_one_token_a_line(stories: LLM) -> None:
    simulator = Simulator(stories, head=0)
    prompt = simulator.prompt(TEXTS[0], "animals")
    assert stories.text(prompt.tokens).strip().splitlines() == [
        "Neuron: animals", "Activations:",
        *(f"{word}\tunknown" for word in ("The", "dog", "ran", "_", "to", "her")),
    ]  # fmt: skip
    assert all(stories.text(prompt.tokens[:n]).endswith("\t") for n in prompt.wanted)


def test_each_solved_activation_is_one_digit() -> None:
    """Only one digit is read: a 10 would be read as 1."""
    lines = [line for line in HEAD.splitlines() if "\t" in line]
    assert len(lines) == sum(len(text.split()) for _, text, _ in simulation.CASES)
    assert {line.split("\t")[1] for line in lines} == {"0", "3", "9"}


def test_a_text_that_does_not_fit_is_an_error(stories: LLM) -> None:
    stories.prepare([HEAD])
    with pytest.raises(LLMError, match="do not fit"):
        Simulator(stories, head=0).expected([["word"] * 4000], "animals")


@pytest.mark.parametrize("seed", range(5))
def test_figures_equal_numpys_over_texts_repeated_as_often_as_they_weigh(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes, weights = rng.integers(2, 9, 6).tolist(), rng.integers(1, 5, 6).tolist()
    texts = [(rng.random(n) * 10, rng.random(n), w) for n, w in zip(sizes, weights, strict=True)]
    for _, real, _ in texts:
        real[rng.random(len(real)) < 0.2] = np.nan
    x, y = (np.concatenate([np.tile(t[side], t[2]) for t in texts]) for side in (0, 1))
    x, y = x[~np.isnan(y)], y[~np.isnan(y)]
    total = np.sum([simulation.sums(e, r, float(w)) for e, r, w in texts], axis=0)
    assert simulation.pearson(total) == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert simulation.cosine(total) == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y))


def test_in_natural_proportion_both_figures_notice_dropped_and_added_labels(rng: np.random.Generator) -> None:
    """NeuronEval's tests on right expectations: 10 firing texts stand for 1 each, 20 silent ones for 50.

    In equal proportion, as of top and random texts, the added labels are hardly seen.
    """
    fires = np.arange(30) < 10
    real = [np.where(np.arange(12) == rng.integers(12), float(f), 0.0) for f in fires]
    label = np.where(np.arange(12) == 3, 1.0, 0.0)

    def figures(dropped: float, added: float, weight: float) -> list[float]:
        """A share of the firing texts is expected to be silent, a share of the silent ones to fire."""
        parts = []
        for r, f in zip(real, fires, strict=True):
            share, instead, stands = (dropped, 0 * r, 1.0) if f else (added, label, weight)
            parts += [simulation.sums(r, r, stands * (1 - share)), simulation.sums(instead, r, stands * share)]
        return [figure(np.sum(parts, axis=0)) for figure in simulation.FIGURES.values()]

    assert figures(0.0, 0.0, 50.0) == pytest.approx([1, 1])
    assert max(figures(0.5, 0.0, 50.0)) < 0.75
    assert max(figures(0.0, 0.01, 50.0)) < 0.75, "10 firing texts, and 10 of 1,000 silent ones"
    assert min(figures(0.0, 0.01, 1.0)) > 0.98


def test_what_does_not_vary_has_no_figure() -> None:
    same = simulation.sums(np.full(7, 3.3), np.arange(7.0), 1000.1)
    assert np.isnan(simulation.pearson(same))
    assert np.isnan(simulation.cosine(simulation.sums(np.zeros(3), np.ones(3), 1.0)))
    assert np.isnan(simulation.pearson(np.zeros(6)))


def test_an_interval_holds_its_figure(rng: np.random.Generator) -> None:
    real = [rng.random(12) for _ in range(30)]
    texts = np.array([simulation.sums(r + rng.normal(size=12) / 3, r, 1.0) for r in real])
    low, high = simulation.interval(simulation.pearson, texts, np.arange(30) < 10, draws=60, rng=rng)
    assert low < high
    assert low - 0.1 < simulation.pearson(texts.sum(axis=0)) < high + 0.1


@pytest.mark.parametrize("seed", range(3))
def test_a_texts_activations_are_those_of_its_tokens(seed: int) -> None:
    examples, rows, random, found = drawn(seed)
    values = {index: v for index, _, v in random}
    for text in found:
        assert len(text.tokens) == len(text.activations)
        if text.stratum == "example":
            (e,) = [e for e in examples if e.row == text.row]
            assert text.tokens.tolist() == rows[e.row][text.start : text.start + len(text.tokens)].tolist()
            assert text.activations[e.position - text.start] == np.float32(e.activation / 10)
            known = ~np.isnan(text.activations)
            at = text.start + np.flatnonzero(known)
            assert (at >= e.start).all()
            assert (at < e.start + len(e.activations)).all()
        else:
            own = values[text.row][text.start : text.start + len(text.tokens)] / np.float32(10)
            np.testing.assert_allclose(text.activations, own, rtol=1e-6)
