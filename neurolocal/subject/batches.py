"""How much of a job one forward pass takes, and how tensors go to the subject's devices and come back.

Invariant: every item is run once and in order, whatever a pass holds. A pass that ran out of memory leaves nothing
behind: its result is the return value of one call, which is made again with fewer items.
How: on a CPU a pass has as many items as the caller says. On a GPU the first pass does, too, and its memory is
measured; the next ones have as many as half of the free memory holds, in powers of two. Out of memory halves a pass;
one line says so, and it stays that small.
Cost: on a GPU four queries of the allocator a pass; no synchronisation but that of the results.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from neurolocal.errors import SubjectError, first_line

Item = TypeVar("Item")
Result = TypeVar("Result")

PASS_TOKENS = 32_768
"""Most tokens of a pass that is sized by free memory: a GPU is no faster with more."""

SHARE = 0.5
"""Share of the free memory that such a pass may take, as its predecessors' memory predicts."""

EXHAUSTED = ("DefaultCPUAllocator", "MPS backend out of memory", "not enough memory")
"""What the messages of other errors contain where memory ran out: torch's on a CPU and on mps are RuntimeErrors."""

log = logging.getLogger(__name__)


@runtime_checkable
class RunsOnDevices(Protocol):
    """A subject, as far as its batches are concerned."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def devices(self) -> Sequence[torch.device]: ...  # noqa: D102


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device's memory did not suffice."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(part in str(error) for part in EXHAUSTED)


def release() -> None:
    """Give back what a failed pass left: the cycles of its traceback, and the allocator's unused blocks."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class PassMemory:
    """The memory of forward passes on CUDA and ROCm devices, measured; on other devices nothing is known."""

    def __init__(self, devices: Sequence[torch.device]) -> None:
        """Name the devices that take part."""
        self._devices = [device for device in devices if device.type == "cuda"]
        self._before: dict[torch.device, int] = {}

    def begin(self) -> None:
        """Begin to measure a pass."""
        for device in self._devices:
            torch.cuda.reset_peak_memory_stats(device)
            self._before[device] = torch.cuda.memory_allocated(device)

    def peaks(self) -> dict[torch.device, int]:
        """By device, the most bytes beyond those at `begin`."""
        return {device: torch.cuda.max_memory_allocated(device) - n for device, n in self._before.items()}

    def free(self) -> dict[torch.device, int]:
        """By device, the bytes that a pass may still take: what the driver has, and torch's own unused blocks."""
        return {
            device: torch.cuda.mem_get_info(device)[0]
            + torch.cuda.memory_reserved(device)
            - torch.cuda.memory_allocated(device)
            for device in self._devices
        }

    def fitting(self, n: int, *, share: float = SHARE) -> int | None:
        """How many items would fill a share of the free memory, where n items took the peaks; None where unknown."""
        free = self.free()
        known = [int(n * share * free[device] / peak) for device, peak in self.peaks().items() if peak > 0]
        return min(known, default=None)


