"""Passes sized by memory: every item once and in order, halved where memory runs out, as many as the device holds."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from subject_twins import numbered, tiny_model

from neurolocal.errors import SubjectError
from neurolocal.subject import Subject
from neurolocal.subject.batches import (
    EXHAUSTED,
    PASS_TOKENS,
    Gathered,
    fitting_rows,
    in_batches,
    out_of_memory,
    upload,
)
from neurolocal.subject.packed import Packed

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")


class Passes:
    """Passes over numbers that run out of memory above a size; their sizes are kept."""

    def __init__(self, room: int, *, device: torch.device = CPU) -> None:
        self.room, self.sizes = room, list[int]()
        self.subject = SimpleNamespace(name="a model", devices=(device,))
        self.allocated = 0

    def __call__(self, some: Sequence[int]) -> list[int]:
        self.sizes.append(len(some))
        if len(some) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore of it")
        self.allocated = len(some)
        return [10 * i for i in some]

    def run(self, n: int, *, size: int = 8, tokens: int = 256, say=None) -> list[int]:
        found = in_batches(
            self.subject, range(n), self, size=size, tokens=tokens, doing="running rows", say=say
        )  # fmt: skip
        return [i for some, own in found for i in own if len(own) == len(some)]


@pytest.mark.parametrize("room", [1, 2, 3, 5, 8, 100])
def test_out_of_memory_halves_the_pass_and_every_item_runs_once(room: int, rng) -> None:
    n = int(rng.integers(1, 60))
    said: list[str] = []
    passes = Passes(room)
    assert passes.run(n, say=said.append) == [10 * i for i in range(n)]
    assert max(passes.sizes[len(said) :]) <= room, "a size that had failed was tried again"
    assert len(said) == sum(size > room for size in passes.sizes)
    if n >= 8 > room:
        assert said[0] == "running rows on a model: out of memory with 8 rows a pass; going on with 4"


def test_without_anyone_to_tell_it_is_logged(caplog) -> None:
    with caplog.at_level(logging.WARNING):
        Passes(3).run(9)
    assert "out of memory with 8 rows a pass; going on with 4" in caplog.text


def test_a_single_item_that_does_not_fit_is_an_error_of_one_line() -> None:
    with pytest.raises(SubjectError, match=r"^running rows on a model: out of memory .* GiB\.\). Give .*`auto`") as e:
        Passes(0).run(4, say=lambda line: None)
    assert "\n" not in str(e.value)


def test_other_errors_pass_through() -> None:
    def wrong(some: Sequence[int]) -> None:
        raise RuntimeError("a shape is wrong")

    with pytest.raises(RuntimeError, match="a shape is wrong"):
        list(in_batches(Passes(1).subject, [1], wrong, size=1, tokens=1, doing="x"))
    assert all(out_of_memory(RuntimeError(f"[enforce fail] {part}: cannot allocate")) for part in EXHAUSTED)
    assert out_of_memory(MemoryError())
    assert not out_of_memory(ValueError(EXHAUSTED[0]))


def test_what_a_failed_pass_held_is_freed_before_the_next() -> None:
    held: list[weakref.ref[torch.Tensor]] = []

    def run(some: Sequence[int]) -> int:
        assert all(one() is None for one in held), "the tensors of the pass that failed are still there"
        gone = torch.zeros(4)
        held.append(weakref.ref(gone))
        if len(some) > 1:
            raise torch.OutOfMemoryError("full")
        return len(some)

    gc.disable()
    try:
        assert len(list(in_batches(Passes(1).subject, [1, 2], run, size=2, tokens=1, doing="x", say=print))) == 2
    finally:
        gc.enable()


def test_the_allocators_unused_blocks_are_given_back_before_the_next_pass(monkeypatch) -> None:
    passes, emptied = Passes(2), list[int]()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(len(passes.sizes)))
    passes.run(8, say=lambda line: None)
    assert passes.sizes == [8, 4, 2, 2, 2, 2]
    assert emptied == [1, 2]


@pytest.fixture
def gpus(monkeypatch):
    """Two made-up GPUs: `free` bytes each, of which a pass of `passes` takes `each` an item."""

    def make(passes: Passes, *, free: dict[int, int], each: dict[int, int]) -> None:
        passes.subject.devices = tuple(torch.device("cuda", i) for i in free)
        index = {torch.device("cuda", i): i for i in free}
        for name, answer in {
            "reset_peak_memory_stats": lambda d: None,
            "memory_allocated": lambda d: 1000,
            "max_memory_allocated": lambda d: 1000 + each[index[d]] * passes.allocated,
            "memory_reserved": lambda d: 1500,
            "mem_get_info": lambda d: (free[index[d]] - 500, 10**9),
        }.items():
            monkeypatch.setattr(torch.cuda, name, answer)

    return make


def test_a_gpu_gets_as_much_as_half_of_its_free_memory_holds(gpus) -> None:
    passes = Passes(1000, device=GPU)
    gpus(passes, free={0: 100_000}, each={0: 1000})
    assert passes.run(200) == [10 * i for i in range(200)]
    assert passes.sizes == [8, 32, 32, 32, 32, 32, 32]  # 50 fit; powers of two, so that small differences don't count


def test_the_fullest_gpu_decides_and_tokens_are_bounded(gpus) -> None:
    passes = Passes(10**6, device=GPU)
    gpus(passes, free={0: 10**9, 1: 30_000}, each={0: 10, 1: 1000})
    passes.run(40)
    assert passes.sizes == [8, 8, 8, 8, 8]
    passes = Passes(10**6, device=GPU)
    gpus(passes, free={0: 10**9}, each={0: 1})
    passes.run(1000, tokens=1000)
    assert max(passes.sizes) == 32
    assert max(passes.sizes) * 1000 <= PASS_TOKENS


def test_after_memory_ran_out_passes_grow_no_more(gpus) -> None:
    passes = Passes(20, device=GPU)
    gpus(passes, free={0: 100_000}, each={0: 1000})
    said: list[str] = []
    assert passes.run(200, say=said.append) == [10 * i for i in range(200)]
    assert passes.sizes[:4] == [8, 32, 16, 16]
    assert max(passes.sizes[2:]) == 16
    assert len(said) == 1


def test_the_rows_that_would_fit_are_measured(gpus) -> None:
    class Reads(Passes):
        def read(self, tokens: torch.Tensor, readers: object, *, routed: bool) -> None:
            self(list(range(len(tokens))))

    passes = Reads(100)
    subject = passes.subject
    subject.read = passes.read
    assert fitting_rows(subject, [0, 1], row_length=16, below=64) is None, "nothing can be measured on a CPU"
    gpus(passes, free={0: 25_000}, each={0: 1000})
    assert fitting_rows(subject, [0, 1], row_length=16, below=64) == 20  # 0.8 of 25
    assert fitting_rows(subject, [0, 1], row_length=16, below=24) == 12, "more than half of what failed"
    passes.room = 1
    assert fitting_rows(subject, [0, 1], row_length=16, below=64) == 1
    passes.room = 0
    assert fitting_rows(subject, [0, 1], row_length=16, below=64) == 0


def test_parts_come_back_as_they_were(rng) -> None:
    gathered, true = Gathered(), {}
    assert gathered.arrays() == {}
    for layer in range(4):
        dtype = [torch.float32, torch.bfloat16][layer % 2]
        x = torch.from_numpy(rng.normal(size=(3, 7, 5)).astype(np.float32)).to(dtype)
        parts = [((layer, i), x[i % 3, : i + 1, i % 5]) for i in range(layer)]  # the first layer has none
        gathered.add(parts)
        gathered.add([(("whole", layer), x)])
        true |= {key: part.float().numpy().copy() for key, part in [*parts, (("whole", layer), x)]}
        x.zero_()  # nothing may refer to the model's own tensor
    found = gathered.arrays()
    assert found.keys() == true.keys()
    assert all(np.array_equal(found[key], true[key]) for key in true)
    assert found["whole", 2].shape == (3, 7, 5)


def test_an_upload_to_the_same_place_is_the_array(rng) -> None:
    values = rng.integers(0, 9, (2, 3))
    assert torch.equal(upload(values, CPU), torch.from_numpy(values))


def test_a_subject_names_each_of_its_devices_once() -> None:
    assert Subject(tiny_model("Llama"), numbered(), name="x").devices == (CPU,)


def test_substitutes_go_on_with_half_the_budget(monkeypatch, rng, caplog) -> None:
    subject = Subject(tiny_model("Llama"), numbered(), name="small")
    row = rng.integers(0, 50, 20)
    branches = [(int(at), tuple(rng.integers(0, 50, 2).tolist()), 3) for at in rng.integers(1, 20, 40)]
    true = Packed(subject, budget=64).activations(row, {1: branches})[1]
    packed, read = Packed(subject, budget=64), subject.read

    def small(tokens: torch.Tensor, *args: object, **more: object) -> None:
        if tokens.numel() > 45:
            raise torch.OutOfMemoryError("CUDA out of memory")
        read(tokens, *args, **more)

    monkeypatch.setattr(subject, "read", small)
    with caplog.at_level(logging.WARNING):
        found = packed.activations(row, {1: branches})[1]
    assert packed.packs, "out of memory is no sign of a model that ignores masks"
    assert packed.budget == 16
    assert "replacing words on small: out of memory with 64 tokens a pass; going on with 32" in caplog.text
    assert np.allclose(found.flat, true.flat, atol=1e-4 * np.abs(true.flat).max())
    monkeypatch.setattr(subject, "read", lambda *a, **k: (_ for _ in ()).throw(torch.OutOfMemoryError("full")))
    with pytest.raises(SubjectError, match="replacing words on small: out of memory with a pass as small as it can be"):
        packed.activations(row, {1: branches})
