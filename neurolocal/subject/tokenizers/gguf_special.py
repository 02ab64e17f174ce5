"""Which tokens of a GGUF are cut out of a text before it is split: control tokens and those that a user defined.

Follows llama.cpp, which corrects the types that a file states by the texts of the tokens: many converters marked
`<|im_end|>` as an ordinary token. Cost: a few look-ups of texts.
"""

from __future__ import annotations

from typing import NamedTuple

from neurolocal.subject.tokenizers.gguf_fields import CONTROL, NORMAL, UNKNOWN, USER_DEFINED, GGUFVocabulary

ENDS = (
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>",
    "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>", "<end_of_utterance>",
    "<eos>", "<turn|>", "<|tool_response>", "<｜end▁of▁sentence｜>", "[e~[",
)  # fmt: skip
"""Texts of tokens that end a generation; they are control tokens whatever the file says."""

MIDDLES: dict[tuple[str, ...], tuple[str, ...]] = {
    ("fim_pre", "prefix"): (
        "<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>", "<|code_prefix|>",
        "<|prefix|>",
    ),
    ("fim_suf", "suffix"): (
        "<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>", "<|code_suffix|>",
        "<|suffix|>",
    ),
    ("fim_mid", "middle"): (
        "<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>", "<|code_middle|>",
        "<|middle|>",
    ),
    ("fim_pad",): ("<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"),
    ("fim_rep",): ("<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"),
    ("fim_sep",): ("<|file_sep|>",),
}  # fmt: skip
"""Keys of the tokens of fill-in-the-middle, and the texts by which these are found where the file has no such key."""

HARMONY = ("<|channel|>", "<|message|>", "<|start|>", "<|constrain|>")
"""Texts that llama.cpp always cuts out, also where control tokens are plain text."""


class SpecialTokens(NamedTuple):
    """The ids that are cut out of a text, by kind."""

    control: frozenset[int]
    """Control tokens and the unknown token: cut out only where control tokens are parsed."""
    user: frozenset[int]
    """Cut out always."""
    lstrip: frozenset[int]
    """Those that take the white space before them with them."""
    rstrip: frozenset[int]
    """Those that take the white space behind them with them."""


def special_tokens(vocabulary: GGUFVocabulary) -> SpecialTokens:
    """The tokens of a vocabulary that are cut out of a text."""
    v = vocabulary
    types = v.types.copy()
    ids = {token: i for i, token in enumerate(v.tokens)}
    control = {i for i, kind in enumerate(types.tolist()) if kind in (CONTROL, UNKNOWN)}
    for keys, texts in MIDDLES.items():
        stated = (v.more.get(f"tokenizer.ggml.{key}_token_id") for key in keys)
        if not any(isinstance(i, int) and 0 <= i < len(v.tokens) for i in stated):
            control |= {ids[text] for text in texts if text in ids}
    control |= {ids[text] for text in ENDS if text in ids}
    for text in _always(ids):
        types[ids[text]] = USER_DEFINED
        control.discard(ids[text])
    if "</s>" in ids and ("<|tool_response>" in ids or _is_end(v, "<|plamo:eos|>")):
        types[ids["</s>"]] = NORMAL
        control.discard(ids["</s>"])
    user = {i for i, kind in enumerate(types.tolist()) if kind == USER_DEFINED} - control
    lstrip, rstrip = _strips(v, ids, control | user)
    return SpecialTokens(frozenset(control), frozenset(user), frozenset(lstrip), frozenset(rstrip))


def _always(ids: dict[str, int]) -> list[str]:
    """The texts that are cut out always, of gpt-oss and Solar."""
    called = "<|call|>" in ids or "<|calls|>" in ids
    end = "<|end|>" in ids and called and ("<|return|>" in ids or "<|flush|>" in ids)
    return [text for text in (*HARMONY, *(("<|end|>",) if end else ())) if text in ids]


def _is_end(v: GGUFVocabulary, text: str) -> bool:
    return "eos" in v.ids and v.tokens[v.ids["eos"]] == text


def _strips(v: GGUFVocabulary, ids: dict[str, int], cut: set[int]) -> tuple[set[int], set[int]]:
    """The tokens that take white space with them; the file does not say so, the model's name does."""
    name = str(v.more.get("general.name", "")).lower()
    architecture = str(v.more.get("general.architecture", ""))
    jina = any(one in (v.pre or "") for one in ("jina-v2-de", "jina-v2-es", "jina-v2-code"))
    if jina or any(one in architecture for one in ("nomic-bert-moe", "jina-bert-v3")):
        return {ids["<mask>"]} if "<mask>" in ids else set(), set()
    if "phi-3" in name or "phi3" in name:
        return set(), cut - {ids[text] for text in ("<unk>", "<s>", "<|endoftext|>") if text in ids}
    if "modern-bert" in name:
        return {ids["[MASK]"]} if "[MASK]" in ids else set(), set()
    return set(), set()
