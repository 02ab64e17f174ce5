"""Direct logit effects against derivatives through the model's own modules, neuron by neuron."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from legacy_twins import CONFIG, random_weights, write_legacy
from subject_twins import D_MLP, SETTINGS, VOCAB, numbered, save_folder, tiny, tiny_model

from neurolocal.errors import SubjectError
from neurolocal.records import LogitEffects, Site
from neurolocal.subject import Subject, load_subject
from neurolocal.subject.logits import LogitLens, why_no_logit_effects


def logit_effects(subject: Subject, layer: int, *, k: int, **how: Any) -> LogitEffects:
    return LogitLens(subject, k).effects(layer, **how)


def randomised(subject: Subject, rng) -> Subject:
    """Norms begin as ones and zeros, which would hide what is done with their weights."""
    draw = torch.Generator().manual_seed(int(rng.integers(2**31)))
    for name, p in subject.model.named_parameters():
        if "norm" in name or "ln" in name:
            p.add_(torch.randn(p.shape, generator=draw) * 0.5)
    return subject


def through(norm: torch.nn.Module, v: torch.Tensor, rng) -> torch.Tensor:
    """The derivative of a norm in direction v, at a point where the norm's scale is 1 and v does not change it.

    Such a point has mean 0, mean square 1, and no part of v.
    """
    basis = torch.linalg.qr(torch.stack([torch.ones_like(v), v], dim=1))[0]
    x = torch.from_numpy(rng.standard_normal(len(v))).to(v)
    x = x - basis @ (basis.T @ x)
    x = x / x.square().mean().sqrt()
    return torch.func.jvp(lambda x: norm(x[None])[0], (x,), (v,))[1]


def slow_effects(subject: Subject, layer: int, site: Site, rng) -> np.ndarray:
    """(neuron, d_vocab), one neuron after the other, in float64 where the modules allow it."""
    paths = subject.paths
    out = subject.model.get_submodule(paths.out[layer])
    final, unembed = (subject.model.get_submodule(path) for path in (paths.ln_final, paths.unembed))
    rows = []
    for neuron in range(subject.d_mlp[layer]):
        v = torch.zeros(subject.d_mlp[layer], dtype=torch.float64)
        v[neuron] = 1
        if site == "mid":
            v = through(subject.spot(layer, "mid").module, v, rng)
        v = torch.func.jvp(out, (torch.zeros_like(v)[None],), (v[None],))[1][0]
        if paths.ln2_post[layer]:
            v = through(subject.model.get_submodule(paths.ln2_post[layer]), v, rng)
        v = through(final, v, rng)
        logits = torch.func.jvp(unembed, (torch.zeros_like(v)[None],), (v[None],))[1][0]
        rows.append(logits - logits.mean())
    return torch.stack(rows).numpy()


def assert_right(subject: Subject, rng, *, site: Site = "post", k: int = 7) -> None:
    layer = int(rng.integers(subject.n_layers))
    found = logit_effects(subject, layer, k=k, block=int(rng.integers(1, 60)), site=site)
    subject.model.double()
    true = slow_effects(subject, layer, site, rng)
    near = 1e-4 * np.abs(true).max()
    order = np.argsort(-true, axis=1)
    for tokens, effect, best in (
        (found.promoted, found.promoted_effect, order[:, :k]),
        (found.suppressed, found.suppressed_effect, order[:, ::-1][:, :k]),
    ):
        assert tokens.shape == effect.shape == (subject.d_mlp[layer], k)
        assert (tokens.dtype, effect.dtype) == (np.int32, np.float32)
        assert np.abs(np.take_along_axis(true, tokens.astype(np.int64), 1) - effect).max() < near
        assert np.abs(np.take_along_axis(true, best, 1) - effect).max() < near, "not the strongest ones, in order"


@pytest.mark.parametrize("kind", SETTINGS)
def test_every_kind_equals_derivatives(kind: str, rng, own_cache) -> None:
    assert_right(randomised(tiny(kind, seed=int(rng.integers(2**31))), rng), rng)


@pytest.mark.parametrize(
    ("changes", "site"),
    [
        ({}, "post"),
        ({}, "mid"),
        ({"act_fn": "gelu", "normalization": "LNPre"}, "post"),
        ({"normalization": "RMS"}, "mid"),
        ({"normalization": None}, "post"),
        ({"final_rms": True}, "mid"),
    ],
)
def test_transformerlenss_own_models(changes, site, fixtures, tmp_path, rng, own_cache) -> None:
    config = CONFIG | changes
    weights = random_weights(config, seed=int(rng.integers(2**31)))
    folder = write_legacy(tmp_path / "m", config, weights, tokenizer_from=fixtures / "stories260k")
    assert_right(load_subject(folder, device="cpu"), rng, site=site)


def test_half_precision_rounds_no_further_than_its_weights(rng, own_cache) -> None:
    subject = randomised(tiny("Llama"), rng)
    subject.model.bfloat16()
    half = logit_effects(subject, 1, k=5)
    subject.model.float()
    whole = logit_effects(subject, 1, k=5)
    assert np.array_equal(half.promoted, whole.promoted)
    assert np.allclose(half.promoted_effect, whole.promoted_effect, atol=1e-6)


def test_ids_without_a_text_are_no_tokens(rng, own_cache) -> None:
    """A vocabulary padded with seven rows, which are the largest of all, gives what the rows before them give."""
    model = tiny_model("Llama", seed=int(rng.integers(2**31)))
    model.lm_head.weight.data[-7:] *= 100
    found = logit_effects(Subject(model, numbered(VOCAB - 7), name="padded"), 1, k=VOCAB - 7)
    assert np.array_equal(np.sort(found.promoted, axis=1), np.tile(np.arange(VOCAB - 7), (D_MLP, 1)))
    small = Subject(model, numbered(VOCAB - 7), name="small")
    small.model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight[:-7])
    small.d_vocab = VOCAB - 7
    true = logit_effects(small, 1, k=VOCAB - 7)
    assert np.array_equal(found.promoted_effect, true.promoted_effect)
    assert np.array_equal(found.suppressed, true.suppressed)


@pytest.mark.parametrize("k", [0, VOCAB + 1])
def test_k_is_within_the_vocabulary(k: int, own_cache) -> None:
    with pytest.raises(SubjectError, match=rf"{k} tokens a side, it has 97\. Choose 1 to 97\."):
        logit_effects(tiny("GPT2"), 0, k=k)
    assert logit_effects(tiny("GPT2"), 0, k=VOCAB).promoted.shape == (D_MLP, VOCAB)


def test_a_projection_before_the_unembedding(own_cache) -> None:
    import transformers

    settings: dict[str, Any] = SETTINGS["OPT"] | {"word_embed_proj_dim": 16}
    config = transformers.OPTConfig(**settings)
    config.architectures = ["OPTForCausalLM"]
    subject = Subject(transformers.OPTForCausalLM(config).eval(), numbered(), name="narrow OPT")
    assert "another projection" in (why_no_logit_effects(subject) or "")
    with pytest.raises(SubjectError, match=r"of narrow OPT: another projection .* Run without them\."):
        logit_effects(subject, 0, k=3)


def test_an_unembedding_that_the_files_lack(fixtures, tmp_path, own_cache) -> None:
    """transformers draws it at random; its effects would mean nothing."""
    from safetensors.torch import load_file, save_file

    model = tiny_model("Llama")
    folder = save_folder(model, tmp_path / "m")
    assert why_no_logit_effects(load_subject(folder, device="cpu")) is None
    tensors = load_file(folder / "model.safetensors")
    del tensors["lm_head.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert "no unembedding" in (why_no_logit_effects(load_subject(folder, device="cpu")) or "")


class Strange(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x) * torch.arange(1, x.shape[-1] + 1)


class Rolled(torch.nn.LayerNorm):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input.roll(1, -1))


@pytest.mark.parametrize("norm", [Strange(), Rolled(32)])
def test_a_norm_that_is_something_else_is_refused(norm, own_cache) -> None:
    subject = tiny("Llama")
    subject.model.model.norm = norm
    with pytest.raises(SubjectError, match=rf"at model.norm: its norm {type(norm).__name__} is no weighting"):
        logit_effects(subject, 0, k=3)


@pytest.mark.parametrize("d", [2, 5, 8, 33])
def test_a_norm_of_any_width(d: int, rng, own_cache) -> None:
    from neurolocal.subject.logits import _norm_map

    for norm in (torch.nn.LayerNorm(d), torch.nn.RMSNorm(d, eps=1e-6)):
        weight = torch.from_numpy(rng.standard_normal(d)).float()
        norm.weight.data = weight
        found = _norm_map(norm, d, device=torch.device("cpu"), name="it")
        assert torch.allclose(found.weight, weight, atol=1e-5)
        assert found.centres == isinstance(norm, torch.nn.LayerNorm)
