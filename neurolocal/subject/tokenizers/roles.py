"""Which token begins a text, which ends it, and which are control tokens: from the config files beside a tokenizer.

Invariant: a role is an id that the tokenizer has. What the files don't state follows from the tokenizer's class in
transformers, whose code is read for its defaults alone. Cost: reading three small files.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""The roles of Hugging Face's tokenizers."""

LISTS = ("additional_special_tokens", "extra_special_tokens")
"""Further control tokens."""

USUAL = {"bos_token": ("<|BOS|>", "<s>", "<|endoftext|>"), "eos_token": ("<|EOS|>", "</s>", "<|endoftext|>")}
"""The texts by which the ends of a text are recognised where no file states them."""


class Roles(NamedTuple):
    """The control tokens of a tokenizer, by their texts."""

    bos: str | None
    """Begins a text."""
    eos: str | None
    """Ends a text."""
    control: tuple[str, ...]
    """All texts that have a role."""
    chat_template: str | None = None
    """The Jinja template that writes a conversation as one text."""


def read_roles(folder: Path, has: Callable[[str], bool]) -> Roles:
    """The roles that a folder's files state, or that follow from the named class.

    Args:
        folder: with `tokenizer_config.json`, `special_tokens_map.json`, or neither.
        has: whether the tokenizer has a token of this text.
    """
    there = _json(folder / "special_tokens_map.json") | _json(folder / "tokenizer_config.json")
    stated = {name: _content(there[name]) for name in NAMES if name in there}
    if not there:
        usual = {name: next(filter(has, texts), None) for name, texts in USUAL.items()}
        stated |= usual
    else:
        defaults = _class_defaults(there, folder)
        stated |= {name: defaults.get(name) for name in NAMES if name not in stated}
    found = {name: text for name, text in stated.items() if text is not None and has(text)}
    listed = [_content(one) for name in LISTS for one in _values(there.get(name))]
    control = dict.fromkeys([*found.values(), *[text for text in listed if text is not None and has(text)]])
    return Roles(found.get("bos_token"), found.get("eos_token"), tuple(control), _chat_template(folder, there))


def added_tokens(folder: Path) -> dict[int, tuple[str, bool]]:
    """Tokens that the config files add to a vocabulary, by id: the text, and whether it is a control token."""
    found: dict[int, tuple[str, bool]] = {}
    for text, i in _json(folder / "added_tokens.json").items():
        if type(i) is int:
            found[i] = (text, False)
    for i, one in _dict(_json(folder / "tokenizer_config.json").get("added_tokens_decoder")).items():
        if i.isascii() and i.isdigit() and (text := _content(one)) is not None:
            found[int(i)] = (text, bool(_dict(one).get("special")))
    return dict(sorted(found.items()))


def names_a_model(folder: Path) -> bool:
    """Whether a folder's config.json states a kind of model of transformers."""
    return "model_type" in _json(folder / "config.json")


def _class_defaults(there: dict[str, Any], folder: Path) -> dict[str, str]:
    """The roles that the tokenizer's class in transformers gives where the files state none."""
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES, tokenizer_class_from_name

    name = there.get("tokenizer_class") or TOKENIZER_MAPPING_NAMES.get(
        str(_json(folder / "config.json").get("model_type"))
    )
    if not isinstance(name, str):
        return {}
    try:
        known = tokenizer_class_from_name(name)
        parameters = inspect.signature(known.__init__).parameters if known is not None else {}
    except Exception:  # a class of another package, or one that is not installed
        return {}
    return {role: p.default for role, p in parameters.items() if role in NAMES and isinstance(p.default, str)}


def _chat_template(folder: Path, there: dict[str, Any]) -> str | None:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8", errors="replace")
    template = there.get("chat_template")
    if isinstance(template, list):  # several, by name
        named = {one.get("name"): one.get("template") for one in template if isinstance(one, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None


def _content(value: Any) -> str | None:
    """The text of a token, which is written as a text or as an object with `content`."""
    value = value.get("content") if isinstance(value, dict) else value
    return value if isinstance(value, str) else None


def _values(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _json(path: Path) -> dict[str, Any]:
    """An object from a file; empty where there is none."""
    try:
        return _dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):
        return {}
