"""`--device auto`: one GPU where the model fits, else whole blocks over all of them. The GPUs are made up."""

from __future__ import annotations

import gc
import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from experts_twins import sparse_model
from subject_twins import save_folder, tiny_model
from transformers import MixtralConfig, MixtralForCausalLM
from transformers.integrations.accelerate import _get_device_map

from neurolocal.errors import SubjectError
from neurolocal.subject import load_subject
from neurolocal.subject.load import _placed
from neurolocal.subject.placement import placed, placement_line, require_room, weight_bytes
from neurolocal.subject.wrapper import text_only

GIB = 1 << 30


@pytest.mark.parametrize(
    ("size", "free", "expected"),
    [
        (10, {"cpu": 99}, "memory"),
        (10, {"cpu": 10}, {"cpu": 6}),
        (6, {0: 10, 1: 10, "cpu": 99}, 0),
        (6, {0: 9, 1: 10, "cpu": 99}, 1),
        (6, {0: 10, 1: 10, 2: 11, "cpu": 99}, 2),
        (7, {0: 10, "cpu": 100}, {0: 8, "cpu": 60}),
        (9, {0: 10, "cpu": 100}, {0: 10, "cpu": 60}),
        (15, {0: 10, 1: 10, "cpu": 100}, {0: 8, 1: 8, "cpu": 60}),
        (17, {0: 10, 1: 10, "cpu": 100}, {0: 10, 1: 10, "cpu": 60}),
    ],
)
def test_one_gpu_is_used_where_the_model_fits_there(size, free, expected) -> None:
    found = placed(size * GIB, {device: n * GIB for device, n in free.items()}, spill=Path("away"))
    if isinstance(expected, int):
        assert found == {"device_map": {"": expected}}
    elif isinstance(expected, str):
        assert found == {}
    else:
        room = {d: n * GIB for d, n in expected.items()}
        assert found == {"device_map": "auto", "max_memory": room, "offload_folder": "away"}


@pytest.mark.parametrize("kind", ["GPT2", "Llama", "GPTNeoX", "OPT", "Phi3"])
def test_a_model_that_needs_three_gpus_is_spread_by_whole_blocks(kind: str) -> None:
    layers = {"GPT2": "n_layer"}.get(kind, "num_hidden_layers")
    with torch.device("meta"):
        model = tiny_model(kind, larger={layers: 9})
    size = 4 * sum(part.numel() for part in model.parameters())
    found = placed(
        size, {0: int(size / 1.8), 1: int(size / 1.8), 2: int(size / 1.8), "cpu": 10 * size}, spill=Path("away")
    )
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


def read_all(subject, tokens, sites):
    """The activations of every layer."""
    found = {}

    def keep(layer, *x):
        found[layer] = [one.clone() for one in x]

    readers = {layer: partial(keep, layer) for layer in range(subject.n_layers)}
    subject.read(tokens, readers, sites=sites)
    return found


@pytest.mark.parametrize(("kind", "dtype"), [("Llama", "bfloat16"), ("GPT2", "float32")])
def test_blocks_on_the_disk_give_the_same_bits(tmp_path, own_cache, monkeypatch, kind, dtype) -> None:
    layers = {"GPT2": "n_layer"}.get(kind, "num_hidden_layers")
    model = tiny_model(kind, larger={layers: 5, "vocab_size": 512})
    folder = save_folder(model, tmp_path / "model")
    plain = load_subject(folder, dtype=dtype)
    size = sum(part.nbytes for part in plain.model.parameters())
    monkeypatch.setattr("neurolocal.subject.placement.free_bytes", lambda: int(size * 0.75 / 0.6))
    away = load_subject(folder, dtype=dtype, device="auto")
    assert "disk" in away.model.hf_device_map.values()
    tokens = torch.arange(36).view(3, 12)
    one, other = (read_all(subject, tokens, plain.sites) for subject in (plain, away))
    assert len(other) == 5
    for layer, values in one.items():
        assert all(torch.equal(a, b) for a, b in zip(values, other[layer], strict=True)), layer
    line = placement_line(away)
    assert line is not None
    assert "read again for every batch" in line
    assert placement_line(plain) is None
    assert not list((own_cache / "offload").glob("*/*"))


def test_experts_on_the_disk_are_refused(tmp_path, own_cache, monkeypatch) -> None:
    folder = save_folder(sparse_model("Mixtral", larger={"num_hidden_layers": 5}), tmp_path / "model")
    size = weight_bytes(MixtralForCausalLM, MixtralConfig.from_pretrained(folder), folder, torch.float32)
    monkeypatch.setattr("neurolocal.subject.placement.free_bytes", lambda: int(size * 0.75 / 0.6))
    with pytest.raises(SubjectError, match="experts cannot be read from the disk for every batch"):
        load_subject(folder, device="auto")
    gc.collect()
    assert not list((own_cache / "offload").iterdir()), "the weights that were written again are gone"


def test_weights_beyond_the_memory_are_refused_before_they_are_read(tmp_path, own_cache, monkeypatch) -> None:
    folder = save_folder(tiny_model("Llama"), tmp_path / "model")
    monkeypatch.setattr("neurolocal.subject.load.free_bytes", lambda: 1000)
    with pytest.raises(SubjectError, match="`--device auto` leaves on the disk what does not fit"):
        load_subject(folder)
    require_room(10, None, folder)
    require_room(10, 10, folder)
