"""The readers of tokenizers, of every library, and of chat templates."""

from __future__ import annotations

import functools
import json
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np

from fuzzing import twins
from fuzzing.mutate import NUMBERS, TEXTS, as_json, flat, value
from fuzzing.reader import Reader, in_files, pack, put

D_VOCAB = 330
"""Ids of the models' vocabulary."""

TRY = ["the cat sat", " 1234 <|end|>\n</s>", "日本語 é 🎉\x00", ""]
"""Texts that are tokenised."""


@functools.cache
def _json_tokenizers() -> list[bytes]:
    made = twins.module("subject", "tokenizer_twins")
    found = []
    for name in ("byte_level", "metaspace_bpe", "unigram", "wordpiece", "undecoded"):
        library = made.byte_level("Llama 3") if name == "byte_level" else getattr(made, name)()
        stated = {"eos_token": "<|end|>", "bos_token": {"content": "<s>"}, "chat_template": "{{ messages }}"}
        found.append(
            twins.files(
                made.write_json(
                    twins.folder() / name,
                    library,
                    added_tokens_decoder={"500": {"content": "<x>", "special": True}},
                    **stated,
                )
            )
        )
    return found


PARTS = [
    {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    {"type": "NFKC"},
    {"type": "Lowercase"},
    {"type": "Replace", "pattern": {"Regex": "(a|a)*$"}, "content": "b" * 500},
    {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": False},
    {"type": "Metaspace", "replacement": "__", "prepend_scheme": "always", "split": True},
    {"type": "Precompiled", "precompiled_charsmap": "AAAA"},
    {"type": "Sequence", "normalizers": []},
    {"type": "Sequence", "pretokenizers": []},
    {"type": "Strip", "content": " ", "start": 2**40, "stop": 0},
    {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "no", "type_id": 0}}],
        "pair": [],
        "special_tokens": {},
    },
    {"type": "Prepend", "prepend": "a" * 10_000},
    {"type": "WordPiece", "prefix": "##", "cleanup": True},
    {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": True},
]
"""Parts of a tokenizer.json."""


def _tokenizer_mutate(data: bytes, rng: random.Random) -> bytes:
    """A part, an id, a token, or any place."""
    if rng.random() < 0.5:
        return as_json(data, rng)
    try:
        found = json.loads(data)
        kind = rng.randrange(4)
        if kind == 0:
            found[rng.choice(["normalizer", "pre_tokenizer", "decoder", "post_processor"])] = rng.choice(PARTS)
        elif kind == 1:
            vocabulary = found["model"]["vocab"]
            if isinstance(vocabulary, dict):
                vocabulary[rng.choice(list(vocabulary))] = rng.choice([*NUMBERS[:-4], -1])
            else:
                vocabulary[rng.randrange(len(vocabulary))] = rng.choice(
                    [["a", 1.0], ["", 0], ["x", -1e999], [1, 1], ["x"]]
                )
        elif kind == 2:
            one = {
                "id": rng.choice([0, 5, 2**31, 2**32 - 1]),
                "content": rng.choice(["", " ", "a", *TEXTS[-8:]]),
                "special": True,
            }
            found["added_tokens"].append(
                one | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), rng.random() < 0.5)
            )
        else:
            key = rng.choice(
                [
                    "unk_token",
                    "unk_id",
                    "merges",
                    "continuing_subword_prefix",
                    "byte_fallback",
                    "dropout",
                    "fuse_unk",
                    "type",
                    "ignore_merges",
                    "max_input_chars_per_word",
                ]
            )
            found["model"][key] = (
                value(rng) if key != "merges" else rng.choice([[], [["a", "b"]], ["a b"], ["a"], [["no", "such"]] * 3])
            )
        return json.dumps(found).encode("utf-8", "surrogatepass")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return flat(data, rng)


def _find_tokenizer(data: bytes, folder: Path) -> None:
    from neurolocal.subject.tokenizers import find_tokenizer

    use(find_tokenizer(put(data, folder), d_vocab=D_VOCAB + 200))


def use(tokenizer: Any) -> None:
    """What loading and collecting do with a tokenizer."""
    if isinstance(getattr(tokenizer.backend, "limit", 0), type(None)):
        tokenizer.backend.limit = 10.0
    vocabulary = tokenizer.vocabulary(D_VOCAB)
    assert tokenizer.size <= 1 << 24
    for control in ("token", "text"):
        for ids, starts in tokenizer.encode_documents(vocabulary, TRY, control=control):
            assert starts is None or (len(starts) == len(ids) and (np.diff(starts) >= 0).all())
    tokenizer.encode_exactly(vocabulary, " cat")
    tokenizer.decode([0, 1, 2, D_VOCAB])
    _ = tokenizer.cuttable, tokenizer.control_ids, tokenizer.facts()


@functools.cache
def _model_tokenizers() -> list[bytes]:
    made = twins.module("subject", "tokenizer_twins")
    models = [
        made.sentencepiece_model("bpe", prefix=True, byte_fallback=True),
        made.sentencepiece_model("unigram", prefix=False, normaliser="nmt_nfkc"),
    ]
    return [pack({"tokenizer.model": data, "tokenizer_config.json": b'{"eos_token": "</s>"}'}) for data in models]


def protobuf_mutate(data: bytes, rng: random.Random) -> bytes:
    """Pieces, types, ids, the normaliser's table; or bytes."""
    if rng.random() < 0.4:
        return flat(data, rng)
    from sentencepiece import sentencepiece_model_pb2 as messages

    found = messages.ModelProto()  # type: ignore[attr-defined]
    try:
        found.ParseFromString(data)
        for _ in range(rng.choice([1, 1, 4])):
            _one_field(found, rng)
        return found.SerializeToString()
    except Exception:  # protobuf has its own errors
        return flat(data, rng)


