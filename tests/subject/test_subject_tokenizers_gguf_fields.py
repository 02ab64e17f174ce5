"""Tokenizers of GGUF files whose metadata is damaged, lies, or contradicts itself: one clear error, quickly."""

from __future__ import annotations

import contextlib
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf_twins import byte_bpe, differences, write_gguf

from neurolocal.errors import SubjectError
from neurolocal.subject.gguf_header import read_header
from neurolocal.subject.tokenizers.gguf_fields import read_vocabulary
from neurolocal.subject.tokenizers.gguf_write import write_gguf_tokenizer

TODO = r"Give the model's Hugging Face folder instead, or its tokenizer's folder as --tokenizer\.$"


@pytest.fixture
def whole(tmp_path) -> Path:
    tokens, merges = byte_bpe(np.random.default_rng(1), 400)
    return write_gguf(
        tmp_path / "made.gguf", "gpt2", tokens, pre="gpt-2", merges=merges, types=[1] * 400,
        scores=[0.5] * 400, more=lambda w: w.add_bos_token_id(3),
    )  # fmt: skip


def refusal(path: Path, folder: Path) -> str:
    with pytest.raises(SubjectError) as caught:
        write_gguf_tokenizer(path, folder)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    assert len(text) < 600
    return text


def test_what_a_file_states(whole: Path) -> None:
    import gguf

    v = read_vocabulary(whole)
    assert (v.model, v.pre, v.ids, len(v.tokens)) == ("gpt2", "gpt-2", {"bos": 3}, 400)
    assert v.types.tolist() == [1] * 400
    assert v.scores is not None
    assert v.scores.tolist() == [0.5] * 400
    field = gguf.GGUFReader(whole).fields["tokenizer.ggml.tokens"]
    assert v.tokens == [bytes(field.parts[i]).decode() for i in field.data]


def test_every_type_of_value(tmp_path) -> None:
    def more(w) -> None:
        w.add_uint8("tokenizer.a", 200)
        w.add_int8("tokenizer.b", -3)
        w.add_uint16("tokenizer.c", 60000)
        w.add_int16("tokenizer.d", -300)
        w.add_int32("tokenizer.e", -70000)
        w.add_uint64("tokenizer.f", 1 << 60)
        w.add_int64("tokenizer.g", -(1 << 60))
        w.add_float32("tokenizer.h", 0.5)
        w.add_float64("tokenizer.i", 0.1)
        w.add_bool("tokenizer.j", False)
        w.add_string("tokenizer.k", "é")
        w.add_array("tokenizer.l", ["a", ""])

    path = write_gguf(tmp_path / "made.gguf", "gpt2", ["a"], more=more)
    values = read_header(path, ("tokenizer.",)).values
    found = [values[f"tokenizer.{letter}"] for letter in "abcdefghijkl"]
    assert found == [200, -3, 60000, -300, -70000, 1 << 60, -(1 << 60), 0.5, 0.1, False, "é", ["a", ""]]
    assert [type(one) for one in found] == [int] * 7 + [float, float, bool, str, list]
    assert read_header(path).values == {}
    assert read_header(path).end == read_header(path, ("tokenizer.",)).end


def test_big_endian(tmp_path) -> None:
    import gguf

    writer = gguf.GGUFWriter(tmp_path / "big.gguf", "llama", endianess=gguf.GGUFEndian.BIG)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(["<unk>", "<s>", "</s>", "a"])
    writer.add_token_scores([0.0, -1.0, -2.0, -3.0])
    writer.add_token_types([2, 3, 3, 1])
    writer.add_bos_token_id(1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    v = read_vocabulary(tmp_path / "big.gguf")
    assert v.scores is not None
    assert (v.tokens[3], v.scores.tolist(), v.types.tolist(), v.ids) == ("a", [0, -1, -2, -3], [2, 3, 3, 1], {"bos": 1})


def test_cut_anywhere(whole: Path, tmp_path, rng) -> None:
    data = whole.read_bytes()
    path = tmp_path / "cut.gguf"
    for place in [0, 3, 4, 8, 16, 23, 24, *rng.integers(4, len(data), 40), len(data) - 1]:
        path.write_bytes(data[:place])
        assert "cut short or damaged" in refusal(path, tmp_path)


def test_any_byte_changed(whole: Path, tmp_path, rng) -> None:
    """It is read or refused; nothing else is raised."""
    data = bytearray(whole.read_bytes())
    path = tmp_path / "changed.gguf"
    for place in rng.integers(0, len(data), 150):
        changed = bytearray(data)
        changed[place] ^= int(rng.integers(1, 256))
        path.write_bytes(changed)
        with contextlib.suppress(SubjectError):
            write_gguf_tokenizer(path, tmp_path)


def key(name: str, kind: int) -> bytes:
    return struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", kind)


@pytest.mark.parametrize(("inner", "n"), [(8, 10**9), (8, 1 << 60), (5, 1 << 60), (6, 10**12), (9, 1), (99, 3)])
@pytest.mark.parametrize("name", ["tokenizer.ggml.tokens", "tokenizer.ggml.merges", "another.key"])
def test_arrays_that_are_too_long_to_be_true(inner: int, n: int, name: str, tmp_path) -> None:
    path = tmp_path / "made.gguf"
    pairs = [
        key("tokenizer.ggml.model", 8) + struct.pack("<Q", 4) + b"gpt2",
        key(name, 9) + struct.pack("<IQ", inner, n),
    ]
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + b"".join(pairs) + bytes(1000))
    begin = time.monotonic()
    assert "cut short or damaged" in refusal(path, tmp_path)
    assert time.monotonic() - begin < 60


