"""Layers with experts: every site equals a plain loop over positions and experts; the model is as before afterwards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from experts_twins import SPARSE, VOCAB, plain_layers, sparse, sparse_model

from neurolocal.errors import SubjectError
from neurolocal.records import Site
from neurolocal.subject import Subject
from neurolocal.subject.experts import deviations, expert_layer
from neurolocal.subject.identity import check_identity
from neurolocal.subject.model import ModulePaths
from neurolocal.subject.routed import Routed
from neurolocal.subject.tokenizers import Tokenizer

SITES: tuple[Site, ...] = ("pre", "pre_linear", "post")
SHARED = {"Qwen2Moe": 40, "DeepseekV2": 32, "DeepseekV3": 16, "Glm4Moe": 16}


@pytest.fixture
def rng() -> np.random.Generator:
    """A stated seed: where two experts are within rounding of each other, the model and a loop may choose differently.

    Of the thousands of positions here, one meets that about once in some hundred runs.
    """
    return np.random.default_rng(1)


def tokens_of(rng: np.random.Generator, rows: int = 3, pos: int = 13) -> torch.Tensor:
    return torch.from_numpy(rng.integers(0, VOCAB, (rows, pos)))


@pytest.mark.parametrize("kind", SPARSE)
def test_every_site_equals_a_plain_loop_over_experts(kind: str, rng, own_cache) -> None:
    subject = sparse(kind, seed=int(rng.integers(2**31)))
    assert subject.gated
    assert subject.sites == ("post", "pre", "pre_linear")
    tokens = tokens_of(rng)
    expected, end = plain_layers(subject.model, tokens)
    with torch.inference_mode():
        own = subject.body(input_ids=tokens).last_hidden_state
    torch.testing.assert_close(own, end, rtol=1e-4, atol=1e-4)  # the reference is the model
    order = [SITES[i] for i in rng.permutation(3)]
    seen: dict[int, list[torch.Tensor]] = {}
    subject.read(tokens, {i: lambda *x, i=i: seen.update({i: [t.clone() for t in x]}) for i in (2, 0, 1)}, sites=order)
    for layer, of_layer in enumerate(expected):
        assert subject.d_mlp[layer] == of_layer.post.shape[2]
        for site, found in zip(order, seen[layer], strict=True):
            true, x = getattr(of_layer, site), found.numpy()
            np.testing.assert_array_equal(np.isnan(x), np.isnan(true))
            np.testing.assert_allclose(x, true, rtol=1e-4, atol=1e-5 * np.nanmax(np.abs(true)))
            np.testing.assert_array_equal(x, subject.activations(tokens, layer, site).numpy())
    with torch.inference_mode():
        assert torch.equal(own, subject.body(input_ids=tokens).last_hidden_state), "the model was changed"
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in subject.model.modules())
    assert not any("forward" in vars(m) for m in subject.model.modules())


@pytest.mark.parametrize("kind", SPARSE)
def test_where_the_experts_are(kind: str, rng, own_cache) -> None:
    subject, tokens = sparse(kind), tokens_of(rng)
    expected, _ = plain_layers(subject.model, tokens)
    facts, found = subject.facts(), dict[int, Routed]()
    readers = {i: lambda x, i=i: found.update({i: x}) for i in subject.expert_layers}
    subject.read(tokens, readers, routed=True)
    for layer, of_layer in enumerate(expected):
        experts, n = subject.experts_of(layer), of_layer.routed.shape[2]
        assert (facts["experts"][layer], facts["d_shared"][layer]) == (n, SHARED.get(kind, 0) if n else 0)
        if experts is None:
            assert n == 0
            continue
        d = facts["d_expert"][layer]
        assert experts.offsets[: n + 1].tolist() == [e * d for e in range(n + 1)]
        assert (int(experts.offsets[-1]), experts.shared) == (subject.d_mlp[layer], int(kind in SHARED))
        assert not experts.count.any()
        assert experts.name(d + 3) == "expert 1 · neuron 3"
        assert experts.of(n * d - 1) == (n - 1, d - 1)
        if kind in SHARED:
            assert experts.name(n * d) == "shared expert · neuron 0"
        x = found[layer]
        assert (x.width, x.n_experts) == (subject.d_mlp[layer], n)
        assert np.array_equal(np.diff(x.offsets.numpy()), of_layer.routed.sum((0, 1)))
        for e in range(n):
            mine = x.token[x.offsets[e] : x.offsets[e + 1]].numpy()
            assert np.array_equal(mine, np.flatnonzero(of_layer.routed[:, :, e]))  # ascending, each once


@pytest.mark.parametrize("kind", ["Mixtral", "GptOss", "Qwen2Moe"])
def test_a_pass_goes_no_further_than_it_must(kind: str, rng, own_cache) -> None:
    subject, tokens = sparse(kind), tokens_of(rng)
    reached = []
    last: Any = subject.model.model.layers[2]
    handle = last.register_forward_pre_hook(lambda *_: reached.append(2))
    subject.activations(tokens, 0)
    subject.read(tokens, {0: lambda x: None, 1: lambda x: None})
    assert not reached
    handle.remove()


@pytest.mark.parametrize("kind", SPARSE)
@pytest.mark.parametrize("grouped", [False, True])
def test_our_products_are_the_modules_own(kind: str, grouped: bool, rng, own_cache) -> None:
    """One product an expert, and torch's grouped product, against transformers' loop."""
    model = sparse_model(kind, seed=int(rng.integers(2**31)))
    model.config._experts_implementation = "eager"
    module = model.model.layers[2].mlp
    layer = expert_layer(module, name=kind)
    assert layer is not None
    x = torch.from_numpy(rng.normal(size=(2, 11, 32)).astype(np.float32))
    _, weights, index = (module.router if kind == "GptOss" else module.gate)(x.reshape(-1, 32))
    flat, kept = x.reshape(-1, 32), list[torch.Tensor]()
    true = module.experts(flat, index, weights)
    ours = layer.products(flat, index, weights, lambda post, inner, order: kept.append(post), grouped=grouped)
    torch.testing.assert_close(ours, true, rtol=1e-5, atol=1e-6)
    other = layer.products(flat, index, weights, lambda post, *_: kept.append(post), grouped=not grouped)
    torch.testing.assert_close(other, true, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(*kept, rtol=1e-5, atol=1e-6)


def test_deviations_show_experts_that_are_not_the_modules_own(rng, own_cache) -> None:
    subject, tokens = sparse("Qwen3Moe"), tokens_of(rng)
    found = deviations(subject.body, subject.expert_layers, tokens)
    assert found.keys() == {0, 1, 2}
    assert max(found.values()) < 1e-5
    experts = subject.expert_layers[1].experts
    experts.forward = lambda x, index, weights: 2 * type(experts).forward(experts, x, index, weights)
    found = deviations(subject.body, subject.expert_layers, tokens)
    assert found[0] < 1e-5
    assert found[1] == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("kind", ["Mixtral", "DeepseekV3"])
def test_dense_at_and_columns_hold_the_same(kind: str, rng, own_cache) -> None:
    subject, tokens = sparse(kind), tokens_of(rng)
    kept: list[Routed] = []
    subject.read(tokens, {2: kept.append}, routed=True)
    (x,) = kept
    dense, width = x.dense(), subject.d_mlp[2]
    assert torch.equal(dense.nan_to_num(7.0), x.dense(fill=7.0))
    token, neuron = (torch.from_numpy(rng.integers(0, n, 200)) for n in (tokens.numel(), width))
    assert torch.equal(x.at(token, neuron), dense.flatten(0, 1)[token, neuron].nan_to_num(0.0))
    chosen = sorted(rng.choice(width, 9, replace=False).tolist())
    torch.testing.assert_close(x.columns(chosen), dense[:, :, chosen], equal_nan=True, rtol=0, atol=0)


def test_half_precision(rng, own_cache) -> None:
    for kind in ("Olmoe", "GptOss"):
        subject = Subject(sparse_model(kind).to(torch.bfloat16), Tokenizer.numbered(VOCAB), name="half")
        tokens = tokens_of(rng)
        assert subject.activations(tokens, 2).dtype == torch.bfloat16
        assert max(deviations(subject.body, subject.expert_layers, tokens).values()) < 2e-2


def test_experts_of_another_form_are_refused(own_cache) -> None:
    module = torch.nn.Module()
    module.experts = torch.nn.ModuleList([torch.nn.Linear(2, 2)])
    with pytest.raises(SubjectError, match=r"neurons of old: its experts \(ModuleList\) are not of the form"):
        expert_layer(module, name="old")
    assert expert_layer(torch.nn.Linear(2, 2), name="dense") is None


def test_a_layer_with_neither_experts_nor_an_mlp_is_refused(own_cache) -> None:
    model = sparse_model("Mixtral")
    model.model.layers[1].mlp = torch.nn.Identity()
    with pytest.raises(SubjectError, match="neither experts nor an out projection"):
        Subject(model, Tokenizer.numbered(VOCAB), name="odd")
    assert ModulePaths._field_defaults == {"mlp": ()}


def test_every_expert_may_be_silent_in_a_short_row(own_cache) -> None:
    """One position is routed to two of eight experts; the widths come from the weights."""
    subject = sparse("Olmoe")
    x = subject.activations(torch.tensor([[3]]), 1)
    assert x.shape == (1, 1, 192)
    assert int((~x.isnan()).sum()) == 3 * 24


@pytest.mark.parametrize("kind", SPARSE)
def test_branches_side_by_side_equal_plain_passes(kind: str, rng, own_cache) -> None:
    """Where a branch's token is routed elsewhere, the neuron's activation is 0."""
    from neurolocal.subject.packed import Packed

    subject = sparse(kind, seed=int(rng.integers(2**31)))
    row = rng.integers(0, VOCAB, 16)
    for site in ("post", "pre"):
        packed = Packed(subject, budget=24, site=site)
        branches = {
            layer: [
                (int(rng.integers(1, 16)), rng.integers(0, VOCAB, rng.integers(1, 4)).tolist(), int(neuron))
                for neuron in rng.integers(0, subject.d_mlp[layer], 20)
            ]
            for layer in range(3)
        }
        found = packed.activations(row, branches)
        assert packed.packs
        silent = 0
        for layer, of_layer in branches.items():
            values = np.split(found[layer].flat, found[layer].start[1:])
            for value, (position, own, neuron) in zip(values, of_layer, strict=True):
                tokens = torch.from_numpy(np.concatenate([row[:position], own]))[None]
                expected, _ = plain_layers(subject.model, tokens)
                true = np.nan_to_num(getattr(expected[layer], site)[0, position:, neuron], nan=0.0)
                np.testing.assert_allclose(value, true, atol=2e-4 * np.nanmax(np.abs(getattr(expected[layer], site))))
                silent += int((true == 0).sum())
        assert silent, "every branch was routed to its neuron's expert: nothing was tested"


@pytest.mark.parametrize("kind", ["Mixtral", "GptOss", "DeepseekV3"])
def test_logit_effects_of_experts(kind: str, rng, own_cache) -> None:
    """A neuron's row of its expert's down projection through final norm and unembedding."""
    from neurolocal.subject.logits import LogitLens

    subject = sparse(kind, seed=int(rng.integers(2**31)))
    torch.nn.init.normal_(subject.model.model.norm.weight)
    mlp, d = subject.model.model.layers[2].mlp, subject.facts()["d_expert"][2]
    chosen = sorted(rng.choice(subject.d_mlp[2], 12, replace=False).tolist())
    found = LogitLens(subject, 5).effects(2, block=7, neurons=chosen)
    n = mlp.experts.down_proj.shape[0]
    for i, neuron in enumerate(chosen):
        if neuron >= n * d:
            row = mlp.shared_experts.down_proj.weight[:, neuron - n * d]
        else:
            one = mlp.experts.down_proj[neuron // d]
            row = one[neuron % d] if kind == "GptOss" else one[:, neuron % d]
        effect = (row * subject.model.model.norm.weight) @ subject.model.lm_head.weight.T
        effect = effect - effect.mean()
        np.testing.assert_allclose(found.promoted_effect[i], effect.topk(5).values, atol=1e-4)
        np.testing.assert_allclose(found.suppressed_effect[i], -(-effect).topk(5).values, atol=1e-4)
        assert found.promoted[i].tolist() == effect.topk(5).indices.tolist()


@pytest.mark.parametrize("kind", SPARSE)
def test_the_identity_holds(kind: str, own_cache) -> None:
    check_identity(sparse(kind))


def test_experts_that_compute_something_else_are_refused(own_cache) -> None:
    subject = sparse("Mixtral")
    module = subject.expert_layers[1].experts
    module.forward = lambda x, index, weights: x + type(module).forward(module, x, index, weights)
    with pytest.raises(SubjectError, match=r"^checking where .* tiny Mixtral are: the experts of layer 1 return some"):
        check_identity(subject)


def test_offloaded_experts_are_moved_by_accelerate(own_cache, rng) -> None:
    """accelerate keeps a module's forward under another name, moves its weights in, and calls that."""
    from accelerate.hooks import ModelHook, add_hook_to_module

    class Moved(ModelHook):
        calls = 0

        def pre_forward(self, module, *args, **kwargs):
            Moved.calls += 1
            return args, kwargs

    subject, tokens = sparse("Qwen3Moe"), tokens_of(rng)
    plain = subject.activations(tokens, 1)
    for layer in subject.expert_layers.values():
        add_hook_to_module(layer.experts, Moved())
    torch.testing.assert_close(subject.activations(tokens, 1), plain, equal_nan=True)
    assert Moved.calls == 2  # layers 0 and 1
    with torch.inference_mode():
        subject.body(input_ids=tokens)
    assert Moved.calls == 5
