"""Tokenizer files that are broken or hostile: the library raises, panics or searches on, and one line says so."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tokenizer_twins import sentencepiece_model

from neurolocal.errors import SubjectError
from neurolocal.subject.tokenizers import Tokenizer, examine, find_tokenizer, tokenizer_json
from neurolocal.subject.tokenizers.examine import examine as try_on

WORDS = ["<unk>", *"abcdefg"]
SLOW = {"type": "Split", "pattern": {"Regex": "(x+x+)+y"}, "behavior": "Isolated", "invert": False}
MAP = {"type": "Precompiled", "precompiled_charsmap": "AAAA////AAAAABCDEFG="}


def written(folder: Path, **parts) -> Path:
    whole = {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "post_processor": None,
        "decoder": None, "added_tokens": [], "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "vocab": {w: i for i, w in enumerate(WORDS)}, "unk_token": "<unk>"},
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(whole | parts))
    return folder


def vocabulary(i: int) -> dict[str, Any]:
    return {"type": "WordLevel", "vocab": {w: n for n, w in enumerate(WORDS)} | {"g": i}, "unk_token": "<unk>"}


def added(i: int) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": i, "content": "<far>", "special": True} | flags


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"normalizer": MAP}, "the file is damaged, or of a newer kind"),
        ({"model": vocabulary(10**9)}, "it has 1,000,000,001 ids and the model has 8"),
        ({"model": vocabulary(2**32 - 1)}, "it has 4,294,967,296 ids"),
        ({"model": vocabulary(-1)}, "the file is damaged"),
        ({"model": vocabulary(2**40)}, "the file is damaged"),
        ({"added_tokens": [{"content": "a"}]}, "the file is damaged"),
        ({"added_tokens": {"a": 1}}, "the file is damaged"),
        ({"pre_tokenizer": SLOW | {"pattern": {"Regex": "("}}}, "the file is damaged"),
    ],
)
def test_a_file_that_cannot_be_read(parts, says, tmp_path: Path, capfd) -> None:
    with pytest.raises(SubjectError, match=says) as caught:
        find_tokenizer(written(tmp_path, **parts), d_vocab=8)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == "", "a panic wrote to the terminal"


def test_a_file_that_the_library_takes_and_then_refuses_as_it_wrote_it(tmp_path: Path) -> None:
    """Of two tokens with one id it writes one, and then misses the other in the merges."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    ids = {c: i for i, c in enumerate(letters)}
    for i, (a, b) in enumerate(pairwise(letters), len(letters)):
        ids |= {a + b: i, f"<{i}>": i}
    model = {"type": "BPE", "vocab": ids, "merges": [[a, b] for a, b in pairwise(letters)]}
    found = find_tokenizer(written(tmp_path, model=model), d_vocab=60)
    assert found.encode(["gh"]) == [[ids["gh"]]]
    with pytest.raises(SubjectError, match="the file is damaged"):
        found.encode(["gh"], control="text")


def test_a_piece_that_is_no_utf8(tmp_path: Path) -> None:
    data = sentencepiece_model("unigram", prefix=False)
    (tmp_path / "tokenizer.model").write_bytes(data.replace("\u2581".encode(), b"\xff\x96\x81"))
    with pytest.raises(SubjectError, match="is no SentencePiece model, or is damaged"):
        find_tokenizer(tmp_path)


@pytest.mark.parametrize("i", [8, 10**9, 10**30])
def test_an_added_token_beyond_the_vocabulary_is_left_out(i: int, tmp_path: Path) -> None:
    found = find_tokenizer(written(tmp_path, added_tokens=[added(i)]), d_vocab=8)
    assert found.size == 8
    assert found.encode(["a <far> b"]) == [[1, 0, 2]]


def tried(tokenizer: Tokenizer, text: str) -> None:
    try_on(tokenizer, tokenizer.vocabulary(8), [text])


def test_an_expression_that_backtracks_panics_and_is_refused_before_a_run(tmp_path: Path, capfd) -> None:
    found = find_tokenizer(written(tmp_path, pre_tokenizer=SLOW), d_vocab=8)
    tried(found, "a b c")
    with pytest.raises(SubjectError, match=r"tokenising text with .*tokenizer.json: the tokenizer fails \(") as caught:
        tried(found, "x" * 60 + "z")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""
    with pytest.raises(SubjectError, match="the tokenizer fails"):  # later, in the middle of a corpus
        found.encode_documents(found.vocabulary(8), ["x" * 60 + "z"])


def test_a_search_without_end_is_given_up(tmp_path: Path, monkeypatch) -> None:
    found = find_tokenizer(written(tmp_path), d_vocab=8)

    class Endless:
        def encode_batch_fast(self, texts, add_special_tokens) -> None:
            time.sleep(1000)

    known = found.vocabulary(8)
    monkeypatch.setattr(found.backend, "tokenizer", Endless())
    monkeypatch.setattr(examine, "SECONDS", 0.2)
    with pytest.raises(SubjectError, match=r"3 characters took more than 0 s\)"):
        try_on(found, known, ["a b"])
    monkeypatch.setattr(tokenizer_json, "SECONDS", 0.2)
    with pytest.raises(SubjectError, match="the tokenizer fails"):
        found.encode(["a b"])


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "vocab.txt"])
@pytest.mark.parametrize("target", ["/dev/zero", "/no/such"])
def test_a_file_that_is_a_device_or_is_not_there(name: str, target: str, tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / name).symlink_to(target)
    with pytest.raises(SubjectError, match=f"{name} is a"):
        find_tokenizer(tmp_path, d_vocab=8)
