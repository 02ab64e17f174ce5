"""A row's keys and values, reused by many passes of branches, and the attention mask of these passes.

Invariant: the first pass has the prefix, and every pass writes the keys and values of its branches after it, where the
next pass overwrites them; the prefix is never copied or cut. transformers (5.23, `masking_utils`) passes a 4-D mask on
unchanged, and takes a mapping of masks by kind of layer where a model has several kinds.
Cost: a buffer of (prefix + room) keys and values a layer; a mask of tokens x (prefix + tokens).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from neurolocal.subject.batches import upload
from neurolocal.subject.model import Subject

BranchPlace: TypeAlias = tuple[int, tuple[int, ...]]
"""(position where a branch begins, its token ids)."""


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
    """The tokens of one pass. Its keys are those of the prefix, then those of the branches."""

    tokens: Int[Tensor, "token"]
    """Ids, branch after branch; in a row's first pass, the prefix before them."""
    position: Int[Tensor, "token"]
    """Position of each in its row."""
    sees: Bool[Tensor, "token key"]
    """The keys that each token attends to: the row before its branch, and its branch up to itself."""
    distance: Int[Tensor, "token key"]
    """Positions between the two."""


def side_by_side(
    places: Sequence[BranchPlace], prefix: Int[Tensor, "prefix"], *, first: bool, device: torch.device
) -> BranchBatch:
    """Put the branches of one pass after a prefix.

    Args:
        places: the branches.
        prefix: the row's ids before the last branch's position.
        first: whether the prefix is not in the cache yet and runs in the same pass. A pass of few tokens costs as much
            as reading the weights, so this saves one for every row.
        device: where the model is.
    """
    n, widths = len(prefix), np.array([len(own) for _, own in places])
    ids = np.array([t for _, own in places for t in own])
    begins, numbers = np.array([p for p, _ in places]), np.arange(len(places))
    within = np.arange(len(ids)) - np.repeat(np.cumsum(widths) - widths, widths)
    columns = np.stack([ids, np.repeat(begins, widths), np.repeat(numbers, widths), within]).astype(np.int64)
    tokens, starts, branch, within = upload(columns, device)
    position = starts + within
    row = torch.arange(n, device=device)
    own = (branch[:, None] == branch[None]) & (within[:, None] >= within[None])
    sees = torch.cat([row[None] < starts[:, None], own], dim=1)
    keys = torch.cat([row, position])
    if first:
        causal = torch.nn.functional.pad(row[:, None] >= row[None], (0, len(tokens)))
        tokens, position = torch.cat([upload(prefix, device), tokens]), keys
        sees = torch.cat([causal, sees])
    return BranchBatch(tokens, position, sees, position[:, None] - keys[None])


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


def _additive(sees: Bool[Tensor, "token key"], dtype: torch.dtype) -> Tensor:
    hidden = torch.full((), torch.finfo(dtype).min, dtype=dtype, device=sees.device)
    return torch.where(sees, torch.zeros((), dtype=dtype, device=sees.device), hidden)[None, None]
