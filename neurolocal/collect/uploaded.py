"""What of a batch is the same for all layers, on a device: uploaded once, from pinned memory, in one copy.

Invariant: the host does not wait; the copy is ordered before the kernels that read it.
Cost: 16 bytes a row, 8 a run, drawn and entering position, and a byte a position; with `dedupe` 8 bytes a position.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from neurolocal.collect.sample import Draw


class Uploaded(NamedTuple):
    """A batch's rows, counted positions and drawn positions as tensors on a device."""

    rows: Int64[Tensor, "batch"]
    rank: Int64[Tensor, "batch"]
    """`bands.ranks` of the rows."""
    runs: Int64[Tensor, "batch run 2"]
    """The counted positions of each row as half-open ranges."""
    n_runs: Int64[Tensor, "batch"]
    """How many ranges each row has."""
    drawn: Int64[Tensor, "drawn 2"]
    """Row within the batch, and position, of each position that the histogram counts."""
    entering: Int64[Tensor, "entering 2"]
    """The same of the positions that enter the sample."""
    slots: Int64[Tensor, "entering"]
    """Slot of the sample in which each replaces what was there."""
    text: Int64[Tensor, "batch texts"]
    """What names the text up to each position; (batch, 0) without `dedupe`."""
    mask: Bool[Tensor, "batch pos"]
    """Whether each position is counted."""


def upload(
    device: torch.device,
    *,
    rows: Int64[np.ndarray, "batch"],
    rank: Int64[np.ndarray, "batch"],
    runs: Int64[np.ndarray, "batch run 2"],
    n_runs: Int64[np.ndarray, "batch"],
    drawn: Draw,
    text: Int64[np.ndarray, "batch texts"],
    mask: Bool[np.ndarray, "batch pos"],
) -> Uploaded:
    """Copy a batch to a device."""
    numbers = (rows, rank, runs, n_runs, drawn.histogram, drawn.entering, drawn.slots, text)
    sizes = [array.size for array in numbers]
    host = torch.empty(sum(sizes) + -(-mask.size // 8), dtype=torch.int64, pin_memory=device.type == "cuda")
    view, at = host.numpy(), 0
    for array, size in zip(numbers, sizes, strict=True):
        view[at : at + size] = array.ravel()
        at += size
    view[at:].view(np.bool_)[: mask.size] = mask.ravel()
    there = host.to(device, non_blocking=True)
    pieces = there.split([*sizes, len(there) - at])
    shaped = [piece.view(array.shape) for piece, array in zip(pieces, numbers, strict=False)]
    return Uploaded(*shaped, pieces[-1].view(torch.bool)[: mask.size].view(mask.shape))  # pyright: ignore[reportCallIssue]
