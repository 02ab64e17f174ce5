"""Reading what only a store imported from another site's pages has: `neuroscope/{site}/{layer}/`, here called `base`.

Invariant: each function returns what FORMAT.md describes, or raises a StoreError that names the dataset at fault.
Cost: a layer's columns are read whole, the activations of whole rows for one neuron at a time.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from neurolocal.records import PageLists
from neurolocal.store.checked import CheckedFile


def read_page_lists(file: CheckedFile, base: str, *, shape: tuple[int, int]) -> PageLists | None:
    """What the pages state beyond the examples; None where the store was not imported from pages.

    Args:
        file: the store.
        base: of the layer.
        shape: (neuron, k) of the layer's `largest` lists.
    """
    if not file.has(base):
        return None
    types = {"text": "i4", "largest": "f8", "smallest": "f8"}
    columns = {name: file.array(f"{base}/{name}", kind, shape=shape) for name, kind in types.items()}
    columns |= {name: file.array(f"{base}/{name}", "f8", shape=shape[:1]) for name in ("range", "maximum")}
    trusted = file.array(f"{base}/trusted", "u1", shape=shape[:1])
    return PageLists(**columns, trusted=trusted.astype(bool))


def read_page_activations(
    file: CheckedFile, base: str, at: int, *, shape: tuple[int, int, int]
) -> Float32[np.ndarray, "k pos"]:
    """The activations over the whole row of each example of one neuron.

    Args:
        file: the store.
        base: of the layer.
        at: where the neuron is in the layer's arrays.
        shape: (neuron, k, pos) of the whole dataset.
    """
    name = f"{base}/activation"
    found = file.dataset(name, "f4", 3)
    if found.shape != shape:
        raise file.bad(f"{name} has the shape {found.shape}")
    with file.reading(name):
        return found[at]


def read_problems(file: CheckedFile) -> list[str]:
    """What could not be read of the pages, one line each."""
    return file.texts("neuroscope", "problems") if file.has("neuroscope/problems") else []
