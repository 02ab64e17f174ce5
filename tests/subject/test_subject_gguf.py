"""GGUF files: cut anywhere, lying about lengths, and with ids outside the vocabulary."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest
import torch

from neurolocal.errors import SubjectError
from neurolocal.subject import load_subject
from neurolocal.subject.gguf import _check_whole

TEXTS = ["Once upon a time", "two  spaces\n\nand lines\t", "héllo 日本 🎉", "", "a b"]
"""Not a space at the beginning, nor a text behind a control token: SentencePiece and llama.cpp put a space before
both, the tokenizer.json of the folder does not."""


@pytest.fixture(scope="module")
def gguf(fixtures) -> Path:
    return fixtures / "stories260k" / "stories260K.gguf"


def test_equals_the_folder_of_the_same_weights(gguf: Path, fixtures, own_cache, rng) -> None:
    """The file's padding id is 4294967295, an unset one, which transformers takes for an id."""
    mine = load_subject(gguf, device="cpu")
    true = load_subject(fixtures / "stories260k", device="cpu")
    facts = [one.tokenizer_facts() for one in (mine, true)]
    assert [(one["bos"], one["eos"], one["size"]) for one in facts] == [(1, 2, 512)] * 2
    assert mine.encode(TEXTS) == true.encode(TEXTS)
    assert mine.vocabulary.tokens == true.vocabulary.tokens
    assert (mine.vocabulary.special == true.vocabulary.special).all()
    assert mine.sha256 != true.sha256, "a GGUF and a folder are named by their own files"
    tokens = torch.from_numpy(rng.integers(0, 512, (2, 40)))
    for layer in range(true.n_layers):
        assert torch.equal(mine.activations(tokens, layer), true.activations(tokens, layer))


def test_the_second_load_converts_nothing_and_nothing_else_is_left(gguf: Path, own_cache, monkeypatch) -> None:
    from neurolocal.subject import gguf as module

    load_subject(gguf, device="cpu")
    (folder,) = (own_cache / "subjects").iterdir()
    assert not list(folder.glob("*.gguf"))
    assert not list(folder.glob("tokenizer*")), "a tokenizer that transformers converted"
    monkeypatch.setattr(module, "_convert", lambda *_: pytest.fail("converted again"))
    assert load_subject(gguf, device="cpu").n_layers == 5


def test_cut_anywhere(gguf: Path, tmp_path, own_cache, rng) -> None:
    whole = gguf.read_bytes()
    path = tmp_path / "cut.gguf"
    header = len(whole) - 4 * 293120  # the weights alone are longer than that
    places = [
        4,
        5,
        8,
        16,
        23,
        24,
        25,
        31,
        len(whole) - 1,
        *rng.integers(4, header, 12),
        *rng.integers(header, len(whole), 4),
    ]
    for place in places:
        path.write_bytes(whole[:place])
        with pytest.raises(SubjectError) as caught:
            load_subject(path, device="cpu")
        text = str(caught.value)
        assert str(path) in text
        assert "cut short or damaged" in text
        assert "Copy the file again." in text
        assert "\n" not in text
    assert not list((own_cache / "subjects").iterdir()), "something half-made was left"


def test_a_failed_conversion_leaves_nothing(gguf: Path, tmp_path, own_cache) -> None:
    path = tmp_path / "other.gguf"
    path.write_bytes(gguf.read_bytes().replace(b"llama", b"lxama"))
    with pytest.raises(SubjectError, match=r"transformers cannot read it.*Give the model as a Hugging Face folder"):
        load_subject(path, device="cpu")
    assert not list((own_cache / "subjects").iterdir())


def test_a_tensor_that_is_missing(gguf: Path, tmp_path, own_cache) -> None:
    path = tmp_path / "other.gguf"
    whole = gguf.read_bytes()
    assert whole.count(b"blk.3.ffn_up.weight") == 1
    path.write_bytes(whole.replace(b"blk.3.ffn_up.weight", b"blk.3.ffn_xx.weight"))
    with pytest.raises(SubjectError, match=r"lack 1 tensors \(model.layers.3.mlp.up_proj.weight\)"):
        load_subject(path, device="cpu")
    assert not list((own_cache / "subjects").iterdir())


def gguf_of(tmp_path: Path, *pairs: bytes, tensors: int = 0, count: int | None = None) -> Path:
    path = tmp_path / "made.gguf"
    n = len(pairs) if count is None else count
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, tensors, n) + b"".join(pairs) + bytes(64))
    return path


def key(name: str, kind: int) -> bytes:
    return struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", kind)


HUGE = 1 << 60


@pytest.mark.parametrize(
    ("pairs", "more"),
    [
        ([key("a", 9) + struct.pack("<IQ", 0, HUGE)], {}),
        ([key("a", 9) + struct.pack("<IQ", 12, HUGE)], {}),
        ([key("a", 9) + struct.pack("<IQ", 8, HUGE)], {}),
        ([key("a", 9) + struct.pack("<IQ", 9, 1)], {}),
        ([key("a", 8) + struct.pack("<Q", HUGE)], {}),
        ([key("a", 13)], {}),
        ([struct.pack("<Q", HUGE)], {}),
        ([], {"count": HUGE}),
        ([], {"tensors": HUGE}),
        ([key("a", 0) + b"\x01"], {}),
        ([key("tokenizer.ggml.tokens", 9) + struct.pack("<IQQ", 8, 1, 1) + b"\xfd"], {}),
    ],
    ids=["bytes", "doubles", "strings", "nested", "string", "type", "key", "pairs", "tensors", "no tensors", "no text"],
)
def test_lengths_that_lie_are_not_believed(pairs, more, tmp_path) -> None:
    path = gguf_of(tmp_path, *pairs, **more)
    with pytest.raises(SubjectError, match="cut short or damaged"):
        _check_whole(path)


def test_a_whole_file_passes(gguf: Path, tmp_path) -> None:
    _check_whole(gguf)
    longer = tmp_path / "longer.gguf"
    shutil.copyfile(gguf, longer)
    with longer.open("ab") as file:
        file.write(bytes(100))
    _check_whole(longer)