def test_a_billion_empty_tokens_in_a_sparse_file(tmp_path) -> None:
    """The file is as long as it says, but has no such vocabulary."""
    path = tmp_path / "sparse.gguf"
    pair = key("tokenizer.ggml.tokens", 9) + struct.pack("<IQ", 8, 10**9)
    with path.open("wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + pair)
        file.truncate(9 * 10**9)
    assert "an array of 1,000,000,000 texts" in refusal(path, tmp_path)


@pytest.mark.parametrize("name", ["scores", "token_type"])
@pytest.mark.parametrize(("value", "said"), [([1] * 9, "9 numbers"), ([], "no numbers"), (["a"] * 400, "no numbers")])
def test_arrays_of_another_length_or_type(name: str, value: list[Any], said: str, tmp_path) -> None:
    tokens, merges = byte_bpe(np.random.default_rng(1), 400)
    key = f"tokenizer.ggml.{name}"
    path = write_gguf(
        tmp_path / "made.gguf", "gpt2", tokens, merges=merges,
        more=lambda w: w.add_array(key, value) if value else w.add_uint32(key, 1),
    )  # fmt: skip
    text = refusal(path, tmp_path)
    assert f"it has 400 tokens and {said} under tokenizer.ggml.{name}" in text


def test_arrays_that_are_longer_than_the_vocabulary_are_cut(tmp_path, whole: Path) -> None:
    path = write_gguf(tmp_path / "other.gguf", "llama", ["<unk>", "a"], types=[2, 1, 1, 1], scores=[0.0, 0.0, 1.0])
    v = read_vocabulary(path)
    assert v.types.tolist() == [2, 1]


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
def test_scores_that_are_not_finite(score: float, tmp_path) -> None:
    path = write_gguf(tmp_path / "made.gguf", "llama", ["<unk>", "a"], scores=[0.0, score])
    assert "a number under tokenizer.ggml.scores is not finite" in refusal(path, tmp_path)


def test_ids_outside_the_vocabulary(tmp_path) -> None:
    for i, fails in ((2, True), (1 << 31, True), (0xFFFFFFFF, False), (1, False)):
        path = write_gguf(
            tmp_path / "made.gguf",
            "llama",
            ["<unk>", "a"],
            scores=[0.0, 0.0],
            more=lambda w, i=i: w.add_eos_token_id(i),
        )
        if fails:
            assert f"the id of its eos token is {i}, and it has 2 tokens" in refusal(path, tmp_path)
        else:
            assert read_vocabulary(path).ids == ({"eos": 1} if i == 1 else {})


@pytest.mark.parametrize("value", ["x", True, 1.5, -7])
def test_ids_of_another_type(value, tmp_path) -> None:
    adds = {str: "add_string", bool: "add_bool", float: "add_float32", int: "add_int32"}
    path = write_gguf(
        tmp_path / "made.gguf", "llama", ["<unk>", "a"], scores=[0.0, 0.0],
        more=lambda w: getattr(w, adds[type(value)])("tokenizer.ggml.bos_token_id", value),
    )  # fmt: skip
    assert f"the id of its bos token is {value}" in refusal(path, tmp_path)


def test_two_tokens_of_the_same_text(tmp_path) -> None:
    path = write_gguf(tmp_path / "made.gguf", "llama", ["<unk>", "a", "b", "a", "a"], scores=[0.0] * 5)
    assert "2 of its 5 tokens have the text of another one" in refusal(path, tmp_path)


def test_tokens_without_text_get_llama_cpps_names(tmp_path) -> None:
    tokens = ["<unk>", "", "a", "", "\0", "bc\0a", *[f"<0x{byte:02X}>" for byte in range(256)]]
    path = write_gguf(tmp_path / "made.gguf", "llama", tokens, types=[2, *[1] * 261], scores=[0.0] * 262)
    assert read_vocabulary(path).tokens[:6] == ["<unk>", "[EMPTY_1]", "a", "[EMPTY_3]", "[EMPTY_4]", "bc"]
    assert differences(path, tmp_path / "t", ["a\0bc", "\0\0", "bc\0a", "[EMPTY_1]", "", "x"]) == []


@pytest.mark.parametrize("model", [None, "none", "no_vocab"])
def test_a_file_without_a_tokenizer(model: str | None, tmp_path) -> None:
    assert "the file has none" in refusal(write_gguf(tmp_path / "made.gguf", model, ["a"]), tmp_path)


def test_a_token_that_is_not_utf_8(whole: Path, tmp_path) -> None:
    data = whole.read_bytes()
    assert data.count("Ġ".encode()) > 1
    path = tmp_path / "bad.gguf"
    path.write_bytes(data.replace("Ġ".encode(), b"\xff\xfe"))
    assert "cut short or damaged" in refusal(path, tmp_path)


@pytest.mark.parametrize("name", ["tokenizer.ggml.pre", "tokenizer.ggml.merges", "tokenizer.chat_template"])
def test_values_of_another_type(name: str, tmp_path) -> None:
    tokens, merges = byte_bpe(np.random.default_rng(1), 400)
    path = write_gguf(
        tmp_path / "made.gguf", "gpt2", tokens, merges=None if name.endswith("merges") else merges,
        more=lambda w: w.add_array(name, [1, 2, 3]),
    )  # fmt: skip
    if name == "tokenizer.chat_template":
        write_gguf_tokenizer(path, tmp_path)
        assert "chat_template" not in (tmp_path / "tokenizer_config.json").read_text()
    else:
        refusal(path, tmp_path)
