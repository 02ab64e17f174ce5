"""Where the parts of a model go with `--device auto`: on one GPU where they fit, else by layers over all there are.

Invariant: a block of the model is never split, since its residual stream would cross devices in the middle; a layer's
activations are where its block is (`Subject.device_of`). A model that fits on one GPU is not spread: its passes would
wait at every boundary. Room is left on each GPU for lists and batches as long as the model leaves any.
How: accelerate says what is free, and transformers makes the map from it and from the model's no-split modules.
Cost: building the model without weights once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from neurolocal.subject.folder import weight_files
from neurolocal.subject.quantised import DEQUANTISED, quantisation

FITS = 0.6
"""Share of a GPU's free memory that the weights of a model may take alone; the rest is for lists and batches."""

SPREAD = 0.8
"""Share of every GPU's free memory that is filled where the model is spread, if that suffices."""


def placement(kind: Any, config: Any, folder: Path, dtype: torch.dtype) -> dict[str, Any]:
    """The arguments of `from_pretrained` that place a model's parts on the devices of this machine.

    Args:
        kind: transformers' class of the model.
        config: its config.
        folder: its files.
        dtype: of its weights.
    """
    from accelerate.utils import get_max_memory

    return placed(weight_bytes(kind, config, folder, dtype), get_max_memory())


def placed(size: int, free: Mapping[int | str, int]) -> dict[str, Any]:
    """The same for weights of so many bytes, and the free bytes of each GPU (by number) and of `cpu`."""
    gpus = {device: n for device, n in free.items() if isinstance(device, int)}
    if not gpus:
        return {"device_map": "auto"}  # memory, and what does not fit there on the disk
    best = max(gpus, key=lambda device: (gpus[device], -device))
    if size <= FITS * gpus[best]:
        return {"device_map": {"": best}}
    share = SPREAD if size <= SPREAD * sum(gpus.values()) else 1.0
    rest = {device: n for device, n in free.items() if device not in gpus}
    return {"device_map": "auto", "max_memory": {device: int(share * n) for device, n in gpus.items()} | rest}


def weight_bytes(kind: Any, config: Any, folder: Path, dtype: torch.dtype) -> int:
    """Bytes of a model's weights in memory; of quantised ones that stay so, of their files."""
    method = quantisation(config)
    if method is not None and method not in DEQUANTISED:
        return sum(path.stat().st_size for path in weight_files(folder))
    with torch.device("meta"):
        model = kind(config)
    return sum(part.numel() for part in model.parameters()) * dtype.itemsize
