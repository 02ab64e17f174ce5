"""A GGUF's WordPiece vocabulary (BERT) -> `tokenizer.json`, which the `tokenizers` library reads.

A GGUF writes `▁the` and `ing` where BERT writes `the` and `##ing`. The normaliser is llama.cpp's and not BERT's: it
keeps the first code point of each decomposition alone, so of a Hangul syllable only its first consonant, and it removes
every mark. Known differences: a word of more than `LONGEST` characters is one unknown token, and characters that
Unicode 16 added. Cost: one step for each token.
"""

from __future__ import annotations

from typing import Any

from neurolocal.errors import SubjectError
from neurolocal.subject.tokenizers.gguf_bpe import OTHERWISE, added_tokens, split
from neurolocal.subject.tokenizers.gguf_fields import GGUFVocabulary
from neurolocal.subject.tokenizers.texts import SPACE

LONGEST = 4_000
"""Characters of a word, beyond which it is not looked up; the time to do so grows with their square."""

UNKNOWN_ID = 100
"""The unknown token where a file states none, as in llama.cpp."""

CJK = (
    r"\x{4e00}-\x{9fff}\x{3400}-\x{4dbf}\x{20000}-\x{2a6df}\x{2a700}-\x{2b73f}\x{2b740}-\x{2b81f}\x{2b920}-\x{2ceaf}"
    r"\x{f900}-\x{faff}\x{2f800}-\x{2fa1f}"
)

ALONE = rf"[\p{{P}}$+<=>^`|~{CJK}]"
"""Characters that are a word each."""


def wordpiece_json(vocabulary: GGUFVocabulary, *, where: str) -> dict[str, Any]:
    """The content of `tokenizer.json`.

    Args:
        vocabulary: of the kind `bert`.
        where: the file's name, for messages.

    Raises:
        SubjectError: it has no unknown token.
    """
    v = vocabulary
    unknown = v.ids.get("unk", UNKNOWN_ID)
    if unknown >= len(v.tokens):
        raise SubjectError(f"reading the tokenizer of {where}: it has no unknown token. {OTHERWISE}")
    added = added_tokens(v)
    whole = {one["content"] for one in added} | {v.tokens[unknown]}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": _normalizers(v)},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split(r"\s+", "Removed"), split(ALONE)]},
        "post_processor": None,
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": False},
        "model": {
            "type": "WordPiece",
            "unk_token": v.tokens[unknown],
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": LONGEST,
            "vocab": {text if text in whole else _as_bert_writes(text): i for i, text in enumerate(v.tokens)},
        },
    }


def _as_bert_writes(text: str) -> str:
    if text.startswith(SPACE):
        return text.removeprefix(SPACE)
    return text if text.startswith("[") and text.endswith("]") else f"##{text}"


def _normalizers(v: GGUFVocabulary) -> list[dict[str, Any]]:
    lower = bool(v.more.get("tokenizer.ggml.normalizer.lowercase", True))
    strip = bool(v.more.get("tokenizer.ggml.normalizer.strip_accents", lower))
    steps = [_remove(r"[\p{Cc}\p{Cf}\p{Co}\x{fffd}&&\S]")]
    if strip:
        consonants = (_replace(_syllables(n), chr(0x1100 + n)) for n in range(19))
        steps += [*consonants, {"type": "NFD"}, _remove(r"\p{M}")]
    # The lower case of U+0130 is two code points, llama.cpp's is one.
    return [*steps, _replace("\u0130", "i"), {"type": "Lowercase"}] if lower else steps


def _syllables(n: int) -> str:
    """The Hangul syllables that begin with a consonant; they are 588 each."""
    first = 0xAC00 + 588 * n
    return rf"[\x{{{first:x}}}-\x{{{first + 587:x}}}]"


def _replace(pattern: str, by: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": by}


def _remove(pattern: str) -> dict[str, Any]:
    return _replace(pattern, "")
