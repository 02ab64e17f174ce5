"""A GGUF's BPE vocabulary -> `tokenizer.json`, which the `tokenizers` library reads.

Invariant: with control tokens as tokens the ids are llama.cpp's with `parse_special`, as text those without it.
Known differences: a token that was added and overlaps another one in a text is found from the left, by llama.cpp the
longest first; and characters that Unicode 16 added count as letters, digits or signs, for llama.cpp they are unknown.
Cost: one step for each token and merge.
"""

from __future__ import annotations

from typing import Any

from neurolocal.errors import SubjectError
from neurolocal.subject.tokenizers.gguf_fields import GGUFVocabulary
from neurolocal.subject.tokenizers.gguf_pre import AS_OF, DEFAULT, DIGIT, GPT2, PRE_TOKENIZERS, PreTokenizer
from neurolocal.subject.tokenizers.gguf_special import special_tokens
from neurolocal.subject.tokenizers.texts import SPACE, byte_letters

DIGITS = {"type": "Digits", "individual_digits": True}

OTHERWISE = "Give the model's Hugging Face folder instead, or its tokenizer's folder as --tokenizer."


def bpe_json(vocabulary: GGUFVocabulary, *, where: str) -> dict[str, Any]:
    """The content of `tokenizer.json`.

    Args:
        vocabulary: of the kind `gpt2`, `gemma4` or `whitespace`.
        where: the file's name, for messages.

    Raises:
        SubjectError: a pre-tokenizer that is not known, or merges that are not of this vocabulary.
    """
    v = vocabulary
    name = "gemma4" if v.model == "gemma4" else v.pre or DEFAULT
    how = PRE_TOKENIZERS.get(name)
    if how is None or (name == "whitespace") != (v.model == "whitespace"):
        raise SubjectError(
            f'reading the tokenizer of {where}: its pre-tokenizer "{name[:80]}" is not one of the '
            f"{len(PRE_TOKENIZERS)} of {AS_OF}, so the ids of a text are not known. {OTHERWISE}"
        )
    ids = {token: i for i, token in enumerate(v.tokens)}
    missing = [letter for letter in byte_letters() if letter not in ids] if how.byte_level else []
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added_tokens(v),
        "normalizer": _normalizer(v, how, name),
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": _cuts(v, how, missing)},
        "post_processor": None,
        "decoder": _decoder(how),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": not how.byte_level,
            "ignore_merges": how.ignore_merges,
            "vocab": ids,
            "merges": _merges(v, ids, where),
        },
    }


def added_tokens(vocabulary: GGUFVocabulary) -> list[dict[str, Any]]:
    """The tokens that are cut out of a text, as `tokenizer.json` lists them."""
    special = special_tokens(vocabulary)
    return [
        {
            "id": i,
            "content": vocabulary.tokens[i],
            "single_word": False,
            "lstrip": i in special.lstrip,
            "rstrip": i in special.rstrip,
            "normalized": False,
            "special": i in special.control,
        }
        for i in sorted(special.control | special.user)
    ]


def split(pattern: str, behavior: str = "Isolated") -> dict[str, Any]:
    """A pre-tokenizer that cuts at a pattern."""
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": False}


def _normalizer(v: GGUFVocabulary, how: PreTokenizer, name: str) -> dict[str, Any] | None:
    if how.escape:
        return {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    lower = v.more.get("tokenizer.ggml.normalizer.lowercase", name != "whitespace")
    return {"type": "Lowercase"} if v.model == "whitespace" and lower else None


def _cuts(v: GGUFVocabulary, how: PreTokenizer, missing: list[str]) -> list[dict[str, Any]]:
    """The steps before merging. The library has two patterns built in, which are faster than those written out."""
    own = how.byte_level and how.splits[-1] == GPT2
    cuts = [DIGITS if one == DIGIT else split(one) for one in (how.splits[:-1] if own else how.splits)]
    if v.model == "whitespace":
        cuts.insert(0, split(r"\s+", "Removed"))
    if how.byte_level:
        cuts.append(_byte_level(use_regex=own))
    if missing:  # llama.cpp omits such a byte, and what stands before and behind it is not merged
        cuts.append(split("[" + "".join(rf"\x{{{ord(letter):x}}}" for letter in missing) + "]", "Removed"))
    return cuts


def _byte_level(*, use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": use_regex}


def _decoder(how: PreTokenizer) -> dict[str, Any]:
    if how.byte_level:
        return _byte_level(use_regex=False)
    spaces = [{"type": "Replace", "pattern": {"String": SPACE}, "content": " "}] if how.escape else []
    return {"type": "Sequence", "decoders": [*spaces, {"type": "ByteFallback"}, {"type": "Fuse"}]}


def _merges(v: GGUFVocabulary, ids: dict[str, int], where: str) -> list[list[str]]:
    """The pairs in their order; of a repeated one the first counts, as in llama.cpp."""
    if not v.merges:
        raise SubjectError(f"reading the tokenizer of {where}: its BPE vocabulary has no merges. {OTHERWISE}")
    pairs = dict.fromkeys([(one[:at], one[at + 1 :]) for one in v.merges for at in (one.find(" ", 1),) if at > 0])
    alien = [pair for pair in pairs if pair[0] not in ids or pair[1] not in ids or pair[0] + pair[1] not in ids]
    if alien or not pairs:
        first = f" (first: {' '.join(alien[0])[:60]!r})" if alien else ""
        raise SubjectError(
            f"reading the tokenizer of {where}: {len(alien):,} of its {len(pairs):,} merges join what is no token, or "
            f"make none{first}. {OTHERWISE}"
        )
    return [list(pair) for pair in pairs]
