"""A row's keys and values, reused by many passes of branches, and the attention mask of these passes.

Invariant: the first pass of a row has the prefix, and every pass writes the keys and values of its branches after it,
where the next pass overwrites them; the prefix is never copied or cut. transformers (5.23, `masking_utils`) passes a
4-D mask on unchanged, and takes a mapping of masks by kind of layer where a model has several kinds.
Rows whose branches fit into one pass need no buffer and run together, a line of the batch each.
Cost: a buffer of (prefix + room) keys and values a layer; a mask of (prefix + tokens) squared a line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int, Int64
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from neurolocal.subject.batches import upload
from neurolocal.subject.branches import BranchPlace
from neurolocal.subject.model import Subject

PREFIX, PADDING = -1, -2
"""In place of a branch's number."""


class _RowLayer(DynamicLayer):
    """Keys and values of one layer: the prefix stays, the rest is overwritten by the next pass."""

    def __init__(self, prefix: int, room: int) -> None:
        super().__init__()
        self.prefix, self.room = prefix, room

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        start = self.prefix if self.is_initialized else 0
        if not self.is_initialized:
            length = self.prefix + self.room
            self.keys = key_states.new_empty((*key_states.shape[:-2], length, key_states.shape[-1]))
            self.values = value_states.new_empty((*value_states.shape[:-2], length, value_states.shape[-1]))
            self.is_initialized = True
        assert self.keys is not None
        assert self.values is not None
        end = start + key_states.shape[-2]
        self.keys[..., start:end, :] = key_states
        self.values[..., start:end, :] = value_states
        return self.keys[..., :end, :], self.values[..., :end, :]

    def get_seq_length(self) -> int:
        return self.prefix if self.is_initialized else 0


class RowCache(Cache):
    """The keys and values of a row's prefix, with room after it for one pass of branches."""

    def __init__(self, prefix: int, *, room: int) -> None:
        super().__init__(layers=[])
        self._make = lambda: _RowLayer(prefix, room)

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write a layer's new keys and values after the prefix, and return both together."""
        while len(self.layers) <= layer_idx:
            self.layers.append(self._make())
        return super().update(key_states, value_states, layer_idx, *args, **kwargs)


class BranchBatch(NamedTuple):
    """The tokens of one pass, a line a row: its prefix, then its branches, then padding."""

    tokens: Int[Tensor, "line token"]
    """Ids."""
    position: Int[Tensor, "line token"]
    """Position of each in its row; 0 for padding."""
    sees: Bool[Tensor, "line token key"]
    """The keys that each token attends to: the row before its branch, and its branch up to itself. A key a token of the
    line, also where the prefix itself does not run again."""
    distance: Int[Tensor, "line token key"]
    """Positions between the two."""

    def without_prefix(self, n: int) -> BranchBatch:
        """The same pass where the keys and values of the first n tokens are in the cache already."""
        return BranchBatch(self.tokens[:, n:], self.position[:, n:], self.sees[:, n:], self.distance[:, n:])


def side_by_side(
    lines: Sequence[tuple[Int64[np.ndarray, "_"], Sequence[BranchPlace]]], device: torch.device
) -> BranchBatch:
    """Put the branches of one or several rows behind their prefixes.

    Args:
        lines: of each row the ids before its last branch's position, and its branches.
        device: where the model is.
    """
    longest = max(len(prefix) + sum(len(own) for _, own in places) for prefix, places in lines)
    columns = np.zeros((4, len(lines), longest), np.int64)
    for i, (prefix, places) in enumerate(lines):
        columns[:, i] = _line(prefix, places, longest)
    tokens, position, start, branch = upload(columns, device)
    distance = position[:, :, None] - position[:, None]
    in_prefix = (branch == PREFIX)[:, None] & (position[:, None] < start[:, :, None])
    in_branch = (branch[:, :, None] == branch[:, None]) & (branch >= 0)[:, None] & (distance >= 0)
    itself = torch.eye(longest, dtype=torch.bool, device=tokens.device)  # a row of a mask without any key is undefined
    return BranchBatch(tokens, position, in_prefix | in_branch | itself, distance)


def _line(
    prefix: Int64[np.ndarray, "prefix"], places: Sequence[BranchPlace], longest: int
) -> Int64[np.ndarray, "4 token"]:
    """Ids, positions, first position that is not seen of the prefix, and number of the branch of a line's tokens."""
    n, widths = len(prefix), np.array([len(own) for _, own in places], np.int64)
    ids = np.array([t for _, own in places for t in own], np.int64)
    begins = np.repeat(np.array([p for p, _ in places], np.int64), widths)
    within = np.arange(len(ids)) - np.repeat(np.cumsum(widths) - widths, widths)
    found = np.zeros((4, longest), np.int64)
    found[3] = PADDING
    found[:, :n] = prefix, np.arange(n), np.arange(1, n + 1), np.full(n, PREFIX)
    found[:, n : n + len(ids)] = ids, begins + within, begins, np.repeat(np.arange(len(places)), widths)
    return found


def mask(subject: Subject, beside: BranchBatch) -> Any:
    """The additive 4-D mask of a pass; by kind of layer where some have a sliding window.

    Additive in the model's dtype, because eager attention adds the mask and only SDPA takes a boolean one.
    """
    config = subject.model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or ["sliding_attention"])
    full = _additive(beside.sees, subject.dtype)
    if window is None or kinds == {"full_attention"}:
        return full
    near = _additive(beside.sees & (beside.distance < window), subject.dtype)
    return near if kinds == {"sliding_attention"} else {"full_attention": full, "sliding_attention": near}


def _additive(sees: Bool[Tensor, "line token key"], dtype: torch.dtype) -> Tensor:
    hidden = torch.full((), torch.finfo(dtype).min, dtype=dtype, device=sees.device)
    return torch.where(sees, torch.zeros((), dtype=dtype, device=sees.device), hidden)[:, None]
