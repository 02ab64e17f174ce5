"""Every site equals TransformerBridge's; a site that the model lacks or overwrites is not offered."""

from __future__ import annotations

import pytest
import torch
from bridge_twins import assert_equals_the_bridge
from subject_twins import GATED, SETTINGS, VOCAB, numbered, tiny, tiny_model

from neurolocal.errors import SubjectError
from neurolocal.subject import Subject


@pytest.mark.parametrize("kind", SETTINGS)
def test_every_site_equals_the_bridges_and_comes_in_one_pass(kind: str, rng, own_cache) -> None:
    subject = tiny(kind, seed=int(rng.integers(2**31)))
    assert subject.gated == (kind in GATED)
    assert subject.sites == (("post", "pre", "pre_linear") if kind in GATED else ("post", "pre"))
    tokens = torch.from_numpy(rng.integers(0, VOCAB, (3, 20)))
    for site in subject.sites:
        assert_equals_the_bridge(subject, subject.model, tokens, site)
    order = [subject.sites[i] for i in rng.permutation(len(subject.sites))]
    passes, seen = [], {}
    handle = subject.body.register_forward_pre_hook(lambda *_: passes.append(1))
    subject.read(tokens, {i: lambda *xs, i=i: seen.update({i: [x.clone() for x in xs]}) for i in (1, 0)}, sites=order)
    handle.remove()
    assert len(passes) == 1
    for layer, found in seen.items():
        assert len(found) == len(order)
        for site, x in zip(order, found, strict=True):
            assert torch.equal(x, subject.activations(tokens, layer, site))
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in subject.model.modules())


@pytest.mark.parametrize("site", ["mid", "pre_linear"])
def test_a_site_that_the_model_lacks(site, own_cache) -> None:
    subject = tiny("GPT2")
    with pytest.raises(SubjectError, match=rf"^reading tiny GPT2 at {site}: it has post, pre\. Choose among these\.$"):
        subject.activations(torch.zeros((1, 2), dtype=torch.long), 0, site)
    with pytest.raises(SubjectError, match="at no site"):
        subject.read(torch.zeros((1, 2), dtype=torch.long), {0: lambda: None}, sites=())


@pytest.mark.parametrize("kind", ["Llama", "OPT"])
def test_a_model_that_overwrites_a_site_does_not_offer_it(kind: str, own_cache) -> None:
    """An activation in place leaves its own output where the reference to its input points."""
    model = tiny_model(kind)
    name = "act_fn" if kind == "Llama" else "activation_fn"
    for module in [m for m in model.modules() if hasattr(m, name)]:
        setattr(module, name, torch.nn.ReLU(inplace=True))
    subject = Subject(model, numbered(), name="in place")
    assert subject.sites == (("post", "pre_linear") if kind == "Llama" else ("post",))
    with pytest.raises(SubjectError, match="in place at pre: it has post"):
        subject.activations(torch.zeros((1, 2), dtype=torch.long), 0, "pre")


def test_fused_halves_in_another_order_are_not_offered(own_cache) -> None:
    model = tiny_model("Phi3")
    assert Subject(model, numbered(), name="right").sites == ("post", "pre", "pre_linear")
    model.config.bos_token_id = 5  # another entry of the cache
    for layer in model.model.layers:
        mlp = layer.mlp

        def other(x, mlp=mlp):
            up, gate = mlp.gate_up_proj(x).chunk(2, dim=-1)
            return mlp.down_proj(mlp.activation_fn(gate) * up)

        mlp.forward = other
    assert Subject(model, numbered(), name="other").sites == ("post",)
