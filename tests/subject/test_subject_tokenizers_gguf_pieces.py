"""SentencePiece and WordPiece vocabularies in GGUF files, with llama.cpp as the judge."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import numpy as np
import pytest
from gguf_twins import PIECES, corpus, differences, hostile, llama_cpp, sentencepiece, write_gguf

from neurolocal.errors import SubjectError
from neurolocal.subject.tokenizers.gguf_judge import folder_encoder
from neurolocal.subject.tokenizers.gguf_write import write_gguf_tokenizer

CONTROL = ("</s>", "<unk>", "<|endoftext|>")
"""Not `<s>`: llama.cpp merges `<s` and `>` into the control token, the library does not."""


@pytest.fixture
def write(tmp_path):
    """A GGUF file of a trained model; its user-defined tokens are written with spaces, as converters do."""

    def made(message, model: str, **how) -> Path:
        pieces = [(one.piece.replace("\u2581", " ") if one.type == 4 else one.piece, one) for one in message.pieces]
        return write_gguf(
            tmp_path / "made.gguf", model, [text for text, _ in pieces], types=[one.type for _, one in pieces],
            scores=[one.score for _, one in pieces], **how,
        )  # fmt: skip

    return made


@pytest.mark.parametrize("prefix", [None, True, False])
def test_bpe_with_bytes(prefix: bool | None, write, tmp_path, rng) -> None:
    message = sentencepiece(rng, "bpe")
    path = write(message, "llama", more=lambda w: prefix is None or w.add_add_space_prefix(prefix))
    texts = [*hostile(rng, 100, more=CONTROL), " a", "a ", "  ", " ", "\u2581x", "", "<0x0A>"]
    assert differences(path, tmp_path / "t", texts) == []


@pytest.mark.parametrize("prefix", [True, False])
def test_tokens_that_a_user_defined(prefix: bool, write, tmp_path, rng) -> None:
    message = sentencepiece(rng, "bpe", user_defined_symbols=["<|x|>", "▁▁", "▁▁▁▁", "world"])
    path = write(message, "llama", more=lambda w: w.add_add_space_prefix(prefix))
    assert differences(path, tmp_path / "t", hostile(rng, 100, more=(*CONTROL, "<|x|>"))) == []


def test_without_a_space_before_a_text_the_file_alone_suffices(write, tmp_path, rng) -> None:
    """Gemma's runs of spaces: SentencePiece finds a user's tokens itself, also where nobody cuts them out before."""
    from sentencepiece import SentencePieceProcessor

    message = sentencepiece(rng, "bpe", user_defined_symbols=["<|x|>", "▁▁", "▁▁▁▁", "world"])
    path = write(message, "llama", more=lambda w: w.add_add_space_prefix(False))
    write_gguf_tokenizer(path, tmp_path)
    own = SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    with llama_cpp(path) as ids:
        for text in hostile(rng, 100, more=(*CONTROL, "<|x|>")):
            assert own.encode(text) == ids(text, "text")


def test_the_types_of_unused_tokens_and_bytes_do_not_matter(write, tmp_path, rng) -> None:
    message = sentencepiece(rng, "bpe")
    for one in message.pieces:
        one.type = {1: int(rng.choice([1, 1, 5])), 6: int(rng.choice([6, 1]))}.get(one.type, one.type)
    assert differences(write(message, "llama"), tmp_path / "t", hostile(rng, 100)) == []


def test_the_small_model(fixtures, tmp_path, rng) -> None:
    path = fixtures / "stories260k" / "stories260K.gguf"
    assert differences(path, tmp_path / "t", hostile(rng, 300, more=("<s>", *CONTROL))) == []


@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("charsmap", [True, False])
def test_unigram(prefix: bool, merge: bool, charsmap: bool, write, tmp_path, rng) -> None:
    message = sentencepiece(rng, "unigram", normalization_rule_name="nmt_nfkc")

    def more(writer) -> None:
        writer.add_add_space_prefix(prefix)
        writer.add_remove_extra_whitespaces(merge)
        writer.add_unk_token_id(0)
        writer.add_eos_token_id(2)
        writer.add_pad_token_id(0)
        if charsmap:
            writer.add_precompiled_charsmap(message.normalizer_spec.precompiled_charsmap)

    path = write(message, "t5", more=more)
    texts = hostile(rng, 100, more=("<s>", *CONTROL))
    found = differences(path, tmp_path / "t", texts)
    if prefix and not merge:  # a part of white space alone gets no space before it from llama.cpp
        found = [one for one in found if not _has_a_blank_part(one.partition(": ")[2])]
    scores = [one.score for one in message.pieces]
    assert [one for one in found if not _equally_likely(one, path, tmp_path / "t", scores)] == []


def _equally_likely(written: str, path: Path, folder: Path, scores: list[float]) -> bool:
    """Whether both splits of a text have the same score, so that rounding alone decides between them."""
    control, _, text = written.partition(": ")
    with llama_cpp(path) as ids:
        both = ids(ast.literal_eval(text), control), folder_encoder(folder)([ast.literal_eval(text)], control)[0]
    one, other = (sum(scores[i] for i in split) for split in both)
    return len(both[0]) == len(both[1]) and abs(one - other) < 1e-6


def _has_a_blank_part(written: str) -> bool:
    parts = re.split("<s>|</s>|<unk>", ast.literal_eval(written))
    return any(not re.sub(r"[\s\u200b\ufeff\x00-\x1f\x7f\u200d\xad]", "", part) for part in parts if part)


@pytest.fixture
def bert(rng) -> tuple[list[str], list[int]]:
    """A WordPiece vocabulary as a GGUF writes it."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=bool(rng.integers(2)))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused1]"]
    made.train_from_iterator(corpus(rng), trainers.WordPieceTrainer(
        vocab_size=900, special_tokens=special, show_progress=False, limit_alphabet=300
    ))  # fmt: skip
    vocab = json.loads(made.to_str())["model"]["vocab"]
    written = [text[2:] if text.startswith("##") else f"▁{text}" for text in sorted(vocab, key=vocab.get)[6:]]
    return special + written, [3, 2, 3, 3, 3, 1, *[1] * len(written)]


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("strip", [True, False, None])
def test_wordpiece(lower: bool, strip: bool | None, bert, tmp_path, rng) -> None:
    def more(writer) -> None:
        for role, i in (("unk", 1), ("bos", 2), ("sep", 3), ("pad", 0), ("mask", 4)):
            getattr(writer, f"add_{role}_token_id")(i)
        writer.add_bool("tokenizer.ggml.normalizer.lowercase", lower)
        if strip is not None:
            writer.add_bool("tokenizer.ggml.normalizer.strip_accents", strip)

    path = write_gguf(tmp_path / "made.gguf", "bert", bert[0], types=bert[1], more=more)
    texts = hostile(rng, 200, more=("[MASK]", "[UNK]", "[unused1]", "가각힣", "뷁"))
    assert differences(path, tmp_path / "t", texts) == []


