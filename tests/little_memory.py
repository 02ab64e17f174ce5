"""A subject whose passes run out of memory above a number of rows, as on a GPU that is too small."""

from __future__ import annotations

import pytest
import torch

from neurolocal.subject import Subject


def rows_at_most(monkeypatch: pytest.MonkeyPatch, n: int) -> list[int]:
    """Let every subject run out of memory above n rows, in the middle of a pass; gives the rows of each pass."""
    sizes: list[int] = []
    read = Subject.read

    def small(self, tokens, readers, **more) -> None:
        sizes.append(len(tokens))
        if len(tokens) > n:
            first = min(readers)
            read(self, tokens, {first: readers[first]}, **more)  # the first layer is read before memory is exhausted
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        read(self, tokens, readers, **more)

    monkeypatch.setattr(Subject, "read", small)
    return sizes
