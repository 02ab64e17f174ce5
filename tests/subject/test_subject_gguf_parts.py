"""Models that llama.cpp split into several GGUF files."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from neurolocal.errors import SubjectError
from neurolocal.subject import load_subject
from neurolocal.subject.gguf import dequantised, gguf_tokenizer
from neurolocal.subject.gguf_parts import gguf_parts, join_parts
from neurolocal.subject.weights import weights_sha256


@pytest.fixture(scope="module")
def whole(fixtures) -> Path:
    return fixtures / "stories260k" / "stories260K.gguf"


@pytest.fixture
def split(whole: Path, tmp_path):
    """The small model in parts; the first may be without tensors, as `llama-gguf-split --no-tensor-first-split`."""

    def made(n: int, *, empty_first: bool = False) -> list[Path]:
        reader = gguf.GGUFReader(whole)
        parts = [tmp_path / f"small-{i + 1:05d}-of-{n:05d}.gguf" for i in range(n)]
        shares = np.array_split(np.arange(len(reader.tensors)), n - empty_first)
        shares = [np.empty(0, np.int64)] * empty_first + shares
        for i, (path, share) in enumerate(zip(parts, shares, strict=True)):
            writer = gguf.GGUFWriter(path, "llama")
            if i == 0:
                for name, field in reader.fields.items():
                    if not name.startswith("GGUF.") and name != "general.architecture":
                        kind, inner = field.types[0], field.types[-1] if len(field.types) > 1 else None
                        writer.add_key_value(name, field.contents(), kind, inner)
            writer.add_uint16("split.no", i)
            writer.add_uint16("split.count", n)
            writer.add_int32("split.tensors.count", len(reader.tensors))
            for t in share:
                tensor = reader.tensors[t]
                writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
        return parts

    return made


@pytest.mark.parametrize(("n", "empty_first"), [(2, False), (3, False), (7, False), (3, True)])
def test_joined_tensors_are_those_of_the_whole(n: int, empty_first: bool, split, whole: Path, tmp_path) -> None:
    joined = tmp_path / "joined.gguf"
    join_parts(split(n, empty_first=empty_first), joined)
    true, mine = gguf.GGUFReader(whole), gguf.GGUFReader(joined)
    assert {t.name for t in mine.tensors} == {t.name for t in true.tensors}
    found = {t.name: t for t in mine.tensors}
    for tensor in true.tensors:
        other = found[tensor.name]
        assert other.tensor_type == tensor.tensor_type
        assert np.array_equal(other.data, tensor.data), tensor.name
    same = {name: field.contents() for name, field in true.fields.items() if name.partition(".")[0] != "GGUF"}
    assert {name: mine.fields[name].contents() for name in same} == same


def test_a_split_model_is_the_whole_one(split, whole: Path, own_cache, rng) -> None:
    parts = split(3)
    mine, true = load_subject(parts[0], device="cpu"), load_subject(whole, device="cpu")
    tokens = torch.from_numpy(rng.integers(0, 512, (2, 40)))
    for layer in range(true.n_layers):
        assert torch.equal(mine.activations(tokens, layer), true.activations(tokens, layer))
    texts = ["Once upon a time", "héllo 日本"]
    assert mine.encode(texts) == true.encode(texts)
    assert [path.name for path in (own_cache / "subjects").iterdir() if path.name.startswith(".")] == []


def test_any_part_names_the_model(split, own_cache) -> None:
    parts = split(3)
    assert gguf_parts(parts[1]) == parts
    digest = weights_sha256(parts[0])
    assert {weights_sha256(part) for part in parts} == {digest}
    assert dequantised(parts[2], digest) == dequantised(parts[0], digest)
    assert gguf_tokenizer(parts[2], digest) == gguf_tokenizer(parts[0], digest)
    parts[2].write_bytes(parts[2].read_bytes()[:-1] + b"\1")
    assert weights_sha256(parts[0]) != digest, "a change of a later part went unseen"


def test_a_file_that_is_whole_is_its_only_part(whole: Path, tmp_path) -> None:
    assert gguf_parts(whole) == [whole]
    for name in ("a-00001-of-00001.gguf", "a-1-of-2.gguf", "a-00001-of-00002.bin"):
        assert gguf_parts(tmp_path / name) == [tmp_path / name]


def test_a_part_that_is_missing(split, own_cache) -> None:
    parts = split(3)
    parts[1].unlink()
    with pytest.raises(SubjectError, match=r"1 of the 3 files .* \(small-00002-of-00003\.gguf\)\. Put all parts into"):
        load_subject(parts[0], device="cpu")


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_part_that_is_cut(which: int, split, own_cache, rng) -> None:
    parts = split(3)
    data = parts[which].read_bytes()
    for place in rng.integers(0, len(data), 4):
        parts[which].write_bytes(data[:place])
        with pytest.raises(SubjectError, match="cut short or damaged"):
            dequantised(parts[0], "abc")
    assert not list((own_cache / "subjects").iterdir()), "something half-made was left"
