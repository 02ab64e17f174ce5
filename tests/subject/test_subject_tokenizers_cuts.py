"""A long text tokenised in parts has the ids of the whole, with every kind of tokenizer that is said to be cuttable."""

from __future__ import annotations

import json
import string
from functools import cache
from typing import Any

import numpy as np
import pytest
from sentencepiece import SentencePieceProcessor
from tokenizer_twins import JSON_KINDS, PIECES, sentencepiece_model
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Library

from neurolocal.corpus import parts as cutting
from neurolocal.subject.tokenizers import Tokenizer, find_tokenizer
from neurolocal.subject.tokenizers.cuts import PATTERNS, sentencepiece_is_cuttable
from neurolocal.subject.tokenizers.roles import Roles
from neurolocal.subject.tokenizers.tokenizer_json import JsonBackend
from neurolocal.subject.tokenizers.tokenizer_model import ModelBackend

WORDS = ["the", " cat", " sat on", "\nthe mat", " don't", " a b c", "\nx", " Hello", " WE'LL see", " thing s"]


def long_text(rng: np.random.Generator, n: int = 400) -> str:
    """Words with hostile pieces among them: places everywhere, next to everything."""
    pieces = [*WORDS * 8, *PIECES]
    return "".join(rng.choice(np.array(pieces, object), n).tolist())


def split_bpe(pattern: str) -> Library:
    """Byte-level BPE with one `Split`, trained on text in which words meet in every way."""
    library = Library(models.BPE())
    library.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    library.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False)
    library.train_from_iterator(["the cat sat on the mat\nx don't a b c\nHello 1234"] * 20, trainer)
    return library


