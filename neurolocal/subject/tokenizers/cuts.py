r"""Whether a long text may be tokenised in parts: for which tokenizers the parts' ids joined are those of the text.

A place is a space or line break between two letters of ASCII; a part ends before it. What is shown here of a tokenizer
holds for every text, by what its file states:

1. No token holds a letter, a space or line break, and a letter. So no merge of BPE crosses a place, as each of its
   products is a token; nor does a token that is cut out of a text first.
2. Its normaliser changes each character by itself, or by the marks behind it, and puts spaces only at the beginning.
3. Its rule for words ends each word by the character behind it, and begins each by its own characters; what stands on
   one side of a place does not move a border on the other.

Unigram models are left out: they compare sums of rounded numbers from the beginning of the text on.
Cost: one pass over the vocabulary.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping, Set
from typing import Any

from neurolocal.subject.tokenizers.gguf_pre import GROUPS, THIRD_DIGIT_FROM_THE_END
from neurolocal.subject.tokenizers.texts import SPACE

ACROSS = re.compile(f"[A-Za-z][ \n{SPACE}\u0120\u010a][A-Za-z]")
"""What no token may hold; U+0120 and U+010A are a space and a line break in GPT-2's letters for bytes."""

LETTERS = frozenset(string.ascii_letters)

BYTES = frozenset(f"<0x{ord(letter):02X}>" for letter in LETTERS)
"""What stands for a letter that is no token. With neither, an unknown letter may be joined with an unknown space."""

