"""TransformerLens's own checkpoints: every layout, and damaged or hostile files."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from checkpoint_twins import assert_equals_the_bridge, refusal, seed
from legacy_twins import CONFIG, native_bridge, old_layout, random_weights, write_legacy

from neurolocal.errors import SubjectError
from neurolocal.subject import load_subject
from neurolocal.subject.legacy import legacy_config

SQUARE = {"n_ctx": 32}
"""As many positions as d_model, as in the eight-layer SoLU model: its positions' shape says nothing."""
LAYOUTS = {
    "today": ({}, None),
    "six layers or fewer": ({"n_layers": 2}, {"all_left": True}),
    "six, square": ({"n_layers": 2} | SQUARE, {"all_left": True}),
    "eight": ({"n_layers": 8}, {"all_left": False}),
    "eight, square": ({"n_layers": 8} | SQUARE, {"all_left": False}),
    "today, square": ({"n_layers": 8} | SQUARE, None),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_equals_the_bridge(layout: str, stories, tmp_path, own_cache, rng) -> None:
    changes, old = LAYOUTS[layout]
    config = CONFIG | changes
    weights = random_weights(config, seed=seed(rng))
    on_disk = old_layout(weights, **old) if old else weights
    subject = load_subject(write_legacy(tmp_path / "any name", config, on_disk, tokenizer_from=stories), device="cpu")
    assert subject.sites == ("post", "mid", "pre")
    assert (subject.n_layers, subject.n_ctx, subject.d_vocab) == (config["n_layers"], config["n_ctx"], 512)
    assert subject.facts()["architecture"] == "TransformerLensNative"
    assert_equals_the_bridge(subject, native_bridge(config, weights), rng)


@pytest.mark.parametrize("normalization", ["LNPre", "RMSPre"])
def test_solu_without_weights_of_its_layer_norm(normalization, stories, tmp_path, own_cache, rng) -> None:
    """TransformerLens gives the norm behind SoLU weights only where the other norms have some."""
    config = CONFIG | {"normalization": normalization}
    weights = random_weights(config, seed=seed(rng))
    ones = {name: torch.full_like(x, float(name.endswith("w"))) for name, x in weights.items() if ".mlp.ln." in name}
    bare = {name: x for name, x in weights.items() if name not in ones}
    subject = load_subject(write_legacy(tmp_path / "m", config, bare, tokenizer_from=stories), device="cpu")
    whole = load_subject(write_legacy(tmp_path / "w", config, bare | ones, tokenizer_from=stories), device="cpu")
    assert subject.sites == ("post", "mid", "pre")
    tokens = torch.from_numpy(rng.integers(0, 512, (2, 9)))
    for site in ("mid", "post"):
        assert torch.equal(subject.activations(tokens, 1, site), whole.activations(tokens, 1, site))
    assert_equals_the_bridge(whole, native_bridge(config, bare | ones), rng)


def test_weights_that_should_be_there_are_still_missed(stories, tmp_path, own_cache, rng) -> None:
    weights = random_weights(CONFIG, seed=seed(rng))
    bare = {name: x for name, x in weights.items() if ".mlp.ln." not in name}
    with pytest.raises(SubjectError, match=r"lacks 4 tensors \(blocks.0.mlp.ln.b"):
        load_subject(write_legacy(tmp_path / "m", CONFIG, bare, tokenizer_from=stories), device="cpu")


def test_normalization_type_is_the_same_key(stories, tmp_path, own_cache, rng) -> None:
    config = {name: value for name, value in CONFIG.items() if name != "normalization"} | {"normalization_type": "LN"}
    weights = random_weights(config, seed=seed(rng))
    subject = load_subject(write_legacy(tmp_path / "m", config, weights, tokenizer_from=stories), device="cpu")
    assert_equals_the_bridge(subject, native_bridge(config, weights), rng)


def test_of_several_checkpoints_the_final_one_and_half_precision(stories, tmp_path, own_cache, rng) -> None:
    weights = random_weights(CONFIG, seed=seed(rng))
    folder = write_legacy(tmp_path / "m", CONFIG, weights, tokenizer_from=stories, name="SoLU_2L_final.pth")
    torch.save({name: x * 0 for name, x in weights.items()}, folder / "SoLU_2L_000.pth")
    tokens = torch.from_numpy(rng.integers(0, 512, (2, 9)))
    true = load_subject(folder, device="cpu").activations(tokens, 1, "mid")
    assert float(true.abs().max()) > 0
    for dtype in ("bfloat16", "float16"):
        found = load_subject(folder, device="cpu", dtype=dtype).activations(tokens, 1, "mid")
        assert found.dtype == getattr(torch, dtype)
        assert (found.float() - true).abs().mean() < 0.1 * true.abs().mean()


def test_a_file_of_the_format_before_zip(stories, tmp_path, own_cache, rng) -> None:
    weights = random_weights(CONFIG, seed=seed(rng))
    folder = write_legacy(tmp_path / "m", CONFIG, weights, tokenizer_from=stories, zipped=False)
    assert_equals_the_bridge(load_subject(folder, device="cpu"), native_bridge(CONFIG, weights), rng)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"attn_only": True}, "attn_only: a model without MLP neurons"),
        ({"shortformer_pos": True}, "shortformer or rotary positions"),
        ({"gated_mlp": True}, "gated MLPs"),
        ({"act_fn": "tanh"}, "with act_fn 'tanh'; known are gelu"),
        ({"d_mlp": "48"}, "with d_mlp = '48'; expected a whole number"),
        ({"n_heads": 3}, r"n_heads 3 \* d_head 8 != d_model 32"),
        ({"normalization": "batch"}, "with normalization 'batch'"),
        ({"d_mlp": 64}, r"blocks.0.mlp.W_in in model_final.pth has the shape \(32, 48\), and config.json promises"),
        ({"n_layers": 3}, r"lacks 1[0-9] tensors \(blocks.2.attn.W_K"),
    ],
)
def test_what_a_config_may_not_say(changes, says: str, stories, tmp_path, own_cache) -> None:
    folder = write_legacy(tmp_path / "m", CONFIG, random_weights(CONFIG, seed=0), tokenizer_from=stories)
    (folder / "config.json").write_text(json.dumps(CONFIG | changes))
    with pytest.raises(SubjectError, match=says):
        load_subject(folder, device="cpu")
    refusal(folder)


