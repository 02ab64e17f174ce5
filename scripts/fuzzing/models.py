"""The readers of models: folders with their config and weights, and TransformerLens's checkpoints."""

from __future__ import annotations

import functools
import io
import json
import random
import struct
import zipfile
from pathlib import Path
from typing import Any

from fuzzing import twins
from fuzzing.mutate import NUMBERS, as_json, flat, within
from fuzzing.reader import Reader, in_files, put
from fuzzing.tokenizers import D_VOCAB


@functools.cache
def _models() -> list[bytes]:
    """Random models of two layers with tokenizers; one in two weight files."""
    import torch

    torch.set_num_threads(1)
    made, texts = twins.module("subject", "subject_twins"), twins.module("subject", "tokenizer_twins")
    library, found = texts.byte_level("GPT-2"), []
    for i, (kind, size) in enumerate([("GPT2", "10MB"), ("Llama", "60KB")]):
        folder = twins.folder() / str(i)
        small = {"vocab_size": D_VOCAB} | (
            {"n_embd": 16, "n_inner": 24} if kind == "GPT2" else {"hidden_size": 16, "intermediate_size": 24}
        )
        model = made.tiny_model(kind, larger=small)
        model.save_pretrained(folder, max_shard_size=size)
        texts.write_json(folder, library, eos_token="<|end|>")
        found.append(twins.files(folder))
    return found


def safetensors_mutate(data: bytes, rng: random.Random) -> bytes:
    """The header's JSON, its length, or bytes."""
    if rng.random() < 0.3 or len(data) < 8:
        return flat(data, rng)
    (n,) = struct.unpack_from("<Q", data)
    try:
        head = json.loads(data[8 : 8 + n])
        for _ in range(rng.choice([1, 1, 3])):
            if rng.random() < 0.5:
                one = head[rng.choice(list(head))]
                key = rng.choice(["dtype", "shape", "data_offsets"])
                one[key] = {
                    "dtype": rng.choice(["F32", "F16", "BF16", "I64", "F8_E4M3", "BOOL", "C64", "X", 3]),
                    "shape": [rng.choice(NUMBERS) for _ in range(rng.choice([0, 1, 2, 9]))],
                    "data_offsets": [rng.choice(NUMBERS), rng.choice(NUMBERS)],
                }[key]
            else:
                head = within(head, rng)
        said = json.dumps(head).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError, TypeError, LookupError):
        return flat(data, rng)
    length = rng.choice([len(said)] * 6 + [*NUMBERS, len(said) - 1])
    return struct.pack("<Q", length) + said + data[8 + n :]


def _load(data: bytes, folder: Path) -> None:
    from neurolocal.subject import load_subject

    subject = load_subject(put(data, folder), device="cpu")
    _try(subject)


def _try(subject: Any) -> None:
    """What a collection would do with it."""
    import torch

    ids = subject.tokenizer.encode(["the cat"])[0] if hasattr(subject, "tokenizer") else [1, 2]
    subject.activations(torch.tensor([[i % D_VOCAB for i in ids] or [0]]), 0)


@functools.cache
def _legacy() -> list[bytes]:
    made = twins.module("subject", "legacy_twins")
    config = made.CONFIG | {"d_model": 16, "d_mlp": 20, "n_ctx": 16, "d_vocab": 64, "d_head": 4}
    found = []
    for zipped in (True, False):
        folder = twins.folder() / f"legacy-{zipped}"
        made.write_legacy(folder, config, made.random_weights(config, seed=0), tokenizer_from=None, zipped=zipped)
        found.append(twins.files(folder))
    return found


EVIL = [
    b"cos\nsystem\n(S'touch x'\ntR.",
    b"c__builtin__\neval\n(S'1'\ntR.",
    b"ctorch\nload\n(S'x'\ntR.",
    b"\x80\x02cposix\nfork\n)R.",
]
"""Pickles that call something."""


def _pickle_mutate(data: bytes, rng: random.Random) -> bytes:
    """The pickle inside a zip, or bytes."""
    if rng.random() < 0.4 or data[:2] != b"PK":
        return rng.choice(EVIL) if rng.random() < 0.05 else flat(data, rng)
    try:
        held = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(held, "w") as new:
            for name in old.namelist():
                content = old.read(name)
                if name.endswith("data.pkl"):
                    at = rng.randrange(len(content))
                    content = content[:at] + rng.choice(EVIL) if rng.random() < 0.3 else flat(content, rng)
                elif rng.random() < 0.05:
                    content = flat(content, rng)
                new.writestr(name if rng.random() < 0.99 else "../x", content)
    except (zipfile.BadZipFile, ValueError, OSError, LookupError):
        return flat(data, rng)
    return held.getvalue()


def _load_legacy(data: bytes, folder: Path) -> None:
    import torch

    from neurolocal.subject.folder import check_folder
    from neurolocal.subject.legacy import legacy_config, load_legacy

    check_folder(put(data, folder))
    if legacy_config(folder) is not None:
        load_legacy(folder, torch.float32)


_json_alone = in_files({".json": as_json}, otherwise=lambda data, rng: data, out=())
_weights = in_files(
    {".safetensors": safetensors_mutate, ".index.json": as_json}, otherwise=lambda data, rng: data, out=()
)

READERS: dict[str, Reader] = {
    "model-config": Reader(_models, _json_alone, _load, guided=False, starts=True),
    "model-weights": Reader(_models, _weights, _load, guided=False, starts=True),
    "model-legacy": Reader(
        _legacy, in_files({".json": as_json}, otherwise=_pickle_mutate, out=()), _load_legacy, guided=False
    ),
}
"""Name -> reader."""
