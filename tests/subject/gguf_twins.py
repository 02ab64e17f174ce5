"""Small GGUF files with vocabularies of every kind, hostile texts, and llama.cpp as the judge of their ids."""

from __future__ import annotations

import ctypes
import io
import json
import unicodedata
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

PIECES = (
    "Hello", "world", " the", " The", " and", "I'm", "it's", "IT'S", "we'll", "WE'LL", "they've", "'s", "'S",
    "'D", "''", "’s", "ſ'ſ", "don't", "'tis", "l'llama", "'Mélange", "'sabc", "1", "12", "123", "1234", "12345",
    "1234567890", "3.14", "1,000,000", "٣٤٥", "१२३४", "²³", "½", "ⅷ", "①②③④", "日本語", "テスト", "中文字符", "한국어",
    "ㄅㄆㄇ", "ㄱㄴ", "ไทย", "ລາວ", "ខ\u17d2ម\u17c2រ", "မ\u103cန\u103aမ\u102c", "ह\u093fन\u094dद\u0940",
    "ব\u09be\u0982ল\u09be", "العربية", "עברית", "Ελληνικά", "Русский", "ÀÉÎõü", "ǅ", "ﬁ", "🎉", "e\u0301",
    "n\u0303\u0303", "\u0301", "a\u200db", "\u200b", "\ufeff", "\xa0", "\u3000", "\u2003", "\u2028", "\x85",
    "\x0b", "\x0c", "\x1c", "\x1f", "\0", "\x7f", "\t", "\t\t", "\n", "\n\n", "\r\n", "\r", "   ", " ", "  ",
    "                  ", "\n \n", "\n\t", "!", "?!", "...", "…", "—", "-", "--", "_", "__init__", "()", "[]{}",
    "@#$%^&*", "+=<>~|`", "\\n", "/", "//", "a/b", "http://x.y/z?q=1", "x=1;", "if(a){b}", "camelCase",
    "PascalCaseWord", "UPPER", "MiXeD", "snake_case", "\u0378", "\U000e0001", "\ue000", "\U0010ffff", "𝒜𝓁",
    "𠮷野", "豈", "\u3400", "，。、！？", "「」", "۔", "،", "।", "IMGIMGABZ", "<sentinel:12>", "$100", "€5", "50%",
    "a1b2", "abc123", "123abc", "１２３４", "Ａｂｃ", "ﾊﾝ", "⼀", "\u1680", "\u202f", "\u205f", "ß", "İ", "ǆ", "🇦🇧",
    "a a a", " a b  c   d", "👩\u200d👩\u200d👧", "🏳\ufe0f\u200d🌈",
)  # fmt: skip
"""What pre-tokenizers and normalisers treat differently."""

CONTROL_TEXTS = ("<|im_start|>", "<|im_end|>", "<s>", "</s>", "<unk>", "<|endoftext|>", "<|x|>", "  user  ")


def hostile(rng: np.random.Generator, n: int, *, more: tuple[str, ...] = ()) -> list[str]:
    """Random mixtures of the pieces and of random code points, and each piece alone."""
    pieces = [*PIECES, *more]
    joints = ["", "", " ", " ", "\n", "  "]

    def one() -> str:
        drawn = [pieces[i] for i in rng.integers(0, len(pieces), rng.integers(1, 14))]
        odd = [code_point(rng) if rng.random() < 0.2 else "" for _ in drawn]
        return "".join(a + b + joints[i] for a, b, i in zip(drawn, odd, rng.integers(0, 6, len(drawn)), strict=True))

    return [*[one() for _ in range(n)], *pieces]


def code_point(rng: np.random.Generator) -> str:
    """A character that Unicode 3.2 knew, so that every library's tables know it."""
    while True:
        c = chr(rng.integers(0, rng.choice([0x80, 0x3000, 0x10000, 0x110000])))
        if unicodedata.ucd_3_2_0.category(c) not in ("Cn", "Cs"):
            return c


def corpus(rng: np.random.Generator, n: int = 400) -> list[str]:
    """Texts to train on, without the characters that a token must not have."""
    return [text.replace("\0", "") for text in hostile(rng, n)[:n]]


