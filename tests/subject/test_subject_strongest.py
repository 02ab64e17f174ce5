"""The strongest tokens of many directions, against the whole product in float64, sorted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from neurolocal.subject import strongest
from neurolocal.subject.strongest import Unembedding

DTYPES = (torch.bfloat16, torch.float16, torch.float32)


@pytest.fixture
def rng() -> np.random.Generator:
    """A stated seed: of ten thousand sums in float64 one in some thousand runs rounds to another float32."""
    return np.random.default_rng(1)


def slow(weight: Tensor, tokens: Tensor, directions: Tensor, k: int) -> list[np.ndarray]:
    """Every product, less its mean, rounded to float32; ties by the lower id."""
    rows, d = weight[tokens].double().numpy(), directions.double().numpy()
    effects = (d @ rows.T - (d @ rows.mean(0))[:, None]).astype(np.float32)
    found = []
    for sign in (-1, 1):
        order = np.stack([np.lexsort((tokens.numpy(), sign * row))[:k] for row in effects])
        found += [tokens.numpy()[order], np.take_along_axis(effects, order, 1)]
    return found


def assert_same(weight: Tensor, tokens: Tensor, directions: Tensor, k: int, *, rough: torch.dtype, block: int) -> None:
    found = Unembedding(weight, tokens, rough=rough).strongest(directions, k, block=block)
    for mine, true in zip(found, slow(weight, tokens, directions, k), strict=True):
        assert np.array_equal(mine.numpy(), true)


@pytest.mark.parametrize("rough", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_to_the_whole_product_sorted(dtype: torch.dtype, rough: torch.dtype, rng) -> None:
    """Rows of very different lengths, equal rows, directions of very different lengths, and one of zeros."""
    draw = torch.Generator().manual_seed(int(rng.integers(2**31)))
    for n in (20, 63, 64, 65, 4100):
        d, k = int(rng.integers(1, 60)), min(n, int(rng.integers(1, 20)))
        weight = torch.randn(n, d, generator=draw) * (3 * torch.rand(n, 1, generator=draw)).exp()
        weight[rng.integers(0, n, n // 3)] = weight[0].clone()
        directions = torch.randn(23, d, generator=draw) * (20 * torch.rand(23, 1, generator=draw) - 10).exp()
        directions[5] = 0
        tokens = (
            torch.arange(n) if rng.random() < 0.5 else torch.from_numpy(np.sort(rng.permutation(n)[: max(k, n - 9)]))
        )
        assert_same(weight.to(dtype), tokens, directions, k, rough=rough, block=int(rng.integers(1, 30)))


@pytest.mark.parametrize("rough", [torch.bfloat16, torch.float32])
def test_near_ties_at_the_end_of_the_list(rough: torch.dtype, rng) -> None:
    """Thousands of tokens whose products differ by less than the rough products are rounded."""
    draw = torch.Generator().manual_seed(int(rng.integers(2**31)))
    weight = torch.randn(1, 40, generator=draw) + 1e-4 * torch.randn(3000, 40, generator=draw)
    assert_same(weight, torch.arange(3000), torch.randn(9, 40, generator=draw), 10, rough=rough, block=4)


def test_a_token_that_the_rounding_of_the_direction_hides(rng) -> None:
    """Its row points where rounding moved the direction: roughly it is last by far, in truth the first."""
    draw = torch.Generator().manual_seed(int(rng.integers(2**31)))
    unit = torch.nn.functional.normalize(torch.randn(1000, generator=draw), dim=0)
    rounded = unit.bfloat16().float()
    moved = unit - rounded
    hidden = moved / moved.norm()
    weight = unit * (rounded @ hidden + moved.norm() * torch.linspace(0.4, 0.5, 500)[:, None])
    at = int(rng.integers(500))
    weight[at] = hidden
    assert (weight.bfloat16() @ unit.bfloat16()).argsort(descending=True)[0] != at
    assert_same(weight, torch.arange(500), unit[None], 1, rough=torch.bfloat16, block=1)
    found = Unembedding(weight, torch.arange(500), rough=torch.bfloat16).strongest(unit[None], 1)
    assert found.promoted.tolist() == [[at]]


def test_more_candidates_than_are_computed_one_by_one(rng, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strongest, "MOST", 30)
    test_near_ties_at_the_end_of_the_list(torch.bfloat16, rng)


def test_few_tokens_are_computed_exactly(rng, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is what makes it fast: of 20,000 tokens, less than 100 a direction and side."""
    seen: list[int] = []
    plain = Unembedding._exactly

    def counting(self, directions, sign, direction, row, k):
        seen.append(len(row) // len(directions))
        return plain(self, directions, sign, direction, row, k)

    monkeypatch.setattr(Unembedding, "_exactly", counting)
    draw = torch.Generator().manual_seed(int(rng.integers(2**31)))
    weight = torch.randn(20_000, 256, generator=draw).bfloat16()
    Unembedding(weight, torch.arange(20_000), rough=torch.bfloat16).strongest(torch.randn(8, 256, generator=draw), 10)
    assert seen
    assert max(seen) < 100


def test_blocks_and_threads_change_nothing(rng) -> None:
    draw = torch.Generator().manual_seed(int(rng.integers(2**31)))
    ready = Unembedding(torch.randn(500, 30, generator=draw), torch.arange(500))
    directions, before, done = torch.randn(50, 30, generator=draw), torch.get_num_threads(), list[int]()
    whole = ready.strongest(directions, 5)
    for block in (1, 7, 50):
        parts = ready.strongest(directions, 5, block=block, progress=done.append)
        assert all(torch.equal(a, b) for a, b in zip(whole, parts, strict=True))
    assert sum(done) == 150
    assert torch.get_num_threads() == before


def test_numbers_that_are_not_finite_are_refused() -> None:
    weight = torch.randn(70, 8)
    ready = Unembedding(weight, torch.arange(70))
    with pytest.raises(ValueError, match="a neuron's output direction holds numbers"):
        ready.strongest(torch.full((2, 8), torch.nan), 3)
    weight[3, 3] = torch.inf
    with pytest.raises(ValueError, match="its unembedding holds numbers"):
        Unembedding(weight, torch.arange(70))
