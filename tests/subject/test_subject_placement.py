"""`--device auto`: one GPU where the model fits, else whole blocks over all of them. The GPUs are made up."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import torch
from subject_twins import save_folder, tiny_model
from transformers.integrations.accelerate import _get_device_map

from neurolocal.errors import SubjectError
from neurolocal.subject import load_subject
from neurolocal.subject.load import _placed
from neurolocal.subject.placement import placed, weight_bytes
from neurolocal.subject.wrapper import text_only

GIB = 1 << 30


@pytest.mark.parametrize(
    ("size", "free", "expected"),
    [
        (10, {"cpu": 99}, "memory and disk"),
        (6, {0: 10, 1: 10, "cpu": 99}, 0),
        (6, {0: 9, 1: 10, "cpu": 99}, 1),
        (6, {0: 10, 1: 10, 2: 11, "cpu": 99}, 2),
        (7, {0: 10, "cpu": 99}, {0: 8, "cpu": 99}),
        (9, {0: 10, "cpu": 99}, {0: 10, "cpu": 99}),
        (15, {0: 10, 1: 10, "cpu": 99}, {0: 8, 1: 8, "cpu": 99}),
        (17, {0: 10, 1: 10, "cpu": 99}, {0: 10, 1: 10, "cpu": 99}),
    ],
)
def test_one_gpu_is_used_where_the_model_fits_there(size, free, expected) -> None:
    found = placed(size * GIB, {device: n * GIB for device, n in free.items()})
    if isinstance(expected, int):
        assert found == {"device_map": {"": expected}}
    elif isinstance(expected, str):
        assert found == {"device_map": "auto"}
    else:
        assert found == {"device_map": "auto", "max_memory": {d: n * GIB for d, n in expected.items()}}


@pytest.mark.parametrize("kind", ["GPT2", "Llama", "GPTNeoX", "OPT", "Phi3"])
def test_a_model_that_needs_three_gpus_is_spread_by_whole_blocks(kind: str) -> None:
    layers = {"GPT2": "n_layer"}.get(kind, "num_hidden_layers")
    with torch.device("meta"):
        model = tiny_model(kind, larger={layers: 9})
    size = 4 * sum(part.numel() for part in model.parameters())
    found = placed(size, {0: int(size / 1.8), 1: int(size / 1.8), 2: int(size / 1.8), "cpu": 10 * size})
    places = _get_device_map(model, found["device_map"], found["max_memory"], None)
    blocks = {name: place for name, place in places.items() if re.search(r"\.\d+$", name)}
    assert len(blocks) == 9, "a block was split"
    assert set(places.values()) == {0, 1, 2}, "not all GPUs are used, or something else is"
    order = [blocks[name] for name in sorted(blocks, key=lambda name: int(name.rpartition(".")[2]))]
    assert order == sorted(order), "the residual stream goes back and forth"


def test_the_bytes_of_a_model_are_known_without_its_weights(tmp_path) -> None:
    model = tiny_model("Llama")
    n = sum(part.numel() for part in model.parameters())
    assert weight_bytes(type(model), model.config, tmp_path, torch.float32) == 4 * n
    assert weight_bytes(text_only(type(model)), model.config, tmp_path, torch.bfloat16) == 2 * n
    (tmp_path / "model.safetensors").write_bytes(bytes(123))
    model.config.quantization_config = {"quant_method": "gptq"}
    assert weight_bytes(type(model), model.config, tmp_path, torch.float32) == 123


def test_a_model_stays_where_it_was_placed(tmp_path, monkeypatch) -> None:
    from neurolocal.subject import pretrained

    folder = save_folder(tiny_model("Llama"), tmp_path / "model")
    asked = []
    monkeypatch.setattr(
        pretrained, "placement", lambda *a: (asked.append(a), {"device_map": {"": "cpu"}})[1]
    )  # fmt: skip
    model, _ = pretrained.load_pretrained(folder, "float32", spread=True)
    assert len(asked) == 1
    assert next(model.parameters()).device == torch.device("cpu")
    pretrained.load_pretrained(folder, "float32", spread=False)
    assert len(asked) == 1, "a device was given"
    with torch.device("meta"):
        elsewhere = tiny_model("Llama")  # a model on the second GPU must not be moved to the first
    assert _placed(elsewhere, "auto") is elsewhere
    assert not any(part.requires_grad for part in elsewhere.parameters())


def test_weights_that_do_not_fit_are_told_of_auto() -> None:
    def move(device: str) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nMore")

    with pytest.raises(SubjectError, match=r"moving the subject to cuda:0: its weights do not fit .* `--device auto`"):
        _placed(SimpleNamespace(to=move), "cuda:0")


def test_auto_without_a_gpu_still_loads(tmp_path, own_cache) -> None:
    folder = save_folder(tiny_model("Llama", larger={"vocab_size": 512}), tmp_path / "model")
    assert load_subject(folder, device="auto").devices == (torch.device("cpu"),)
