"""The packed forward against its obvious twin: one plain call a branch on the row's prefix and the branch's tokens."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch
from perturbation_twins import D_MLP, VOCAB, one_by_one, tiny

from neurolocal.subject.model import Subject
from neurolocal.subject.packed import Packed


def random_branches(rng: np.random.Generator, row, d_mlp: int, n: int = 24) -> list[tuple[int, tuple[int, ...], int]]:
    """Branches at 0, 1, the end and between, several at one place, of 1 to 5 tokens."""
    places = [0, 1, len(row), *rng.integers(0, len(row) + 1, 5).tolist()]
    return [
        (
            int(rng.choice(places)),
            tuple(rng.integers(0, VOCAB, rng.choice([1, 1, 2, 5])).tolist()),
            int(rng.integers(d_mlp)),
        )
        for _ in range(n)
    ]


def assert_equal(subject: Subject, packed: Packed, rng: np.random.Generator, layer: int, length: int = 40) -> None:
    row = rng.integers(0, VOCAB, length)
    branches = random_branches(rng, row, subject.d_mlp[layer])
    found = packed.activations(row, {layer: branches})[layer]
    true = one_by_one(subject, row, layer, branches)
    scale = max(np.abs(t).max() for t in true)
    assert np.abs(found.flat - np.concatenate(true)).max() < 1e-4 * scale
    assert np.allclose(found.largest, [t.max() for t in true], rtol=0, atol=1e-4 * scale)
    assert np.allclose(found.smallest, [t.min() for t in true], rtol=0, atol=1e-4 * scale)


@pytest.mark.parametrize("kind", ["GPT2", "GPTNeoX", "Llama", "Gemma", "OPT", "Mistral", "Gemma2"])
def test_equals_one_call_a_branch(kind: str, rng: np.random.Generator) -> None:
    subject = tiny(kind, seed=int(rng.integers(2**31)))
    packed = Packed(subject, budget=16)
    for layer in range(subject.n_layers):
        assert_equal(subject, packed, rng, layer)
    assert packed.packs, "fell back to plain batches"


def test_eager_attention_takes_the_same_mask(rng: np.random.Generator) -> None:
    subject = tiny("Llama", eager=True)
    packed = Packed(subject, budget=16)
    assert_equal(subject, packed, rng, 2)
    assert packed.packs


@pytest.mark.parametrize("kind", ["Bloom", "GPTNeo"])
def test_a_model_that_ignores_mask_or_positions_falls_back_and_says_so(
    kind: str, caplog, rng: np.random.Generator
) -> None:
    subject = tiny(kind, seed=int(rng.integers(2**31)))
    packed = Packed(subject, budget=32)
    with caplog.at_level(logging.WARNING):
        assert_equal(subject, packed, rng, 1)
    assert not packed.packs
    assert "plain batches instead" in caplog.text
    assert_equal(subject, packed, rng, 0)


def test_a_mask_that_is_not_obeyed_is_found_out(monkeypatch, rng: np.random.Generator) -> None:
    from neurolocal.subject import packed as module

    subject = tiny("Llama")
    true_mask = module.mask
    monkeypatch.setattr(module, "mask", lambda s, b: torch.zeros_like(true_mask(s, b)))
    packed = Packed(subject, budget=32)
    assert_equal(subject, packed, rng, 2)
    assert not packed.packs


def test_layers_of_one_row_share_its_prefix(monkeypatch, rng: np.random.Generator) -> None:
    subject = tiny("Llama")
    packed = Packed(subject, budget=64)
    row = rng.integers(0, VOCAB, 30)
    branches = {layer: random_branches(rng, row, D_MLP) for layer in (2, 0, 1)}
    packed.activations(row, branches)  # compared with plain passes once
    lengths = []
    read = subject.read
    monkeypatch.setattr(
        subject, "read", lambda tokens, *a, **k: (lengths.append(tokens.shape[1]), read(tokens, *a, **k))
    )
    found = packed.activations(row, branches)
    own = sum(len(t) for layer in branches for _, t in {b[:2] for b in branches[layer]})
    assert sum(lengths) == 30 + own, "the prefix did not run once"
    for layer, own in branches.items():
        true = np.concatenate(one_by_one(tiny("Llama"), row, layer, own))
        assert np.allclose(found[layer].flat, true, rtol=0, atol=1e-4 * np.abs(true).max())


def test_no_pass_is_longer_than_the_budget_and_equal_places_run_once(monkeypatch, rng: np.random.Generator) -> None:
    subject = tiny("Llama")
    packed = Packed(subject, budget=7)
    row = rng.integers(0, VOCAB, 20)
    branches = [(5, (1, 2), n) for n in range(40)] + random_branches(rng, row, D_MLP, 60)
    packed.activations(row, {1: branches})
    lengths = []
    read = subject.read
    monkeypatch.setattr(
        subject, "read", lambda tokens, *a, **k: (lengths.append(tokens.shape[1]), read(tokens, *a, **k))
    )
    packed.activations(row, {1: branches})
    prefix = max(p for p, _, _ in branches)
    assert lengths[0] <= prefix + 7
    assert max(lengths[1:]) <= 7
    assert sum(lengths) - prefix == sum(len(tokens) for _, tokens in {(p, t) for p, t, _ in branches})


def test_a_branch_longer_than_the_budget_has_a_pass_of_its_own(rng: np.random.Generator) -> None:
    subject = tiny("GPT2")
    packed = Packed(subject, budget=3)
    row = rng.integers(0, VOCAB, 10)
    branches = [(4, tuple(rng.integers(0, VOCAB, 9).tolist()), 3), (2, (5,), 1)]
    found = packed.activations(row, {2: branches})[2]
    true = np.concatenate(one_by_one(subject, row, 2, branches))
    assert np.allclose(found.flat, true, rtol=0, atol=1e-4 * np.abs(true).max())


def some_rows(rng: np.random.Generator, n: int = 9) -> list[Any]:
    """Rows of several lengths with few and many branches, and one without any."""
    rows = [rng.integers(0, VOCAB, int(rng.integers(3, 40))) for _ in range(n)]
    return [(row, random_branches(rng, row, D_MLP, int(rng.choice([0, 1, 3, 30])))) for row in rows]


@pytest.mark.parametrize("kind", ["Llama", "GPT2", "Gemma2", "Bloom"])
def test_rows_that_share_a_pass_equal_one_call_a_branch(kind: str, rng: np.random.Generator) -> None:
    subject = tiny(kind, seed=int(rng.integers(2**31)))
    packed = Packed(subject, budget=16)
    packed.together = 120
    rows = [*some_rows(rng), (rng.integers(0, VOCAB, 7), [])]
    found = dict(packed.activations_of_rows(1, rows))
    assert packed.packs is (kind != "Bloom")
    assert sorted(found) == list(range(len(rows)))
    for i, (row, branches) in enumerate(rows):
        true = np.concatenate([np.empty(0), *one_by_one(subject, row, 1, branches)])
        assert np.allclose(found[i].flat, true, rtol=0, atol=1e-4 * np.abs(true).max(initial=1e-9))


def test_rows_with_few_branches_share_passes_of_limited_size(monkeypatch, rng: np.random.Generator) -> None:
    subject = tiny("Llama")
    packed, read = Packed(subject, budget=64), subject.read
    packed.together = 200
    rows = [(rng.integers(0, VOCAB, 30), [(int(rng.integers(25, 30)), (3, 4), 5)]) for _ in range(40)]
    list(packed.activations_of_rows(2, rows[:2]))  # tried, and compared with plain passes
    shapes = []
    monkeypatch.setattr(subject, "read", lambda tokens, *a, **k: (shapes.append(tokens.shape), read(tokens, *a, **k)))
    list(packed.activations_of_rows(2, rows))
    several = [shape for shape in shapes if shape[0] > 1]
    assert max(shape.numel() for shape in shapes) <= 200
    assert sum(shape[0] for shape in several) >= 38
    assert len(several) <= 7


def test_rows_that_do_not_fit_together_share_smaller_passes(monkeypatch, caplog, rng: np.random.Generator) -> None:
    subject = tiny("Llama")
    rows = [(rng.integers(0, VOCAB, 20), [(int(rng.integers(15, 20)), (3,), 5)]) for _ in range(20)]
    true = dict(Packed(subject).activations_of_rows(1, rows))
    packed, read = Packed(subject), subject.read

    def small(tokens: torch.Tensor, *args: object, **more: object) -> None:
        if tokens.numel() > 100:
            raise torch.OutOfMemoryError("CUDA out of memory")
        read(tokens, *args, **more)

    monkeypatch.setattr(subject, "read", small)
    with caplog.at_level(logging.WARNING):
        found = dict(packed.activations_of_rows(1, rows))
    assert packed.packs
    assert packed.together == 64
    assert "out of memory with 1,024 tokens a pass; going on with 512" in caplog.text
    assert all(np.allclose(found[i].flat, true[i].flat, rtol=0, atol=1e-5) for i in true)


def test_half_precision_is_close(rng: np.random.Generator) -> None:
    subject = tiny("Llama")
    subject.model.to(torch.bfloat16)
    packed = Packed(subject, budget=32)
    row = rng.integers(0, VOCAB, 40)
    branches = random_branches(rng, row, D_MLP)
    found = packed.activations(row, {2: branches})[2]
    true = np.concatenate(one_by_one(subject, row, 2, branches))
    assert found.flat.dtype == np.float32
    assert packed.packs
    assert packed.half_precision
    assert np.abs(found.flat - true).max() < 0.15 * np.abs(true).max()


def test_nothing_asked_runs_nothing(monkeypatch) -> None:
    subject = tiny("Llama")
    monkeypatch.setattr(subject, "read", lambda *a, **k: pytest.fail("ran a forward pass"))
    found = Packed(subject).activations(np.arange(5), {1: []})
    assert len(found[1].flat) == len(found[1].largest) == 0


@pytest.mark.parametrize("branch", [(3, (), 0), (-1, (1,), 0), (6, (1,), 0), (5, tuple(range(92)), 0)])
def test_impossible_branches_are_refused(branch) -> None:
    with pytest.raises(ValueError, match=r"running a branch for layer 1, neuron 0: .* expected one or more"):
        Packed(tiny("GPT2")).activations(np.arange(5), {1: [branch]})
