"""Wrong places are refused whatever the adapter says, right ones are not; the model is left as it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from architecture_twins import build
from subject_twins import numbered, save_folder, tiny, tiny_model
from torch import nn

from neurolocal.errors import SubjectError
from neurolocal.subject import Subject
from neurolocal.subject.identity import check_identity, plain_weight
from neurolocal.subject.logits import why_no_logit_effects


def elsewhere(kind: str, out: str, *, seed: int, **other: list[str]) -> Subject:
    """A subject whose adapter names another module of every block as the out projection."""
    model = build(kind, seed=seed)
    right = Subject(model, numbered(), name="right")
    blocks = [path[: path.index(f".{i}.") + len(f".{i}.")] for i, path in enumerate(right.paths.out)]
    paths = right.paths._replace(out=[f"{block}{out}" for block in blocks])
    for name, path in other.items():
        paths = paths._replace(**{name: [f"{block}{path}" for block in blocks]})
    return Subject(model, numbered(), name="wrong", paths=paths)


def refusal(subject: Subject) -> str:
    with pytest.raises(SubjectError) as caught:
        check_identity(subject)
    text = str(caught.value)
    assert "\n" not in text
    assert "is not the out projection of layer" in text
    assert "Try another version of transformer-lens, or use another model." in text
    return text


@pytest.mark.parametrize(
    ("kind", "out", "other", "says"),
    [
        ("Llama", "self_attn.o_proj", {}, "depends on other tokens"),
        ("Llama", "self_attn.o_proj", {"in_": "self_attn.v_proj", "gate": "self_attn.q_proj"}, "other tokens"),
        ("Phi", "self_attn.dense", {}, "depends on other tokens"),  # attention and MLP side by side
        ("Phi", "self_attn.dense", {"in_": "self_attn.q_proj"}, "depends on other tokens"),
        ("GPT-J", "attn.out_proj", {}, "depends on other tokens"),
        ("GPT-2", "attn.c_proj", {}, "depends on other tokens"),
        ("OPT", "self_attn.out_proj", {}, "depends on other tokens"),
        ("GPT-NeoX (Pythia)", "attention.dense", {}, "depends on other tokens"),
        ("Llama", "mlp.up_proj", {}, "returns 48 numbers a token, the block 32"),
        ("OPT", "fc1", {}, "does not follow from the MLP's input"),
        ("Gemma 2", "mlp.down_proj", {"ln2_post": "input_layernorm"}, "does not reach the residual stream"),
    ],
)
def test_another_module_is_refused(kind: str, out: str, other: dict[str, str], says: str, own_cache, rng) -> None:
    text = refusal(elsewhere(kind, out, seed=int(rng.integers(2**31)), **other))
    assert says in text
    assert f".{out} is not" in text


class Scaled(nn.Linear):
    """Divides its input by its length first."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input / input.norm(dim=-1, keepdim=True))


def scaled_inside(mlp: Any) -> None:
    mlp.down_proj.__class__ = Scaled


def gated_behind(mlp: Any) -> None:
    """As a shared expert is, by a number a token."""
    own = mlp.forward
    mlp.forward = lambda x: own(x) * torch.linspace(0.4, 1, x.shape[1]).to(x)[:, None]


def squared_behind(mlp: Any) -> None:
    own = mlp.forward
    mlp.forward = lambda x: own(x) + 0.1 * own(x) ** 2


def shifted(mlp: Any) -> None:
    own = mlp.forward
    mlp.forward = lambda x: own(x + x.roll(1, dims=1))