def same_ids(tokenizer: Tokenizer, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> int:
    """Compare parts with the whole, ids and offsets; returns the parts."""
    monkeypatch.setattr(cutting, "PART", 120)
    vocabulary, n = tokenizer.vocabulary(1000), 0

    def encode(texts: list[str]) -> Any:
        return tokenizer.encode_documents(vocabulary, texts)

    for _ in range(12):
        text = long_text(rng)
        ((whole, starts),) = encode([text])
        found = list(cutting.parts(text, cuttable=True, longest=10_000))
        assert all(part.exact for part in found)
        made = [cutting.encode_part(text, part, encode) for part in found]
        assert np.concatenate([ids for ids, _ in made]).tolist() == whole.tolist()
        if starts is not None and all(own is not None for _, own in made):
            apart = np.abs(np.concatenate([own for _, own in made if own is not None]) - starts).max()
            # of a text that the tokenizer changes, the library's own offsets are used, which may omit a space
            assert apart <= (vocabulary.text(whole.tolist()).removeprefix(" ") != text.removeprefix(" "))
        n += len(found)
    return n


trained = cache(lambda kind: JSON_KINDS[kind]())

CUTTABLE = {
    "byte-level, GPT-2", "byte-level, Llama 3", "byte-level, Qwen 2", "byte-level, single digits", "WordPiece",
    "no decoder",
}  # fmt: skip


@pytest.mark.parametrize("kind", JSON_KINDS)
def test_the_kinds_of_tokenizer_json(kind, rng, monkeypatch) -> None:
    tokenizer = Tokenizer(JsonBackend(trained(kind)), Roles(None, None, ()))
    assert tokenizer.cuttable == (kind in CUTTABLE)
    assert not tokenizer.cuttable or same_ids(tokenizer, rng, monkeypatch) > 100


@pytest.mark.parametrize("scheme", ["first", "always", "never"])
def test_metaspace(scheme, rng, monkeypatch) -> None:
    library = Library(models.BPE(fuse_unk=True, unk_token="<unk>"))
    library.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    library.decoder = decoders.Metaspace(prepend_scheme=scheme)
    alphabet = [*string.ascii_letters, "\n"]
    trainer = trainers.BpeTrainer(
        vocab_size=150, special_tokens=["<unk>", "<|end|>"], initial_alphabet=alphabet, show_progress=False
    )
    library.train_from_iterator(["the cat sat on the mat", "x don't a b c", "Hello"] * 20, trainer)
    tokenizer = Tokenizer(JsonBackend(library), Roles(None, None, ()))
    assert tokenizer.cuttable
    assert same_ids(tokenizer, rng, monkeypatch) > 100


def test_a_real_one(fixtures, rng, monkeypatch) -> None:
    """Of Llama 2's kind: no rule for words, and a space put before a text."""
    tokenizer = find_tokenizer(fixtures / "stories260k")
    assert tokenizer.cuttable
    assert same_ids(tokenizer, rng, monkeypatch) > 100


@pytest.mark.parametrize("pattern", sorted(PATTERNS))
def test_every_pattern(pattern, rng, monkeypatch) -> None:
    tokenizer = Tokenizer(JsonBackend(split_bpe(pattern)), Roles(None, None, ()))
    if tokenizer.cuttable:  # a pattern that leaves words joined has tokens across places here
        assert same_ids(tokenizer, rng, monkeypatch) > 100


def test_most_patterns_are_cuttable() -> None:
    made = [Tokenizer(JsonBackend(split_bpe(one)), Roles(None, None, ())).cuttable for one in sorted(PATTERNS)]
    assert sum(made) > len(made) // 2


@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize("more", [{"byte_fallback": True, "remove_extra_whitespaces": False}, {"byte_fallback": True}])
@pytest.mark.parametrize("normaliser", ["identity", "nmt_nfkc"])
def test_sentencepiece(prefix, more, normaliser, rng, monkeypatch) -> None:
    for kind in ("bpe", "unigram"):
        data = sentencepiece_model(kind, prefix=prefix, normaliser=normaliser, **more)
        processor = SentencePieceProcessor()
        processor.LoadFromSerializedProto(data)
        tokenizer = Tokenizer(ModelBackend(processor, {}), Roles(None, None, ()))
        assert tokenizer.cuttable == (kind == "bpe")
        if tokenizer.cuttable:
            assert same_ids(tokenizer, rng, monkeypatch) > 100


def changed(how: str) -> Library:
    """A cuttable tokenizer with one property that makes it another."""
    if how == "a pattern that is not known":
        return split_bpe(r"[a-z]+ [a-z]+|\s+|\S+")
    if how == "an end of words":
        library = Library(models.BPE({"a": 0, "b": 1, "a</w>": 2, " ": 3}, [], end_of_word_suffix="</w>"))
        library.pre_tokenizer = pre_tokenizers.Whitespace()
        return library
    library = Library.from_str(trained("byte-level, GPT-2").to_str())
    if how == "a token across a place":
        library.add_tokens(["cat sat"])
    elif how == "an added token that takes spaces":
        library.add_tokens([AddedToken("mask", lstrip=True)])
    elif how == "a normaliser that joins":
        library.normalizer = normalizers.Replace(Regex("t s"), "ts")
    elif how == "dropout":
        stated = json.loads(library.to_str())
        stated["model"]["dropout"] = 0.1
        library = Library.from_str(json.dumps(stated))
    return library


@pytest.mark.parametrize(
    "how",
    [
        "a pattern that is not known", "an end of words", "a token across a place", "an added token that takes spaces",
        "a normaliser that joins", "dropout",
    ],
)  # fmt: skip
def test_what_is_not_cuttable(how) -> None:
    assert Tokenizer(JsonBackend(trained("byte-level, GPT-2")), Roles(None, None, ())).cuttable
    assert not Tokenizer(JsonBackend(changed(how)), Roles(None, None, ())).cuttable


@pytest.mark.parametrize("model", [b"\x12\x05\x08", b"\x12\x01\x80", b"\x10\x07", b"\xff", b"\x12\x02\x12\x05"])
def test_a_model_whose_settings_cannot_be_read_is_not_cuttable(model: bytes) -> None:
    assert not sentencepiece_is_cuttable(model, set(string.printable) | {f"<0x{i:02X}>" for i in range(256)})
