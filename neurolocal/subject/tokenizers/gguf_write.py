"""The tokenizer inside a GGUF file -> a folder with `tokenizer.json` or `tokenizer.model`, as other tokenizers have.

Invariant: the ids of a text are llama.cpp's, or the file is refused with the name of what is not known; tests compare
each kind with llama.cpp. Cost: reading the metadata, and writing about the vocabulary's size.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from neurolocal.errors import SubjectError
from neurolocal.subject.tokenizers.gguf_bpe import OTHERWISE, added_tokens, bpe_json
from neurolocal.subject.tokenizers.gguf_fields import GGUFVocabulary, read_vocabulary
from neurolocal.subject.tokenizers.gguf_pieces import role_ids, sentencepiece_model
from neurolocal.subject.tokenizers.gguf_wordpiece import wordpiece_json

KINDS = ("gpt2", "gemma4", "whitespace", "llama", "t5", "bert")
"""The kinds of vocabulary that can be written; llama.cpp also knows rwkv, plamo2 and hybriddna."""


def write_gguf_tokenizer(path: Path, folder: Path) -> None:
    """Write a GGUF's tokenizer into a folder, with `tokenizer_config.json` beside it.

    Raises:
        SubjectError: the file is damaged, has no tokenizer, or one that is not known here.
    """
    v = read_vocabulary(path)
    where = str(path)
    if v.model not in KINDS:
        raise SubjectError(
            f'reading the tokenizer of {where}: its vocabulary is of the kind "{v.model[:80]}", expected one of '
            f"{', '.join(KINDS)}. {OTHERWISE}"
        )
    if v.model in ("llama", "t5"):
        (folder / "tokenizer.model").write_bytes(sentencepiece_model(v, where=where))
    else:
        written = wordpiece_json(v, where=where) if v.model == "bert" else bpe_json(v, where=where)
        _write(folder / "tokenizer.json", written)
    _write(folder / "tokenizer_config.json", _config(v))


def _config(v: GGUFVocabulary) -> dict[str, Any]:
    """The roles, the chat template, and the tokens that are cut out of a text beside those that a model file states."""
    roles = {f"{role}_token": v.tokens[i] for role, i in role_ids(v).items()}
    template = v.more.get("tokenizer.chat_template")
    stated: dict[str, Any] = roles | ({"chat_template": template} if isinstance(template, str) else {})
    for flag in ("add_bos_token", "add_eos_token"):
        if isinstance(v.more.get(f"tokenizer.ggml.{flag}"), bool):
            stated[flag] = v.more[f"tokenizer.ggml.{flag}"]
    if v.model in ("llama", "t5"):
        stated["added_tokens_decoder"] = {str(one.pop("id")): one for one in added_tokens(v)}
    return stated


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
