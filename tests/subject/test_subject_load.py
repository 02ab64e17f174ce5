"""Folders, files and names that cannot be loaded, devices and dtypes; no code in a model folder is run."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from load_twins import refusal
from subject_twins import SETTINGS, VOCAB, numbered, save_folder, tiny_model

from neurolocal.errors import SubjectError
from neurolocal.subject import load_subject
from neurolocal.subject.load import _placed
from neurolocal.subject.locate import locate
from neurolocal.subject.logits import why_no_logit_effects
from neurolocal.subject.model import Subject


@pytest.mark.parametrize("name", ["/no/such/folder", "no-such-org/no-such-model", "no such model", "gpt2.gguf"])
def test_nothing_there(name: str, own_cache, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    text = refusal(name)
    assert name in text
    assert "there is no such folder or file" in text
    assert "nothing is ever downloaded" in text


def test_a_folder_without_config(folder: Path) -> None:
    (folder / "config.json").unlink()
    assert str(folder) in refusal(folder)
    assert "has no config.json. Give a Hugging Face model folder" in refusal(folder)


@pytest.mark.parametrize("config", ["", "{", "[]", "{}", '{"model_type": 7}'])
def test_a_config_that_says_nothing(folder: Path, config: str) -> None:
    (folder / "config.json").write_text(config)
    text = refusal(folder)
    assert str(folder) in text
    assert "Check that the folder is whole" in text


@pytest.mark.parametrize("content", [b"", b"GGU", b"PK\x03\x04 a zip", b"\x80\x04pickle"])
def test_a_file_that_is_no_gguf(tmp_path, content: bytes) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    text = refusal(path)
    assert str(path) in text
    assert "is no GGUF" in text
    assert "Give a Hugging Face model folder or a .gguf file." in text


@pytest.mark.parametrize("cut", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_safetensors_cut_short(folder: Path, cut: float) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * cut)])
    assert str(folder) in refusal(folder)


def test_safetensors_whose_header_lies(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes((1 << 62).to_bytes(8, "little") + path.read_bytes()[8:])
    assert "Check that the folder is whole" in refusal(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_file_that_is_missing(folder: Path, name: str) -> None:
    (folder / name).unlink()
    for extra in ("tokenizer_config.json",) if name == "tokenizer.json" else ():
        (folder / extra).unlink()
    assert "Check that the folder is whole" in refusal(folder)


class Payload:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("save", [torch.save, lambda what, path: path.write_bytes(pickle.dumps(what, 2))])
def test_a_pickle_does_not_run(folder: Path, save, tmp_path) -> None:
    (folder / "model.safetensors").unlink()
    mark = tmp_path / "ran"
    save({"model.norm.weight": torch.zeros(64), "payload": Payload(mark)}, folder / "pytorch_model.bin")
    assert str(folder) in refusal(folder)
    assert not mark.exists(), "the payload of a .bin file was run"
    pickle.loads(pickle.dumps(Payload(mark)))
    assert mark.exists(), "the payload would not have shown"


def test_code_in_the_folder_does_not_run(folder: Path, tmp_path) -> None:
    mark = tmp_path / "ran"
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"from pathlib import Path\nPath({str(mark)!r}).touch()\n")
    refusal(folder)
    assert not mark.exists()


def model_without_neurons(kind: str, folder: Path, fixtures: Path) -> Path:
    import transformers as t

    small: dict[str, Any] = {"vocab_size": 512, "hidden_size": 32, "num_hidden_layers": 2}
    heads: dict[str, Any] = {"num_attention_heads": 4, "intermediate_size": 48, "max_position_embeddings": 64}
    model = {
        "Mamba": lambda: t.MambaForCausalLM(t.MambaConfig(**small, state_size=4)),
        "Bert": lambda: t.BertForMaskedLM(t.BertConfig(**small, **heads)),
        "T5": lambda: t.T5ForConditionalGeneration(
            t.T5Config(vocab_size=512, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
        ),
    }[kind]()
    return save_folder(model, folder)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("Mamba", "state-space"),
        ("Bert", "encoder"),
        ("T5", "causal language model"),
    ],
)
def test_a_model_without_mlp_neurons(kind: str, says: str, fixtures, tmp_path, own_cache) -> None:
    text = refusal(model_without_neurons(kind, tmp_path / "model", fixtures))
    assert says.lower() in text.lower()


def test_layers_whose_projection_never_runs_are_refused(own_cache) -> None:
    model = tiny_model("Llama")
    model.model.layers[1].mlp.forward = lambda x: x
    with pytest.raises(SubjectError, match=r"out projections of layers \[1\] are never run.*cannot be read yet"):
        Subject(model, numbered(), name="no MLP")


def test_a_device_that_is_not_there(fixtures) -> None:
    with pytest.raises(SubjectError, match="Choose another --device") as caught:
        load_subject(fixtures / "stories260k", device="cuda:99")
    assert "\n" not in str(caught.value)
    with pytest.raises(SubjectError, match="Choose another --device"):
        load_subject(fixtures / "stories260k", device="teapot")


@pytest.mark.parametrize("kind", ["GPTJ", "GPT2"])
def test_a_model_without_fast_attention_still_loads(kind: str, fixtures, tmp_path, own_cache) -> None:
    larger = SETTINGS[kind] | {"vocab_size": 512}
    import transformers

    config = getattr(transformers, f"{kind}Config")(**larger)
    model = transformers.AutoModelForCausalLM.from_config(config)
    folder = save_folder(model, tmp_path / "model")
    subject = load_subject(folder, device="cpu")
    assert subject.model.config._attn_implementation == ("eager" if kind == "GPTJ" else "sdpa")
    tokens = torch.randint(0, VOCAB, (1, 6))
    assert subject.activations(tokens, 1).shape == (1, 6, 48)


def test_half_precision_is_what_was_asked(fixtures) -> None:
    subject = load_subject(fixtures / "stories260k", dtype="bfloat16", device="cpu")
    assert subject.dtype == torch.bfloat16
    assert subject.activations(torch.zeros((1, 3), dtype=torch.long), 0).dtype == torch.bfloat16


@pytest.mark.parametrize("kind", ["GPT2", "Llama"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_follows_float32(kind: str, dtype, fixtures, tmp_path, own_cache, rng) -> None:
    model = tiny_model(kind, seed=int(rng.integers(2**31)), larger={"vocab_size": 512})
    folder = save_folder(model, tmp_path / "model")
    tokens = torch.from_numpy(rng.integers(0, 512, (2, 20)))
    half = load_subject(folder, dtype=dtype, device="cpu")
    whole = load_subject(folder, device="cpu")
    assert half.dtype == getattr(torch, dtype)
    for site in whole.sites:
        true, found = whole.activations(tokens, 1, site), half.activations(tokens, 1, site)
        assert found.dtype == half.dtype
        assert (found.float() - true).abs().mean() < 0.1 * true.abs().mean()


def test_a_model_spread_by_accelerate(fixtures, own_cache, rng) -> None:
    true = load_subject(fixtures / "stories260k", device="cpu")
    found = load_subject(fixtures / "stories260k", device="auto")
    tokens = torch.from_numpy(rng.integers(0, 512, (2, 20)))
    for layer in range(5):
        here = found.activations(tokens, layer)
        assert here.device == found.device_of(layer)
        assert torch.allclose(here.cpu(), true.activations(tokens, layer), atol=1e-4)


@pytest.mark.parametrize("kind", ["GPT2", "Llama", "OPT", "Phi3"])
def test_layers_that_lie_elsewhere(kind: str, tmp_path, own_cache, rng) -> None:
    """The second layer's weights are on disk, and come in for the time of a call."""
    import accelerate

    plain = Subject(tiny_model(kind), numbered(), name="plain")
    assert plain.device_of(1) == plain.device == torch.device("cpu")
    block = plain.paths.out[1].partition(".1.")[0]
    whole = tiny_model(kind)
    places: dict[str, Any] = {
        name: "disk" if name.startswith(f"{block}.1.") else "cpu"
        for name, module in whole.named_modules()
        if not list(module.children())
    }
    spread = accelerate.dispatch_model(
        whole, device_map=places, main_device=torch.device("cpu"), offload_dir=str(tmp_path / "off")
    )
    assert _placed(spread, "auto") is spread, "not moved into one place again"
    subject = Subject(spread, numbered(), name="spread")
    assert any(p.is_meta for p in spread.parameters()), "nothing lies elsewhere"
    assert subject.device_of(1) == subject.device == torch.device("cpu")
    tokens = torch.from_numpy(rng.integers(0, VOCAB, (2, 9)))
    assert subject.sites == plain.sites
    for layer in range(2):
        for site in subject.sites:
            assert torch.equal(subject.activations(tokens, layer, site), plain.activations(tokens, layer, site))
    assert "not in memory" in (why_no_logit_effects(subject) or "")


def test_a_folder_is_found_before_the_embedded_name(tmp_path, fixtures, monkeypatch) -> None:
    shutil.copytree(fixtures / "stories260k", tmp_path / "smollm2", copy_function=shutil.copyfile)
    monkeypatch.chdir(tmp_path)
    assert locate("smollm2") == Path("smollm2")