NORMALIZERS = frozenset(("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "BertNormalizer", "Prepend"))
"""Those that satisfy 2."""

WORDS = frozenset(("BertPreTokenizer", "Whitespace", "WhitespaceSplit"))
"""Rules by which a word ends at every white space."""

RULES = WORDS | {"ByteLevel", "Digits", "Punctuation", "Metaspace"}
"""Those that satisfy 3."""

WORDS_OF_HUGGING_FACE = (
    # GPT-2
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    # GPT-4 and Llama 3, Qwen 2
    *(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
        + digits
        + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        for digits in (r"\p{N}{1,3}", r"\p{N}")
    ),
    # GPT-4o and gpt-oss, and Tekken
    *(
        "|".join(
            (
                r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+" + short,
                r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*" + short,
                digits,
                r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
                r"\s*[\r\n]+",
                r"\s+(?!\S)",
                r"\s+",
            )
        )
        for short, digits in (("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", r"\p{N}{1,3}"), ("", r"\p{N}"))
    ),
    # DeepSeek V3, the first two of three
    r"\p{N}{1,3}",
    "[一-龥぀-ゟ゠-ヿ]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
)
"""Patterns of models in use, as their tokenizer.json writes them."""

JOINING = frozenset(("exaone-moe", "superbpe", "chameleon", "tiny_aya", "cohere2moe", "afmoe"))
"""GGUF's rules whose words may hold spaces, or that look further than the next character."""

PATTERNS = frozenset(WORDS_OF_HUGGING_FACE) | {
    pattern for how, names in GROUPS.items() if not JOINING & set(names) for pattern in how.splits
} - {THIRD_DIGIT_FROM_THE_END}
"""Patterns of `Split` that satisfy 3: what takes a letter takes at most one character before it, and then letters,
marks and contractions, or the rest of the line; none looks behind, or ahead further than one character."""


ONE_OF = re.compile(r"\[(?:\\x\{[0-9a-f]+\})+\]")
"""A pattern that takes single characters out of a text: bytes that a GGUF's vocabulary lacks."""


def json_is_cuttable(stated: Mapping[str, Any], tokens: Set[str]) -> bool:
    """Whether a tokenizer.json's ids are independent across places.

    Args:
        stated: the file's content.
        tokens: every token, as the file writes it.
    """
    model = stated.get("model") or {}
    normalizers = list(_all(stated.get("normalizer"), "normalizers"))
    rules = list(_all(stated.get("pre_tokenizer"), "pretokenizers"))
    marked = any(_is_space_mark(one) for one in normalizers)
    return (
        _model_is_local(model, tokens, {one["type"] for one in rules})
        and all(one["type"] in NORMALIZERS or _is_space_mark(one) for one in normalizers)
        and all(one["type"] in RULES or _is_local_split(one, spaces=not marked) for one in rules)
        and not any(_reaches(one) for one in stated.get("added_tokens") or ())
        and not any(map(ACROSS.search, tokens))
    )


def _model_is_local(model: Mapping[str, Any], tokens: Set[str], rules: set[str]) -> bool:
    if model.get("type") in ("WordPiece", "WordLevel"):
        return bool(rules & WORDS)
    if model.get("type") != "BPE" or model.get("dropout"):
        return False
    known = tokens >= LETTERS or (model.get("byte_fallback") and tokens >= BYTES)
    fuses = model.get("fuse_unk") and not known
    return not (model.get("continuing_subword_prefix") or model.get("end_of_word_suffix") or fuses)


def _all(part: Mapping[str, Any] | None, inside: str) -> Iterator[Mapping[str, Any]]:
    """A part of the file, or those of its sequence."""
    if part is None:
        return
    if part.get("type") != "Sequence":
        yield part
    for one in part.get(inside) or () if part.get("type") == "Sequence" else ():
        yield from _all(one, inside)


def _is_space_mark(normalizer: Mapping[str, Any]) -> bool:
    """Whether it writes every space as U+2581."""
    stated = (normalizer.get("type"), normalizer.get("pattern"), normalizer.get("content"))
    return stated == ("Replace", {"String": " "}, SPACE)


def _is_local_split(rule: Mapping[str, Any], *, spaces: bool) -> bool:
    """Whether a `Split` satisfies 3; `spaces`: whether the text still has spaces when it comes to it."""
    if rule.get("type") != "Split":
        return False
    pattern, whole = rule.get("pattern") or {}, (rule.get("behavior"), rule.get("invert"))
    if pattern == {"String": " "} and not spaces:
        return True
    if ONE_OF.fullmatch(str(pattern.get("Regex", ""))) and rule.get("behavior") in ("Isolated", "Removed"):
        return True
    return pattern.get("Regex") in PATTERNS and whole in (("Isolated", False), ("Removed", True))


def _reaches(added: Mapping[str, Any]) -> bool:
    """Whether an added token takes white space beside it that may be a place: it begins or ends with a letter."""
    text = str(added.get("content", ""))
    left, right = added.get("lstrip") and text[:1], added.get("rstrip") and text[-1:]
    return any(isinstance(end, str) and end.isascii() and end.isalpha() for end in (left, right))


TRAINER, MODEL_TYPE, SPACE_BEHIND, BPE = 2, 3, 24, 2
"""In a SentencePiece model: the fields trainer_spec, its model_type and treat_whitespace_as_suffix, and a type."""

NORMALIZER, NAME, CHARSMAP = 3, 1, 2
"""The fields normalizer_spec, its name and precompiled_charsmap."""

FOLDING = frozenset((b"identity", b"nfkc", b"nmt_nfkc", b"nfkc_cf", b"nmt_nfkc_cf"))
"""SentencePiece's own normalisers, which satisfy 2."""


def sentencepiece_is_cuttable(model: bytes, tokens: Set[str]) -> bool:
    """Whether a SentencePiece model's ids are independent across places; not where its settings cannot be read.

    Args:
        model: the file.
        tokens: every token, as the file writes it.
    """
    try:
        parts = dict(_fields(model))
        trainer, normalizer = (dict(_fields(parts.get(part, b""))) for part in (TRAINER, NORMALIZER))
    except (IndexError, TypeError):  # the library is less strict
        return False
    known = normalizer.get(NAME) in FOLDING or not normalizer.get(CHARSMAP)
    is_bpe = trainer.get(MODEL_TYPE) == BPE and not trainer.get(SPACE_BEHIND)
    return is_bpe and known and (tokens >= LETTERS or tokens >= BYTES) and not any(map(ACROSS.search, tokens))


def _fields(message: Any) -> Iterator[tuple[int, Any]]:
    """The fields of a protobuf message: their number, and an int or the bytes.

    Raises:
        IndexError: it is cut short.
        TypeError: it is no message.
    """
    if not isinstance(message, bytes):
        raise TypeError(message)
    data, at = message, 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte, at = data[at], at + 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7

    while at < len(data):
        key = number()
        kind = key & 7
        if kind == 0:
            yield key >> 3, number()
            continue
        n = {1: 8, 5: 4}.get(kind) or number()
        yield key >> 3, data[at : at + n]
        at += n
