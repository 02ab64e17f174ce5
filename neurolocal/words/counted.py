"""Which positions of a row compete and are counted: the rule of FORMAT.md, "Rows".

Invariant: padding never counts; a prepended BOS only with `count_bos`; special tokens only without `skip_special`.
Cost: two reads of the tokens.
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
    """The positions that count.

    Args:
        tokens: ids; what is behind `length` is padding.
        length: tokens of each row.
        special: whether each token id is a control token.
        config: of the collection, as the manifest holds it: `bos`, `count_bos` and `skip_special` are read.
    """
    counted = np.arange(tokens.shape[1])[None] < length[:, None]
    if config.get("skip_special"):
        counted &= ~special[tokens]
    if config.get("bos") == "prepend":
        counted[:, :1] = bool(config.get("count_bos"))
    return counted