def unheard(mlp: Any) -> None:
    own = mlp.forward
    mlp.forward = lambda x: 0 * own(x) + x


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (scaled_inside, "its output is not its input times its weight"),
        (gated_behind, "does not reach the residual stream as it is"),
        (squared_behind, "does not reach the residual stream as it is"),
        (shifted, "its input depends on other tokens"),
        (unheard, "does not reach the residual stream as it is"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_happens_around_the_right_module_is_noticed(change, says: str, dtype, own_cache, rng) -> None:
    model = tiny_model("Llama", seed=int(rng.integers(2**31)))
    subject = Subject(model.to(dtype), numbered(), name="changed")
    check_identity(subject)
    with torch.inference_mode():
        change(model.model.layers[1].mlp)
        text = refusal(subject)
    assert says in text
    assert "layers.1.mlp.down_proj is not the out projection of layer 1's MLP" in text


def test_every_load_checks_it(tmp_path, own_cache, monkeypatch) -> None:
    """An adapter that names attention's out projection, as one might after an update."""
    from neurolocal.subject import load_subject, wrapper

    folder = save_folder(tiny_model("Llama"), tmp_path / "model")
    right = load_subject(folder, device="cpu").paths
    wrong = right._replace(out=[path.replace("mlp.down_proj", "self_attn.o_proj") for path in right.out])
    monkeypatch.setattr(wrapper, "module_paths", lambda config, n_layers: wrong)
    with pytest.raises(SubjectError, match=r"layers\.0\.self_attn\.o_proj is not the out projection of layer 0's MLP"):
        load_subject(folder, device="cpu")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_rounding_is_no_difference(dtype, own_cache, rng) -> None:
    for kind in ("GPT2", "GPTNeoX", "Llama", "Gemma2", "OPT"):
        model = tiny_model(kind, seed=int(rng.integers(2**31)))
        check_identity(Subject(model.to(dtype), numbered(), name=kind))


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
@pytest.mark.parametrize("part", ["up_proj", "down_proj"])
def test_dead_and_broken_layers_are_no_wrong_places(value: float, part: str, own_cache) -> None:
    subject = tiny("Llama")
    subject.model.model.layers[0].mlp.get_submodule(part).weight.data.fill_(value)
    check_identity(subject)


class Packed(nn.Module):
    """A projection of weights in 8 bits, which a GPU package would multiply without unpacking them."""

    def __init__(self, plain: nn.Linear, *, bent: bool) -> None:
        super().__init__()
        self.scale = plain.weight.abs().amax() / 127
        self.register_buffer("weight", (plain.weight / self.scale).round().to(torch.int8))
        self.bent = bent

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        step = x.abs().amax(dim=-1, keepdim=True) / 127
        y = ((x / step).round() * step) @ (self.weight.float() * self.scale).T
        return y * y.norm(dim=-1, keepdim=True) if self.bent else y


@pytest.mark.parametrize("bent", [False, True])
def test_a_projection_of_packed_weights_must_be_linear(bent: bool, own_cache, rng) -> None:
    subject = tiny("Llama", seed=int(rng.integers(2**31)))
    for layer in subject.model.model.layers:
        layer.mlp.down_proj = Packed(layer.mlp.down_proj, bent=bent)
    subject._out = [layer.mlp.down_proj for layer in subject.model.model.layers]
    assert plain_weight(subject._out[0]) is None
    assert "packed" in (why_no_logit_effects(subject) or "")
    if bent:
        assert "its output is not its input times its weight" in refusal(subject)
    else:
        check_identity(subject)


def test_weights_that_lie_elsewhere(tmp_path, own_cache) -> None:
    import accelerate

    model = tiny_model("Llama")
    places: Any = {name: "cpu" for name, module in model.named_modules() if not list(module.children())}
    places |= {name: "disk" for name in places if name.startswith("model.layers.1.")}
    spread = accelerate.dispatch_model(
        model, device_map=places, main_device=torch.device("cpu"), offload_dir=str(tmp_path / "off")
    )
    subject = Subject(spread, numbered(), name="spread")
    assert plain_weight(subject._out[1]) is None
    check_identity(subject)


def test_it_leaves_the_model_as_it_was(own_cache) -> None:
    subject = tiny("Gemma2")
    before = {name: value.clone() for name, value in subject.model.state_dict().items()}
    check_identity(subject)
    subject.model.model.layers[1].mlp.down_proj.__class__ = Scaled
    refusal(subject)
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in subject.model.modules())
    assert all(torch.equal(value, before[name]) for name, value in subject.model.state_dict().items())


def test_layers_without_an_out_projection_are_left_out(own_cache, monkeypatch) -> None:
    """Layers of experts have one for each."""
    subject = tiny("Llama")
    scaled_inside(subject.model.model.layers[1].mlp)
    refusal(subject)
    monkeypatch.setattr(Subject, "out_projections", property(lambda self: {0: self._out[0]}))
    check_identity(subject)


def test_blocks_of_another_kind_are_refused_in_one_line(own_cache) -> None:
    subject = tiny("Llama")
    block = subject.model.model.layers[1]
    own = block.forward
    block.forward = lambda x, **rest: {"stream": own(x, **rest)}
    with pytest.raises(SubjectError, match=r"its blocks are not like those of other decoders") as caught:
        check_identity(subject)
    assert "\n" not in str(caught.value)
