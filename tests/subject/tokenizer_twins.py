"""Tiny tokenizers of every kind, trained here, and text on which careless tokenizers part."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

PIECES = [
    "the cat sat", "Hello", " world", "don't", "WE'LL", " it’s", "1234567", " 42", "3.14", "٣٤٥",
    "日本語", "北京", "にほん", "한국어", "кот", "é", "é", "กำ", "ﬁ", "Ⅷ", "🎉",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467", "🇩🇪", "\xa0", "\u200b", "  ", "   ", "\t", "\n",
    "\n\n", "\r\n", " \n ", "\x00", "▁", "▁x", "<s>", "</s>", "<|end|>", "<0x41>", "##ing",
    "_under_", "x=1;", "}{", "...", "—", "!", "$", "ß", "İ", "ǆ", "�", "½", "²",
]  # fmt: skip
"""Pieces of hostile text: numbers, CJK, emoji, combining marks, runs of spaces, tabs, NUL, what looks like a token."""

TRAINING = [
    "the cat sat on the mat and cultivated 1234 things, don't they?",
    "Hello world 日本語 кот é 🎉 3.14",
    " x  y\n\n z",
]


def hostile(rng: Any, n: int) -> list[str]:
    """Random texts of up to 20 pieces."""
    return ["".join(rng.choice(PIECES, int(rng.integers(0, 21))).tolist()) for _ in range(n)]


GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPLITS: dict[str, list[Any]] = {
    "GPT-2": [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)],
    "Llama 3": [
        pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ],
    "Qwen 2": [
        pre_tokenizers.Split(Regex(LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ],
    "single digits": [
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ],
    "threes": [
        pre_tokenizers.Split(Regex(r"\d{1,3}(?=(?:\d{3})*\b)"), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ],
}
"""How byte-level tokenizers in use split a text before they merge."""


def byte_level(split: str) -> Tokenizer:
    """Byte-level BPE with one of the splits, and one control token."""
    library = Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.Sequence(SPLITS[split])
    library.decoder = decoders.ByteLevel()
    library.post_processor = processors.ByteLevel(trim_offsets=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False
    )
    library.train_from_iterator(TRAINING * 20, trainer)
    return library


def metaspace_bpe() -> Tokenizer:
    """BPE with SentencePiece's spaces and a byte fallback, as Llama 2's tokenizer.json."""
    bytes_ = [f"<0x{b:02X}>" for b in range(256)]
    library = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    library.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<unk>", "<s>", "</s>", *bytes_], show_progress=False)
    library.train_from_iterator(TRAINING * 20, trainer)
    stated = json.loads(library.to_str())
    stated["added_tokens"] = stated["added_tokens"][:3]  # the bytes are ordinary tokens
    library = Tokenizer.from_str(json.dumps(stated))
    library.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return library


def unigram() -> Tokenizer:
    """Unigram with a Metaspace, as T5's and XGLM's tokenizer.json."""
    library = Tokenizer(models.Unigram())
    library.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    library.pre_tokenizer = pre_tokenizers.Metaspace()
    library.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    library.train_from_iterator(TRAINING * 20, trainer)
    return library


def wordpiece() -> Tokenizer:
    """WordPiece with BERT's normaliser, as Chinese GPT-2s have."""
    library = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    library.normalizer = normalizers.BertNormalizer()
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=150, special_tokens=["[UNK]", "[CLS]", "[SEP]"], show_progress=False)
    library.train_from_iterator(TRAINING * 20, trainer)
    return library


def undecoded() -> Tokenizer:
    """Whole words, and no decoder."""
    library = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    library.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(vocab_size=60, special_tokens=["[UNK]"], show_progress=False)
    library.train_from_iterator(TRAINING * 20, trainer)
    return library


JSON_KINDS = {
    **{f"byte-level, {split}": lambda split=split: byte_level(split) for split in SPLITS},
    "BPE with bytes": metaspace_bpe,
    "unigram": unigram,
    "WordPiece": wordpiece,
    "no decoder": undecoded,
}
"""Every kind of tokenizer.json, by name."""

CLASSES = ["GPT2TokenizerFast", "GPT2Tokenizer", "LlamaTokenizerFast", "LlamaTokenizer", "PreTrainedTokenizerFast",
           "Qwen2Tokenizer", "GPTNeoXTokenizerFast", "NoSuchTokenizer", None]  # fmt: skip
"""Names that a tokenizer_config.json may give its class, right or wrong."""


def write_json(folder: Path, library: Tokenizer, **stated: Any) -> Path:
    """A folder with a tokenizer.json and a tokenizer_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    library.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({n: x for n, x in stated.items() if x is not None}))
    return folder


def sentencepiece_model(kind: str, *, prefix: bool, normaliser: str = "identity", **more: Any) -> bytes:
    """A SentencePiece model of `bpe` or `unigram`."""
    import sentencepiece

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TRAINING * 20),
        model_writer=written,
        vocab_size=400 if more.get("byte_fallback") else 110,
        model_type=kind,
        add_dummy_prefix=prefix,
        normalization_rule_name=normaliser,
        hard_vocab_limit=False,
        minloglevel=2,
        **more,
    )
    return written.getvalue()