def byte_bpe(rng: np.random.Generator, size: int = 1500) -> tuple[list[str], list[str]]:
    """Tokens and merges of byte-level BPE; trained on texts that are not split, so merges cross every boundary."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(corpus(rng), trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, show_progress=False, max_token_length=24
    ))  # fmt: skip
    model = json.loads(made.to_str())["model"]
    return list(model["vocab"]), [" ".join(pair) for pair in model["merges"]]


def text_bpe(rng: np.random.Generator, *, escape: bool) -> tuple[list[str], list[int], list[str]]:
    """Tokens, types and merges of BPE over characters, with tokens for bytes."""
    from tokenizers import Tokenizer, models, trainers

    made = Tokenizer(models.BPE())
    texts = corpus(rng)
    words = [text.replace(" ", "\u2581") for text in texts] if escape else [w for text in texts for w in text.split()]
    made.train_from_iterator(words, trainers.BpeTrainer(
        vocab_size=1200, show_progress=False, limit_alphabet=250, max_token_length=20
    ))  # fmt: skip
    model = json.loads(made.to_str())["model"]
    pieces = list(model["vocab"])
    merges = [" ".join(pair) for pair in model["merges"]]
    tokens = ["<pad>", "<unk>", *[f"<0x{byte:02X}>" for byte in range(256)], *pieces]
    return tokens, [3, 2, *[6] * 256, *[1] * len(pieces)], merges


def sentencepiece(rng: np.random.Generator, kind: str, **how: Any) -> Any:
    """A trained SentencePiece model as its protobuf message."""
    import sentencepiece as library
    from sentencepiece import sentencepiece_model_pb2 as messages

    lines = [line for text in corpus(rng) for line in text.split("\n") if line.strip()]
    made = io.BytesIO()
    how = {"normalization_rule_name": "identity", "byte_fallback": kind == "bpe", "vocab_size": 1100} | how
    library.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=made, model_type=kind, character_coverage=0.98, minloglevel=3,
        hard_vocab_limit=False, num_threads=1, split_by_unicode_script=False, split_by_whitespace=False, **how,
    )  # fmt: skip
    message = messages.ModelProto()  # type: ignore[attr-defined]  made when it is imported
    message.ParseFromString(made.getvalue())
    return message


def write_gguf(
    path: Path, model: str | None, tokens: list[str], *, pre: str | None = None, merges: list[str] | None = None,
    types: list[int] | None = None, scores: list[float] | None = None,
    more: Callable[[gguf.GGUFWriter], Any] = lambda _: None,
) -> Path:  # fmt: skip
    """A GGUF file with a vocabulary and no tensors."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(512)
    writer.add_embedding_length(8)
    writer.add_block_count(1)
    writer.add_feed_forward_length(16)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    if model is not None:
        writer.add_tokenizer_model(model)
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    if types is not None:
        writer.add_token_types(types)
    if scores is not None:
        writer.add_token_scores(scores)
    if merges is not None:
        writer.add_token_merges(merges)
    more(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


_silence: Any = None


@contextmanager
def llama_cpp(path: Path) -> Generator[Callable[[str, str], list[int]], None, None]:
    """llama.cpp's ids of a text, control tokens being `token` or `text`; the test is skipped where it is missing."""
    global _silence
    c = pytest.importorskip("llama_cpp")
    _silence = _silence or c.llama_log_callback(lambda *_: None)
    c.llama_log_set(_silence, ctypes.c_void_p(0))
    options = c.llama_model_default_params()
    options.vocab_only = True
    model = c.llama_model_load_from_file(str(path).encode(), options)
    assert model, f"llama.cpp refuses {path}"
    vocab = c.llama_model_get_vocab(model)

    def ids(text: str, control: str) -> list[int]:
        data = text.encode()
        found = (c.llama_token * (4 * len(data) + 16))()
        n = c.llama_tokenize(vocab, data, len(data), found, len(found), False, control == "token")
        assert n >= 0
        return list(found[:n])

    yield ids
    c.llama_model_free(model)


def differences(path: Path, folder: Path, texts: list[str]) -> list[str]:
    """The texts for which the files in a folder give other ids than llama.cpp."""
    from neurolocal.subject.tokenizers.gguf_judge import folder_encoder
    from neurolocal.subject.tokenizers.gguf_write import write_gguf_tokenizer

    folder.mkdir(exist_ok=True)
    write_gguf_tokenizer(path, folder)
    encode = folder_encoder(folder)
    found = []
    with llama_cpp(path) as ids:
        for control in ("token", "text"):
            for text, own in zip(texts, encode(texts, control), strict=True):
                if own != ids(text, control):
                    found.append(f"{control}: {text!r}")
    return found
