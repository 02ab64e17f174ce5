"""The record of a comparison with llama.cpp, and the demo's own model compared on the whole sample corpus."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from gguf_twins import byte_bpe, differences, llama_cpp, write_gguf

from neurolocal.subject.gguf import gguf_tokenizer, gguf_tokenizer_line
from neurolocal.subject.locate import embedded_gguf
from neurolocal.subject.tokenizers import gguf_judge
from neurolocal.subject.tokenizers.gguf_fields import read_vocabulary
from neurolocal.subject.tokenizers.gguf_judge import (
    HOSTILE,
    SAMPLES,
    compare_with_llama_cpp,
    folder_encoder,
    may_ask_again,
    read_record,
    record_line,
    token_texts,
    write_record,
)
from neurolocal.subject.tokenizers.gguf_write import write_gguf_tokenizer

has_llama_cpp = pytest.mark.skipif(importlib.util.find_spec("llama_cpp") is None, reason="llama-cpp-python is missing")


@pytest.fixture
def made(tmp_path) -> Path:
    tokens, merges = byte_bpe(np.random.default_rng(1), 600)
    return write_gguf(tmp_path / "made.gguf", "gpt2", tokens, pre="smollm", merges=merges)


@has_llama_cpp
def test_equal_ids(made: Path, tmp_path) -> None:
    write_gguf_tokenizer(made, tmp_path)
    record = compare_with_llama_cpp(made, folder_encoder(tmp_path), token_texts(read_vocabulary(made)))
    assert record.pop("judge").startswith("llama-cpp-python ")
    assert record == {"texts": len(HOSTILE) + SAMPLES, "differ": 0}
    assert record_line(record | {"judge": "x"}) == ""


@has_llama_cpp
def test_other_ids(made: Path, tmp_path) -> None:
    """The tokenizer of another pre-tokenizer: what transformers made of every GGUF."""
    tokens, merges = byte_bpe(np.random.default_rng(1), 600)
    write_gguf_tokenizer(write_gguf(tmp_path / "other.gguf", "gpt2", tokens, pre="gpt-2", merges=merges), tmp_path)
    record = compare_with_llama_cpp(made, folder_encoder(tmp_path), token_texts(read_vocabulary(made)))
    assert 3 < record["differ"] < record["texts"]
    first = record["first"]
    own, other = (folder_encoder(tmp_path)([first["text"]], control)[0] for control in ("token", "text"))
    assert first["ids"] == [own, other]
    with llama_cpp(made) as ids:
        assert first["llama_cpp"] == [ids(first["text"], "token"), ids(first["text"], "text")] != first["ids"]
    write_record(tmp_path, record)
    assert read_record(tmp_path) == record
    line = gguf_tokenizer_line(tmp_path)
    assert line.startswith("WARNING: llama-cpp-python")
    assert f"for {record['differ']:,} of {record['texts']:,} texts" in line
    assert "\n" not in line


@has_llama_cpp
def test_a_file_on_which_llama_cpp_aborts(tmp_path) -> None:
    """Two tokens of one text end its process; ours goes on."""
    path = write_gguf(tmp_path / "made.gguf", "llama", ["<unk>", "a", "a"], scores=[0.0] * 3)
    record = compare_with_llama_cpp(path, lambda texts, _: [[] for _ in texts], ["a"])
    assert record["judge"] is None
    assert "it ended with code -6" in record["why"]
    assert record["installed"]
    assert not may_ask_again(record)
    assert "were not compared with llama.cpp's: it ended" in record_line(record)


@has_llama_cpp
def test_a_file_that_llama_cpp_refuses(tmp_path) -> None:
    path = write_gguf(tmp_path / "made.gguf", "nothing", ["a"])
    record = compare_with_llama_cpp(path, lambda texts, _: [[] for _ in texts], [])
    assert record["why"] == "it refuses the file"


def test_without_llama_cpp(made: Path, tmp_path, own_cache, monkeypatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(gguf_judge, "_installed", lambda: False)
        folder = gguf_tokenizer(made, "abc")
        assert read_record(folder)["why"] == "llama-cpp-python is not installed"
        assert "not compared with llama.cpp's: llama-cpp-python is not installed" in gguf_tokenizer_line(folder)
        assert gguf_tokenizer(made, "abc") == folder
    if importlib.util.find_spec("llama_cpp"):
        assert gguf_tokenizer(made, "abc") == folder
        assert read_record(folder)["differ"] == 0, "it is compared as soon as that is possible"


def test_a_record_that_cannot_be_read(tmp_path) -> None:
    assert read_record(tmp_path) == {}
    for text in ("", "[1]", "{", "\xff"):
        (tmp_path / "judge.json").write_text(text)
        assert record_line(read_record(tmp_path)) == ""


def test_a_tokenizer_is_made_once(made: Path, own_cache, monkeypatch) -> None:
    from neurolocal.subject import gguf

    folder = gguf_tokenizer(made, "abc")
    assert folder.parent == own_cache / "tokenizers"
    assert {path.name for path in folder.iterdir()} == {"tokenizer.json", "tokenizer_config.json", "judge.json"}
    monkeypatch.setattr(gguf, "write_gguf_tokenizer", lambda *_: pytest.fail("written again"))
    assert gguf_tokenizer(made, "abc") == folder
    monkeypatch.setattr(gguf, "TOKENIZER_VERSION", 10**6)
    with pytest.raises(pytest.fail.Exception, match="written again"):
        gguf_tokenizer(made, "abc")
    assert [path.name for path in folder.parent.iterdir()] == [folder.name], "something half-made was left"


def test_samples_are_the_same_each_time(made: Path, tmp_path) -> None:
    write_gguf_tokenizer(made, tmp_path)
    tokens = token_texts(read_vocabulary(made))
    assert len(tokens) == 600
    asked: list[list[str]] = []

    def encode(texts: list[str], control: str) -> list[list[int]]:
        asked.append(texts)
        return [[] for _ in texts]

    for _ in range(2):
        compare_with_llama_cpp(made, encode, tokens)
    assert len({json.dumps(texts) for texts in asked}) <= 1


@pytest.mark.slow
def test_smollm2_on_the_sample_corpus(smol_gguf: Path, tmp_path, rng) -> None:
    """The demo's model and text: 300 documents drawn from it, and all have llama.cpp's ids."""
    from neurolocal.corpus import corpus_files, documents

    assert smol_gguf == embedded_gguf()
    files = corpus_files(Path(__file__).parents[2] / "data" / "sample.jsonl.zst")
    texts = [one.text for one in documents(files)]
    drawn = [texts[i] for i in rng.choice(len(texts), 300, replace=False)]
    assert differences(smol_gguf, tmp_path, drawn) == []
