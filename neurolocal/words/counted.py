"""Counted positions: which positions of a row compete and enter the statistics (FORMAT.md, "Rows").

Invariant: padding never counts; a prepended BOS counts only with `count_bos`; special tokens count unless
`skip_special` is set. Cost: two reads of the tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64, Integer


def counted_positions(
    tokens: Integer[np.ndarray, "row pos"],
    length: Int64[np.ndarray, "row"],
    *,
    special: Bool[np.ndarray, "d_vocab"],
    config: Mapping[str, Any],
) -> Bool[np.ndarray, "row pos"]:
    """Which positions are counted.

    Args:
        tokens: ids; positions from `length` on are padding.
        length: tokens of each row.
        special: whether each token id is a control token.
        config: settings of the collection, as in the manifest; `bos`, `count_bos` and `skip_special` are read.
    """
    counted = np.arange(tokens.shape[1])[None] < length[:, None]
    if config.get("skip_special"):
        counted &= ~special[tokens]
    if config.get("bos") == "prepend":
        counted[:, :1] = bool(config.get("count_bos"))
    return counted