def in_batches(
    subject: RunsOnDevices,
    items: Sequence[Item],
    run: Callable[[Sequence[Item]], Result],
    *,
    size: int,
    tokens: int,
    doing: str,
    say: Callable[[str], object] | None = None,
) -> Iterator[tuple[Sequence[Item], Result]]:
    """Run items in batches of fitting size: the items of each batch, and what `run` returned for them.

    Args:
        subject: whose passes they are.
        items: in order; usually rows.
        run: one forward pass; called again with fewer items where it ran out of memory.
        size: items of the first pass, and of every pass on a CPU.
        tokens: of the longest item.
        doing: what is being done, for messages: `replaying examples`.
        say: receives a line where memory ran out; None logs it as a warning.

    Raises:
        SubjectError: not even one item fits.
    """
    memory, at, limit = PassMemory(subject.devices), 0, len(items)
    most = max(size, _power_of_two(PASS_TOKENS // max(tokens, 1)))
    while at < len(items):
        some = items[at : at + min(size, limit)]
        memory.begin()
        failed, result = _attempt(run, some)
        if failed is not None:
            limit = halved(len(some), failed, doing=f"{doing} on {subject.name}", unit="rows", say=say)
            release()
            continue
        at += len(some)
        if at < len(items) and len(some) >= size and (fits := memory.fitting(len(some))) is not None:
            size = min(most, max(1, _power_of_two(fits)))
        yield some, result


def _attempt(run: Callable[[Any], Any], some: Any) -> tuple[str | None, Any]:
    """What failed for want of memory (None: nothing), and the result; the traceback and all that it holds are gone."""
    try:
        return None, run(some)
    except (RuntimeError, MemoryError) as error:  # OutOfMemoryError is a RuntimeError
        if not out_of_memory(error):
            raise
        return first_line(error), None


def halved(n: int, failed: str, *, doing: str, unit: str, say: Callable[[str], object] | None = None) -> int:
    """Half of what did not fit; said in one line.

    Args:
        n: what the pass had.
        failed: what failed, in one line.
        doing: what is being done.
        unit: of `n`.
        say: receives the line; None logs it as a warning.

    Raises:
        SubjectError: there is nothing to halve.
    """
    if n <= 1:
        raise SubjectError(
            f"{doing}: out of memory with a pass as small as it can be ({failed}). Give another --device (`auto` uses "
            "every GPU of the machine), or free memory on this one."
        )
    half = n // 2
    (say or log.warning)(f"{doing}: out of memory with {n:,} {unit} a pass; going on with {half:,}")
    return half


def _power_of_two(n: int) -> int:
    """The largest power of two up to n; 0 for 0."""
    return 1 << (n.bit_length() - 1) if n > 0 else 0


def upload(values: Shaped[np.ndarray, "..."] | Tensor, device: torch.device) -> Tensor:
    """A tensor on a device. To a GPU it goes through pinned memory, so that nothing waits for earlier passes."""
    tensor = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class Gathered:
    """Parts of the activations of a pass, kept on their devices, and copied to the host together at its end."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._keys: list[tuple[Hashable, torch.Size]] = []
        self._parts: list[Tensor] = []

    def add(self, parts: Sequence[tuple[Hashable, Tensor]]) -> None:
        """Keep a copy of parts of one layer's activations, in float32; each key once."""
        if parts:
            self._keys += [(key, part.shape) for key, part in parts]
            self._parts.append(torch.cat([part.reshape(-1) for _, part in parts]).float())

    def arrays(self) -> dict[Any, Shaped[np.ndarray, "..."]]:
        """Every part by its key, in one copy a device."""
        whole: dict[torch.device, list[int]] = {}
        for i, part in enumerate(self._parts):
            whole.setdefault(part.device, []).append(i)
        flat: list[np.ndarray] = [np.empty(0, np.float32)] * len(self._parts)
        for which in whole.values():
            joined = torch.cat([self._parts[i] for i in which]).cpu().numpy()
            ends = np.cumsum([self._parts[i].numel() for i in which])[:-1]
            for i, own in zip(which, np.split(joined, ends), strict=True):
                flat[i] = own
        values = np.concatenate(flat) if flat else np.empty(0, np.float32)
        ends = np.cumsum([shape.numel() for _, shape in self._keys])[:-1]
        return {
            key: own.reshape(tuple(shape))
            for (key, shape), own in zip(self._keys, np.split(values, ends) if self._keys else [], strict=True)
        }


def fitting_rows(subject: Any, layers: Sequence[int], *, row_length: int, below: int) -> int | None:
    """How many rows would fit in a pass, as passes of one and two rows show; None where that cannot be measured.

    Args:
        subject: the model.
        layers: that are read; a pass ends at the deepest.
        row_length: tokens a row.
        below: rows that did not fit.
    """
    memory, took = PassMemory(subject.devices), list[dict[torch.device, int]]()
    release()
    free = memory.free()
    if not free:
        return None
    for rows in (1, 2):
        tokens = torch.zeros((rows, row_length), dtype=torch.long)
        memory.begin()
        failed, _ = _attempt(lambda t: subject.read(t, dict.fromkeys(layers, _ignore), routed=True), tokens)
        if failed is not None:
            return rows - 1
        took.append(memory.peaks())
    fits = below // 2
    for device, one in took[0].items():
        row = max(took[1][device] - one, one // 4, 1)
        fits = min(fits, int((ROOM * free[device] - one) / row) + 1)
    return max(fits, 1)


ROOM = 0.8
"""Share of the free memory that the rows of a collection may take; the rest is for what reads them."""


def _ignore(*x: object) -> None:
    """A reader that reads nothing."""
