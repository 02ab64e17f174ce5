"""What our own pages state about the store that they were made from: which facts there are, and how each is checked.

Invariant: a fact of an unexpected type or range makes its page a problem; nothing unchecked enters a store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

CONVENTIONS = (
    *("site", "side", "dtype", "bos", "count_bos", "skip_special", "subject", "tokenizer", "n_layers", "d_mlp"),
)
"""Facts that must be equal on all pages of one export."""


def damaged_fact(own: Mapping[str, object]) -> str | None:
    """The name of the first fact that cannot be right; None if all can."""
    return next((name for name, value in own.items() if not _CHECKS.get(name, _anything)(value)), None)


def _anything(_: object) -> bool:
    return True


def _flag(value: object) -> bool:
    return value is None or type(value) is bool


def _name(value: object) -> bool:
    return value is None or (type(value) is str and value.isascii())


def _size(value: object) -> bool:
    return value is None or (type(value) is int and 0 < value < 1 << 31)


def _strings(value: object) -> bool:
    return type(value) is list and all(type(s) is str for s in value)


_CHECKS: dict[str, Callable[[object], bool]] = {
    **dict.fromkeys(("site", "side", "subject", "tokenizer"), _name),
    **dict.fromkeys(("count_bos", "skip_special"), _flag),
    "n_layers": _size,
    "d_mlp": lambda value: value is None or (type(value) is list and all(map(_size, value)) and None not in value),
    "dtype": lambda value: value in (None, "float32", "bfloat16", "float16"),
    "bos": lambda value: value in (None, "prepend", "none"),
    "special": _strings,
    "damaged": lambda value: False,
}
