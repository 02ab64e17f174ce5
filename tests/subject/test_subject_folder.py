"""Folders that are damaged or hostile are refused in one line, before anything is hashed or built."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from load_twins import refusal

from neurolocal.subject import load_subject
from neurolocal.subject.folder import DEEPEST, check_folder, weight_files


def pipe(path: Path) -> None:
    os.mkfifo(path)


def listening(path: Path) -> None:
    os.chdir(path.parent)  # the name of a socket is short
    socket.socket(socket.AF_UNIX).bind(path.name)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path.symlink_to("/no/such/file"), "is a link to /no/such/file, which is not there"),
        (lambda path: path.symlink_to(path), "is a link to"),
        (lambda path: path.symlink_to("/dev/zero"), "is a pipe, socket or device"),
        (pipe, "is a pipe, socket or device"),
        (listening, "is a pipe, socket or device"),
        (lambda path: path.mkdir(), "is a folder; expected a plain file"),
    ],
)
@pytest.mark.parametrize("name", ["model.safetensors", "training_args.bin", "config.json"])
def test_what_is_no_plain_file(make, says: str, name: str, folder: Path, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    (folder / name).unlink(missing_ok=True)
    make(folder / name)
    text = refusal(folder)
    assert f"{name} {says}" in text
    assert "Check that the folder is whole" in text


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission(folder: Path) -> None:
    (folder / "model.safetensors").chmod(0)
    assert "model.safetensors cannot be read (Permission denied). Change its permissions" in refusal(folder)


@pytest.mark.parametrize("what", ["pipe", "/dev/zero", "dangling"])
def test_a_spec_that_is_no_plain_file(what: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    if what == "pipe":
        pipe(path)
    else:
        path.symlink_to(what)
    text = refusal(path)
    assert "is a pipe, socket or device" in text if what != "dangling" else "is a link to dangling" in text


def test_links_to_plain_files_are_followed(folder: Path, tmp_path: Path) -> None:
    """As a hub cache has them, or a user whose disk is full."""
    whole = load_subject(folder, device="cpu").sha256
    (folder / "model.safetensors").rename(tmp_path / "blob")
    (folder / "model.safetensors").symlink_to(tmp_path / "blob")
    assert load_subject(folder, device="cpu").sha256 == whole


def nested(n: int) -> str:
    return '{"model_type": "llama", "a": ' + "[" * n + "]" * n + "}"


@pytest.mark.parametrize("text", ["null", "[]", "3", '"config"', "[[{}]]"])
def test_a_config_that_is_no_object(text: str, folder: Path) -> None:
    (folder / "config.json").write_text(text)
    assert "its config.json is no JSON object" in refusal(folder)


@pytest.mark.parametrize("depth", [DEEPEST + 1, 900, 100_000])
def test_a_config_nested_deep(depth: int, folder: Path) -> None:
    (folder / "config.json").write_text(nested(depth))
    text = refusal(folder)
    assert "nested more than" in text or "too deep" in text


def change(folder: Path, **settings: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | settings))


@pytest.mark.parametrize("n", [0, 1001, 10**7, 10**30, -1, 2.5, "5", None, [5], True])
def test_a_number_of_layers_that_cannot_be(n: Any, folder: Path) -> None:
    change(folder, num_hidden_layers=n)
    text = refusal(folder)
    assert "layers" in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("vocab_size", 10**12),
        ("hidden_size", 10**9),
        ("hidden_size", 0),
        ("vocab_size", "many"),
        ("intermediate_size", -3),
        ("num_attention_heads", 0),
        ("num_attention_heads", 10**6),
        ("rope_parameters", {"rope_type": "no such", "rope_theta": 0}),
        ("hidden_act", "no such"),
        ("vision_config", {"depth": 10**7}),
    ],
)
def test_sizes_that_cannot_be(name: str, value: Any, folder: Path) -> None:
    change(folder, **{name: value})
    text = refusal(folder)
    assert str(folder) in text


def sharded(folder: Path, names: Any, **extra: Any) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    index = names if isinstance(names, str) else json.dumps({"metadata": {}, "weight_map": names} | extra)
    (folder / "model.safetensors.index.json").write_text(index)


@pytest.mark.parametrize(
    "name", ["../../secret.safetensors", "/etc/passwd", "..", "a/../../b.safetensors", "..\\secret.safetensors"]
)
def test_an_index_that_leads_outside(name: str, folder: Path) -> None:
    sharded(folder, {"model.norm.weight": name})
    text = refusal(folder)
    assert f"model.safetensors.index.json names {name!r}, which is outside the folder" in text


def test_an_index_of_shards(folder: Path) -> None:
    from safetensors.torch import load_file

    true = load_subject(folder, device="cpu").activations(torch.arange(9)[None], 1)
    shard = "model-00001-of-00001.safetensors"
    sharded(folder, dict.fromkeys(load_file(folder / "model.safetensors"), shard))
    assert torch.equal(load_subject(folder, device="cpu").activations(torch.arange(9)[None], 1), true)
    (folder / shard).rename(folder / "elsewhere")
    assert f"names {shard}, which is not in the folder" in refusal(folder)


@pytest.mark.parametrize("name", ["shards/a.safetensors", "weights.dat", "./model.safetensors/../a.bin"])
def test_an_index_that_names_what_the_sha256_would_not(name: str, folder: Path, tmp_path: Path) -> None:
    """Also a folder of shards that is a link to somewhere else."""
    (folder / "shards").symlink_to(tmp_path)
    sharded(folder, {"model.norm.weight": name})
    text = refusal(folder)
    assert "which is no weight file in the folder itself" in text or "which is outside the folder" in text


def test_an_adapter_for_a_model_elsewhere(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "/etc"}')
    assert "it holds an adapter (LoRA) and not a whole model. Merge it" in refusal(folder)


@pytest.mark.parametrize("name", ["generation_config.json", "tokenizer.json", "chat_template.jinja"])
@pytest.mark.parametrize("make", [pipe, lambda path: path.symlink_to("/dev/zero"), lambda path: path.mkdir()])
def test_other_files_that_are_read(name: str, make, folder: Path) -> None:
    (folder / name).unlink(missing_ok=True)
    make(folder / name)
    assert f"{name} is a" in refusal(folder)


def test_a_text_file_of_gigabytes(folder: Path) -> None:
    os.truncate(folder / "tokenizer.json", 1 << 40)  # sparse
    assert "tokenizer.json has 1,099,511,627,776 bytes; expected at most" in refusal(folder)


@pytest.mark.parametrize("index", ["", "[]", "{", '{"weight_map": 3}', '{"weight_map": {"a": 3}}'])
def test_an_index_that_says_nothing(index: str, folder: Path) -> None:
    sharded(folder, index)
    text = refusal(folder)
    assert "model.safetensors.index.json" in text
    assert "Check that the folder is whole" in text


def test_the_check_reads_no_weights(folder: Path) -> None:
    os.truncate(folder / "model.safetensors", 1 << 40)  # a sparse file of a terabyte
    check_folder(folder)
    assert [path.name for path in weight_files(folder)] == ["model.safetensors"]


@pytest.mark.parametrize("value", ["LlamaForCausalLM", [{}], [None], {"a": 1}, 3])
def test_architectures_that_are_no_names(value: Any, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": value}))
    assert "architectures in its config.json is no list of names" in refusal(folder)