def _one_field(found: Any, rng: random.Random) -> None:
    kind, pieces = rng.randrange(8), found.pieces
    one = pieces[rng.randrange(len(pieces))]
    if kind == 0:
        one.piece = rng.choice(["", "a" * 9000, pieces[0].piece, "\u2581", "<0x41>", "\ufffd", "\0", "<s>"])
    elif kind == 1:
        one.type = rng.choice([1, 2, 3, 4, 5, 6])
    elif kind == 2:
        one.score = rng.choice([float("nan"), float("inf"), -float("inf"), 1e38, 0.0])
    elif kind == 3:
        name = rng.choice(["unk_id", "bos_id", "eos_id", "pad_id", "vocab_size", "model_type"])
        setattr(
            found.trainer_spec,
            name,
            rng.choice([-1, 0, 1, 3, 2**31 - 1]) if name != "model_type" else rng.choice([1, 2, 3, 4]),
        )
    elif kind == 4:
        table = found.normalizer_spec.precompiled_charsmap
        found.normalizer_spec.precompiled_charsmap = (
            flat(table, rng) if table else rng.choice([b"\xff" * 8, b"\0\0\0\x01", struct.pack("<I", 4) + b"abcd" * 3])
        )
    elif kind == 5:
        del pieces[rng.randrange(len(pieces)) :]
    elif kind == 6:
        found.trainer_spec.byte_fallback = not found.trainer_spec.byte_fallback
    else:
        found.normalizer_spec.add_dummy_prefix = not found.normalizer_spec.add_dummy_prefix
        found.denormalizer_spec.precompiled_charsmap = flat(found.normalizer_spec.precompiled_charsmap, rng)


@functools.cache
def _older_tokenizers() -> list[bytes]:
    made = twins.module("subject", "tokenizer_twins")
    stated = json.loads(made.byte_level("GPT-2").to_str())["model"]
    merges = "\n".join(" ".join(pair) if isinstance(pair, list) else pair for pair in stated["merges"])
    config = b'{"tokenizer_class": "GPT2Tokenizer", "model_max_length": 64}'
    words = "\n".join(json.loads(made.wordpiece().to_str())["model"]["vocab"]).encode()
    return [
        pack(
            {
                "vocab.json": json.dumps(stated["vocab"]).encode(),
                "merges.txt": f"#version: 0.2\n{merges}\n".encode(),
                "tokenizer_config.json": config,
                "config.json": b'{"model_type": "gpt2"}',
            }
        ),
        pack(
            {
                "vocab.txt": words,
                "tokenizer_config.json": b'{"tokenizer_class": "BertTokenizer"}',
                "config.json": b'{"model_type": "bert"}',
            }
        ),
    ]


TEMPLATES = [
    "{% for m in messages %}<|{{ m.role }}|>{{ m['content'] | trim }}\n{% endfor %}"
    "{% if add_generation_prompt %}x{% endif %}",
    "{{ bos_token }}{% set n = namespace(a=0) %}"
    "{% for m in messages %}{% if loop.index % 2 %}{{ m.content }}{% endif %}{% endfor %}"
    "{{ raise_exception('no') if n.a }}",
]
JINJA = [
    "{{ ''.__class__.__mro__ }}",
    "{{ cycler.__init__.__globals__ }}",
    "{% for i in range(10**9) %}a{% endfor %}",
    "{{ 'a' * 10**10 }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{{ messages.__reduce__() }}",
    "{{ (9 ** 9 ** 9) }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{{ strftime_now('%Y') }}",
    "{{ lipsum(n=100000) }}",
    "{{ messages | tojson }}",
    "{% set x = [] %}{% for i in range(1000) %}{% set _ = x.append(x) %}{% endfor %}{{ x }}",
    "{% raw %}",
    "{{ ''|format }}",
    "{{ '%999999999d' % 1 }}",
    "{% generation %}",
    "{{ messages[0].content.format(messages) }}",
]
"""What templates attack with."""


def _template_mutate(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.4:
        return flat(data, rng)
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(JINJA).encode() + data[at:]


@functools.cache
def _bounded() -> Any:
    from neurolocal.subject.chat import ChatTemplate

    return ChatTemplate("")


def _render(data: bytes, folder: Path) -> None:
    template = _bounded()
    template.template, template._frames = data.decode("utf-8", "replace"), {}
    messages = [{"role": "user", "content": "Hello é"}, {"role": "assistant", "content": " Yes\n"}]
    try:
        text, places = template.render(messages)
    except ValueError:  # it refuses the conversation, which is counted
        return
    assert all(0 <= place.start <= place.end <= len(text) for place in places)


_sentencepiece = in_files({".json": as_json}, otherwise=protobuf_mutate, out=())

READERS: dict[str, Reader] = {
    "tokenizer-json": Reader(
        _json_tokenizers,
        in_files({"r.json": _tokenizer_mutate}, otherwise=as_json, out=()),
        _find_tokenizer,
        guided=False,
    ),
    "tokenizer-model": Reader(_model_tokenizers, _sentencepiece, _find_tokenizer, guided=False),
    "tokenizer-older": Reader(
        _older_tokenizers, in_files({".json": as_json}, otherwise=flat, out=()), _find_tokenizer, guided=False
    ),
    "chat-template": Reader(
        lambda: [text.encode() for text in TEMPLATES], _template_mutate, _render, guided=False, starts=True
    ),
}
"""Name -> reader."""