def test_the_config_beside_it(write, tmp_path, rng) -> None:
    message = sentencepiece(rng, "bpe", user_defined_symbols=["▁▁", "<|x|>"])

    def more(writer) -> None:
        writer.add_bos_token_id(2)
        writer.add_uint32("tokenizer.ggml.padding_token_id", 0xFFFFFFFF)
        writer.add_chat_template("{{ messages }}")
        writer.add_add_bos_token(False)

    write_gguf_tokenizer(write(message, "llama", more=more), tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    added = config.pop("added_tokens_decoder")
    assert config == {
        "bos_token": "</s>", "eos_token": "</s>", "unk_token": "<unk>", "chat_template": "{{ messages }}",
        "add_bos_token": False,
    }  # fmt: skip
    assert {(one["content"], one["special"]) for one in added.values()} == {
        ("<unk>", True), ("<s>", True), ("</s>", True), ("  ", False), ("<|x|>", False),
    }  # fmt: skip


def test_a_tie_and_a_score_of_an_integer_type(tmp_path, rng) -> None:
    """Every pair has the same score: the leftmost is merged first."""
    letters = [*"abcd", "\u2581"]
    pairs = [a + b for a in letters for b in letters] + ["abcd", "bcda", "cdab"]
    tokens = ["<unk>", "<s>", "</s>", *[f"<0x{byte:02X}>" for byte in range(256)], *letters, *pairs]
    types = [2, 3, 3, *[6] * 256, *[1] * (len(letters) + len(pairs))]
    path = write_gguf(tmp_path / "made.gguf", "llama", tokens, types=types, scores=[0.0] * len(tokens))
    texts = ["".join(rng.choice([*"abcd ", "é"], 20)) for _ in range(100)]
    assert differences(path, tmp_path / "t", texts) == []


@pytest.mark.parametrize("model", ["llama", "t5"])
def test_without_scores_or_unknown_token(model: str, tmp_path) -> None:
    path = write_gguf(tmp_path / "made.gguf", model, ["a", "b", "c"])
    with pytest.raises(SubjectError, match=r"have no scores"):
        write_gguf_tokenizer(path, tmp_path)
    path = write_gguf(tmp_path / "made.gguf", "bert", ["a", "b", "c"])
    with pytest.raises(SubjectError, match=r"no unknown token"):
        write_gguf_tokenizer(path, tmp_path)


@pytest.mark.parametrize(
    "table", [b"", b"abc", b"\xff\xff\xff\xff" * 4, b"\x00\x00\x00\x00abcd", b"\x05\0\0\0abcdefgh"]
)
def test_a_damaged_table_of_the_normaliser(table: bytes, tmp_path) -> None:
    path = write_gguf(
        tmp_path / "made.gguf", "t5", ["a", "b", "<unk>"], scores=[0.0] * 3,
        more=lambda w: w.add_array("tokenizer.ggml.precompiled_charsmap", list(table) or [1]),
    )  # fmt: skip
    with pytest.raises(SubjectError, match=r"the table of its normaliser is damaged"):
        write_gguf_tokenizer(path, tmp_path)


@pytest.mark.parametrize("kind", ["rwkv", "plamo2", "hybriddna", "test", "x" * 300])
def test_a_kind_that_is_not_known_is_refused_by_name(kind: str, tmp_path) -> None:
    path = write_gguf(tmp_path / "made.gguf", kind, ["a", "b"])
    with pytest.raises(SubjectError, match=r"expected one of gpt2, .*--tokenizer") as caught:
        write_gguf_tokenizer(path, tmp_path)
    assert f'of the kind "{kind[:80]}"' in str(caught.value)


def test_ids_are_what_the_library_gives(write, tmp_path, rng) -> None:
    """A second reference, where llama.cpp is not installed: the trained model itself."""
    from sentencepiece import SentencePieceProcessor

    for kind in ("bpe", "unigram"):
        message = sentencepiece(rng, kind)
        path = write(message, "llama" if kind == "bpe" else "t5", more=lambda w: w.add_unk_token_id(0))
        own = SentencePieceProcessor()
        message.normalizer_spec.add_dummy_prefix = kind == "bpe"
        message.normalizer_spec.remove_extra_whitespaces = False
        own.LoadFromSerializedProto(message.SerializeToString())
        write_gguf_tokenizer(path, tmp_path)
        texts = [*hostile(np.random.default_rng(3), 50), *PIECES]
        assert folder_encoder(tmp_path)(texts, "text") == own.encode(texts)
