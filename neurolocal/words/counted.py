"""Counted positions: which positions of a row compete and enter the statistics (FORMAT.md, "Rows").

Invariant: padding never counts; a prepended BOS counts only with `count_bos`; special tokens count unless
`skip_special` is set; where `count_roles` is set, only the messages of these roles count. Cost: two reads of the
tokens.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64, Integer

from neurolocal.provenance import Parts, role_of


def counted_positions(
    tokens: Integer[np.ndarray, "row pos"],
    length: Int64[np.ndarray, "row"],
    *,
    special: Bool[np.ndarray, "d_vocab"],
    config: Mapping[str, Any],
    parts: Parts | None = None,
) -> Bool[np.ndarray, "row pos"]:
    """Which positions are counted.

    Args:
        tokens: ids; positions from `length` on are padding.
        length: tokens of each row.
        special: whether each token id is a control token.
        config: settings of the collection, as in the manifest; `bos`, `count_bos`, `skip_special` and `count_roles` are
            read.
        parts: what the rows are made of; needed for `count_roles`.
    """
    counted = np.arange(tokens.shape[1])[None] < length[:, None]
    if config.get("skip_special"):
        counted &= ~special[tokens]
    if config.get("count_roles") is not None:
        assert parts is not None, "count_roles needs the parts of the rows"
        counted &= of_roles(parts, config["count_roles"], tokens.shape[1])
    if config.get("bos") == "prepend":
        counted[:, :1] = bool(config.get("count_bos"))
    return counted


def of_roles(parts: Parts, roles: Collection[str], n: int) -> Bool[np.ndarray, "row pos"]:
    """Which positions belong to messages of these roles, in rows of n tokens."""
    good = np.array([role_of(name) in roles for name in parts.subsets], bool)
    ends = np.append(parts.position[1:], 0).astype(np.int64)
    ends[parts.offsets[1:] - 1] = n
    return np.repeat(good[parts.subset], ends - parts.position).reshape(len(parts), n)
