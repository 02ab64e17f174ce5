"""Where the parts of a model go with `--device auto`: on one GPU where they fit, else by layers over all there are.

What fits on no GPU stays in the host's memory, and what does not fit there on the disk.

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

from neurolocal.errors import SubjectError
from neurolocal.machine import free_bytes
from neurolocal.subject.folder import weight_files
from neurolocal.subject.quantised import DEQUANTISED, quantisation

FITS = 0.6
"""Share of a GPU's free memory that the weights of a model may take alone; the rest is for lists and batches."""

SPREAD = 0.8
"""Share of every GPU's free memory that is filled where the model is spread, if that suffices."""


HOST = 0.6
"""Share of the host's free memory that weights may take; the rest is for lists, token rows and batches."""


def placement(kind: Any, config: Any, folder: Path, dtype: torch.dtype, spill: Path) -> dict[str, Any]:
    """The arguments of `from_pretrained` that place a model's parts on the devices of this machine.

    Args:
        kind: transformers' class of the model.
        config: its config.
        folder: its files.
        dtype: of its weights.
        spill: a folder for weights that stay on the disk in another form than their files have.
    """
    from accelerate.utils import get_max_memory

    free = get_max_memory()
    left = free_bytes()
    if left is not None:
        free["cpu"] = min(free.get("cpu", left), left)
    return placed(weight_bytes(kind, config, folder, dtype), free, spill=spill)


def placed(size: int, free: Mapping[int | str, int], *, spill: Path) -> dict[str, Any]:
    """The same for weights of so many bytes, and the free bytes of each GPU (by number) and of `cpu`."""
    gpus = {device: n for device, n in free.items() if isinstance(device, int)}
    host = {"cpu": int(HOST * free.get("cpu", 0))}
    if not gpus and size <= host["cpu"]:
        return {}
    best = max(gpus, key=lambda device: (gpus[device], -device)) if gpus else None
    if best is not None and size <= FITS * gpus[best]:
        return {"device_map": {"": best}}
    share = SPREAD if size <= SPREAD * sum(gpus.values()) else 1.0
    room = {device: int(share * n) for device, n in gpus.items()} | host
    return {"device_map": "auto", "max_memory": room, "offload_folder": str(spill)}


def require_room(size: int, free: int | None, folder: Path) -> None:
    """Refuse weights that are larger than the memory that this process may take: the system would end it.

    Raises:
        SubjectError: they are.
    """
    if free is not None and size > free:
        raise SubjectError(
            f"loading the subject {folder}: its weights take {size / 2**30:,.1f} GiB of memory, and this process may "
            f"take {free / 2**30:,.1f} more. `--device auto` leaves on the disk what does not fit, and reads it again "
            "for every batch; --dtype bfloat16 halves it."
        )


def require_experts_in_memory(subject: Any) -> None:
    """Refuse a model of which experts stay on the disk: what transformers reads back of them is not what it wrote.

    Raises:
        SubjectError: it has such experts.
    """
    on_disk = "disk" in (getattr(subject.model, "hf_device_map", None) or {}).values()
    if on_disk and any(part.is_meta for one in subject.expert_layers.values() for part in one.experts.parameters()):
        raise SubjectError(
            f"loading the subject {subject.name}: it has experts that fit neither on a GPU nor in memory, and experts "
            "cannot be read from the disk for every batch. Use a machine with more memory; --dtype bfloat16 halves it."
        )


def placement_line(subject: Any) -> str | None:
    """What the user should know where a model is in several places; None where it is in one."""
    parts = [(part.numel() * part.element_size(), part.is_meta) for part in subject.model.parameters()]
    away, size = sum(n for n, apart in parts if apart), sum(n for n, _ in parts)
    devices = subject.devices
    if away:
        return (
            f"{away / 2**30:,.2f} of the {size / 2**30:,.2f} GiB of the weights of {subject.name} do not fit on "
            f"{', '.join(map(str, devices))}. They are read again for every batch, from the disk or the host's memory, "
            "which is slow: a larger --batch-size reads them less often"
        )
    if len(devices) == 1:
        return None
    layers = [[i for i in range(subject.n_layers) if subject.device_of(i) == device] for device in devices]
    where = "; ".join(
        f"layers {own[0]} to {own[-1]} on {device}" for own, device in zip(layers, devices, strict=True) if own
    )
    return f"{subject.name} is spread by layers, one device working at a time: {where}"


def weight_bytes(kind: Any, config: Any, folder: Path, dtype: torch.dtype) -> int:
    """Bytes of a model's weights in memory; of quantised ones that stay so, of their files."""
    method = quantisation(config)
    if method is not None and method not in DEQUANTISED:
        return sum(path.stat().st_size for path in weight_files(folder))
    with torch.device("meta"):
        model = kind(config)
    return sum(part.numel() for part in model.parameters()) * dtype.itemsize
