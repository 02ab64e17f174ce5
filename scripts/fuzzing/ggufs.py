"""The readers of GGUF files: header and tokenizer, and whole models."""

from __future__ import annotations

import functools
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np

from fuzzing import twins
from fuzzing.mutate import NUMBERS, flat
from fuzzing.reader import Reader
from fuzzing.tokenizers import use


@functools.cache
def _ggufs() -> list[bytes]:
    """Vocabularies of three kinds, and a whole model of one layer."""
    import gguf

    made = twins.module("subject", "gguf_twins")
    rng = np.random.default_rng(0)
    tokens, merges = made.byte_bpe(rng, 300)
    plain = [
        "<unk>",
        "<s>",
        "</s>",
        *[f"<0x{i:02X}>" for i in range(256)],
        "\u2581the",
        "\u2581",
        "a",
        "b",
        "t",
        "h",
        "e",
    ]
    found = [
        made.write_gguf(twins.folder() / "bpe.gguf", "gpt2", tokens, pre="gpt-2", merges=merges).read_bytes(),
        made.write_gguf(
            twins.folder() / "spm.gguf",
            "llama",
            plain,
            types=[2, 3, 3, *[6] * 256, *[1] * 7],
            scores=[-float(i) for i in range(266)],
            more=lambda w: (w.add_bos_token_id(1), w.add_eos_token_id(2)),
        ).read_bytes(),
        made.write_gguf(
            twins.folder() / "bert.gguf", "bert", ["[UNK]", "[CLS]", "[SEP]", "\u2581a", "b"], types=[2, 3, 3, 1, 1]
        ).read_bytes(),
    ]
    found.append(_whole_gguf(gguf, plain, twins.folder() / "whole.gguf"))
    return found


def _whole_gguf(gguf: Any, tokens: list[str], path: Path) -> bytes:
    writer, rng = gguf.GGUFWriter(path, "llama"), np.random.default_rng(1)
    d, m, n = 16, 24, len(tokens)
    writer.add_context_length(64)
    writer.add_embedding_length(d)
    writer.add_block_count(1)
    writer.add_feed_forward_length(m)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(8)
    writer.add_vocab_size(n)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(i) for i in range(n)])
    writer.add_token_types([2, 3, 3, *[6] * 256, *[1] * (n - 259)])
    shapes = {"token_embd": (n, d), "output": (n, d), "output_norm": (d,)}
    shapes |= {f"blk.0.{name}": (d, d) for name in ("attn_q", "attn_k", "attn_v", "attn_output")}
    shapes |= {
        "blk.0.ffn_gate": (m, d),
        "blk.0.ffn_up": (m, d),
        "blk.0.ffn_down": (d, m),
        "blk.0.attn_norm": (d,),
        "blk.0.ffn_norm": (d,),
    }
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", rng.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def gguf_mutate(data: bytes, rng: random.Random) -> bytes:
    """A value, a type or a length behind a key; a tensor's shape, type or offset; or bytes of the header."""
    changed = bytearray(data)
    keys = [
        at
        for key in (b"tokenizer.", b"general.", b"llama.", b"blk.", b"token_embd", b"output")
        if (at := _found(data, key, rng)) >= 0
    ]
    if rng.random() < 0.2 or not keys:
        return flat(data, rng)
    for _ in range(rng.choice([1, 1, 2, 4])):
        at = rng.choice([rng.choice(keys) - 8, 8, 16])
        at += rng.choice([0, 8 + rng.randrange(40), 8 + rng.randrange(120)])
        form, width = rng.choice([("<I", 4), ("<Q", 8), ("<Q", 8), ("<B", 1)])
        number = rng.choice([*NUMBERS, *range(14)]) & ((1 << 8 * width) - 1)
        changed[at : at + width] = struct.pack(form, number)
    return bytes(changed)


def _found(data: bytes, key: bytes, rng: random.Random) -> int:
    """A place of a key."""
    places, at = [], data.find(key)
    while at >= 0 and len(places) < 64:
        places.append(at)
        at = data.find(key, at + 1)
    return rng.choice(places) if places else -1


def _gguf_header(data: bytes, folder: Path) -> None:
    from neurolocal.subject.gguf import _check_whole  # pyright: ignore[reportPrivateUsage]
    from neurolocal.subject.gguf_parts import gguf_parts
    from neurolocal.subject.tokenizers.find import read_tokenizer
    from neurolocal.subject.tokenizers.gguf_write import write_gguf_tokenizer

    path = folder / "m.gguf"
    path.write_bytes(data)
    gguf_parts(path)
    (folder / "tokenizer").mkdir()
    write_gguf_tokenizer(path, folder / "tokenizer")
    use(read_tokenizer(folder / "tokenizer"))
    _check_whole(path, without_tensors=True)


def _gguf_model(data: bytes, folder: Path) -> None:
    import hashlib
    import os
    import shutil

    from neurolocal.subject.gguf import dequantised
    from neurolocal.subject.pretrained import load_pretrained

    path = folder / "m.gguf"
    path.write_bytes(data)
    shutil.rmtree(Path(os.environ["NEUROLOCAL_CACHE"]) / "subjects", ignore_errors=True)
    load_pretrained(dequantised(path, hashlib.sha256(data).hexdigest()), "float32", spread=False)


READERS: dict[str, Reader] = {
    "gguf-header": Reader(_ggufs, gguf_mutate, _gguf_header, starts=True),
    "gguf-model": Reader(lambda: _ggufs()[3:], gguf_mutate, _gguf_model, guided=False, starts=True),
}
"""Name -> reader."""
