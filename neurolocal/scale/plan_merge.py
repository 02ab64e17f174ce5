"""What merging the shards costs: how many merges, the bytes that they read and write, seconds, and memory.

Invariant: the merges are those of `schedule`: eight adjacent parts at a time while others are collected, then one of
all that is left. Shards without the engine (`--shard`) are merged by one command. Cost: none.
"""

from __future__ import annotations

from typing import NamedTuple

from neurolocal.collect.memory import neuron_bytes
from neurolocal.scale.plan_constants import Constants
from neurolocal.scale.plan_job import Amount, Job, Step
from neurolocal.scale.plan_size import references, store_size, stored_rows
from neurolocal.scale.plan_terms import size
from neurolocal.scale.schedule import FAN

INDEX = 166
"""Bytes of memory for each example of `largest` while the index is built (store/index.py)."""

BLOCKS = 8 << 23
"""Bytes of the blocks of rows that are read, joined, ordered and written (pipeline/merged_rows.py), and HDF5's own."""


class Level(NamedTuple):
    """Merges of equally many shards."""

    merges: int
    """How many."""
    parts: tuple[int, ...]
    """Shards in each part that one of them reads."""

    @property
    def shards(self) -> int:
        """Shards in what it writes."""
        return sum(self.parts)


def levels(shards: int, *, fan: int) -> list[Level]:
    """The merges of so many shards, the last one at the end.

    Args:
        shards: at least 1.
        fan: parts of a merge that is made while others are collected.
    """
    if shards < 2:
        return []
    found, n = list[Level](), 1
    while fan * n < shards:
        found.append(Level(shards // (fan * n), (n,) * fan))
        n *= fan
    left, rest = list[int](), shards
    while n:
        left += [n] * (rest // n)
        rest, n = rest % n, n // fan
    return [*found, Level(1, tuple(left))]


class Merging(NamedTuple):
    """The merges of a job."""

    on_the_way: Step | None
    """Those that are made while other shards are collected, shared by the workers."""
    last: Step
    """The last one."""
    moved: Amount
    """What all of them read and write."""


def merging(job: Job, machine: Constants) -> Merging | None:
    """Seconds and bytes of the merges; None where there is one shard."""
    stores = dict[int, int]()

    def bytes_of(shards: int) -> int:
        if shards not in stores:
            rows = min(job.rows, shards * job.shard_rows)
            done = shards == job.n_shards  # a part has no index and no logit effects
            found = store_size(job.shape.d_mlp, job.config, rows=rows, d_vocab=job.shape.d_vocab, complete=done)
            stores[shards] = found.total
        return stores[shards]

    found = levels(job.n_shards, fan=FAN if job.ranges else job.n_shards)
    if not found:
        return None
    read = [level.merges * sum(map(bytes_of, level.parts)) for level in found]
    written = [level.merges * bytes_of(level.shards) for level in found]
    *earlier, last = found
    n = sum(level.merges for level in earlier)
    on_the_way = None
    if n:
        # With one shard a worker all shards end at once: then a level has no more workers than merges.
        most = job.workers if job.own_shards > 1 else 0
        by = [max(most, min(level.merges, job.workers)) for level in earlier]
        seconds = sum(one / machine.merge / n for one, n in zip(read, by, strict=False))
        taken = f"{size(sum(read[:-1]))} / {size(machine.merge)}/s"
        how = f"{n:,} merges of {FAN} parts take in {taken}, by at most {max(by):,} workers"
        on_the_way = Step("merge: on the way", seconds, how)
    return Merging(
        on_the_way,
        Step("merge: the last one", read[-1] / machine.merge,
             f"{len(last.parts)} parts of {size(read[-1])} / {size(machine.merge)}/s"),
        Amount("merges", sum(read) + sum(written),
               f"{n + 1:,} merges read {size(sum(read))} and write {size(sum(written))}"),
    )  # fmt: skip


def merge_memory(job: Job, machine: Constants) -> list[Amount]:
    """Memory of the process that makes the last merge; nothing where there is one shard."""
    if job.n_shards < 2:
        return []
    config, sites = job.config, len(job.config.sites or ("post",))
    widest, each = max(job.widths), neuron_bytes(config)
    rows = stored_rows(references(job.neurons, config), job.rows)
    examples = sites * job.neurons * min(config.k, job.rows)
    return [
        Amount("Python and its packages", machine.base, machine.source),
        Amount("a layer of four parts", 4 * widest * each, f"4 x {widest:,} neurons x {each:,} bytes"),
        Amount("numbers of rows", 3 * 8 * rows, f"3 x 8 x {rows:,}"),
        Amount("the index", INDEX * examples, f"{INDEX} x {examples:,} examples"),
        Amount("blocks of rows", BLOCKS, "read, joined, ordered and written"),
    ]