def test_a_missing_tensor(stories, tmp_path, own_cache) -> None:
    weights = random_weights(CONFIG, seed=0)
    del weights["blocks.1.mlp.ln.w"]
    folder = write_legacy(tmp_path / "m", CONFIG, weights, tokenizer_from=stories)
    assert "lacks 1 tensors (blocks.1.mlp.ln.w)" in refusal(folder)


@pytest.mark.parametrize("cut", [0.0, 0.001, 0.3, 0.9, 0.9999])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_cut_short(cut: float, zipped: bool, stories, tmp_path, own_cache) -> None:
    folder = write_legacy(tmp_path / "m", CONFIG, random_weights(CONFIG, seed=0), tokenizer_from=stories, zipped=zipped)
    path = folder / "model_final.pth"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * cut)])
    text = refusal(folder)
    assert "damaged" in text
    assert "opy the file again" in text


class Payload:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def test_code_in_a_checkpoint_does_not_run(stories, tmp_path, own_cache) -> None:
    folder = write_legacy(tmp_path / "m", CONFIG, random_weights(CONFIG, seed=0), tokenizer_from=stories)
    mark = tmp_path / "ran"
    torch.save({"embed.W_E": Payload(mark)}, folder / "model_final.pth")
    assert "code in a checkpoint is never run" in refusal(folder)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Payload(mark)))
    assert mark.exists(), "the payload would not have shown"


@pytest.mark.parametrize("content", [[1, 2], {}, {"model": {"embed.W_E": torch.zeros(1)}}, {3: torch.zeros(1)}])
def test_a_file_that_is_no_state_dict(content, stories, tmp_path, own_cache) -> None:
    folder = write_legacy(tmp_path / "m", CONFIG, random_weights(CONFIG, seed=0), tokenizer_from=stories)
    torch.save(content, folder / "model_final.pth")
    assert "Save the model's state_dict alone" in refusal(folder)


def test_which_checkpoint_must_be_clear(stories, tmp_path, own_cache) -> None:
    weights = random_weights(CONFIG, seed=0)
    folder = write_legacy(tmp_path / "m", CONFIG, weights, tokenizer_from=stories, name="a.pth")
    assert load_subject(folder, device="cpu").n_layers == 2
    write_legacy(folder, CONFIG, weights, tokenizer_from=None, name="b.pth")
    assert "stands beside 2 .pth files (a.pth, b.pth)" in refusal(folder)
    for path in folder.glob("*.pth"):
        path.unlink()
    assert "stands beside 0 .pth files (none)" in refusal(folder)


def test_which_configs_are_transformerlenss_own(stories, tmp_path) -> None:
    assert legacy_config(stories) is None
    assert legacy_config(tmp_path) is None
    for text in ("", "[]", "{}", '{"d_model": 3}', '{"model_type": "gpt2", "d_model": 3, "n_layers": 1}'):
        (tmp_path / "config.json").write_text(text)
        assert legacy_config(tmp_path) is None
    (tmp_path / "config.json").write_text('{"d_model": 3, "n_layers": 1}')
    assert legacy_config(tmp_path) == {"d_model": 3, "n_layers": 1}
