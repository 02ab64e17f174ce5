"""The progress bar of a run: rows, tokens a second, busy workers, and the time left.

Invariant: it shows and changes nothing else. Cost: a few sums over the shards.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from neurolocal.config import CollectConfig
from neurolocal.progress import Bar
from neurolocal.scale.folder import Part
from neurolocal.scale.schedule import Collect, Schedule
from neurolocal.scale.shards import Shard


def rows_of(parts: Iterable[Part], shards: list[Shard]) -> int:
    """Rows in finished parts."""
    return sum(shard.rows for part in parts for shard in shards[part.first : part.last + 1])


def show(
    bar: Bar, schedule: Schedule, *, shards: list[Shard], batches: Mapping[int, int], workers: int,
    config: CollectConfig,
) -> None:  # fmt: skip
    """Bring the bar up to date.

    Args:
        bar: the bar, in rows.
        schedule: what is finished, and what each worker does.
        shards: those found so far.
        batches: batches done by each worker in its present call.
        workers: how many there are.
        config: the settings of the collection.
    """
    done: dict[int, int] = {}
    for worker, n in batches.items():
        job = schedule.running.get(worker, (None,))[0]
        if isinstance(job, Collect):
            so_far = min(n * config.batch_size, shards[job.shard].rows)
            done[job.shard] = max(done.get(job.shard, 0), so_far)
    if shards:
        last = shards[-1]
        bar.total = last.end.rows if last.last else round(last.end.rows / max(last.end.share, 1e-9))
    rate = (bar.format_dict["rate"] or 0.0) * config.row_length
    bar.set_postfix_str(f"{rate:,.0f} tokens/s, {len(schedule.running)} of {workers} workers", refresh=False)
    bar.update(max(0, rows_of(schedule.parts, shards) + sum(done.values()) - bar.n))
