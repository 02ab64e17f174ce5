"""The driver: finds shards, hands them to workers, merges what they finish, and puts the store in place.

Invariant: the store is that of a single run, bit for bit, whatever failed on the way; or it states what it lacks. What
is finished is on the disk, so the driver may be killed at any moment and resumes.
Cost: the driver tokenises the corpus once more than the workers do; its memory is a few numbers a shard.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from tqdm import tqdm

from neurolocal.config import ScaleConfig
from neurolocal.errors import NeurolocalError, StoreError
from neurolocal.files import flush_folder, locked
from neurolocal.scale.cluster import Answer, RayPool, ScaleError, ray_cluster, resources
from neurolocal.scale.folder import Part, ShardFolder
from neurolocal.scale.progress import rows_of, show
from neurolocal.scale.schedule import Collect, Job, Merge, Schedule
from neurolocal.scale.search import ShardSearch
from neurolocal.scale.shards import batches_of_a_shard
from neurolocal.scale.worker import Failed, Prepared, Request, Worker, absolute
from neurolocal.stage import Say

if TYPE_CHECKING:
    from neurolocal.collect import Outcome
    from neurolocal.pipeline.run import Run

WAIT = 0.2
"""Seconds after which the driver looks around while no worker answers."""

GRACE = 60.0
"""Seconds that workers have to write a checkpoint when a run ends early."""

SHARDS = 4
"""Shards a worker, where the user does not say."""


@runtime_checkable
class Pool(Protocol):
    """What the driver needs of the workers: see `cluster.RayPool`."""

    def start(self, worker: int) -> None: ...  # noqa: D102
    def drop(self, worker: int) -> None: ...  # noqa: D102
    def call(self, worker: int, method: str, *arguments: Any, **named: Any) -> None: ...  # noqa: D102
    def wait(self, seconds: float) -> list[Answer]: ...  # noqa: D102
    def batches(self) -> dict[int, int]: ...  # noqa: D102
    def stop(self, worker: int) -> None: ...  # noqa: D102


def collect_on_ray(
    request: Request, config: ScaleConfig, *, say: Say, replace: bool = False, bar: bool = True
) -> Outcome | None:
    """Collect with the workers of a Ray cluster; None where the store is complete already.

    Args:
        request: what to collect.
        config: the cluster and its workers.
        say: receives a line for the user at a time.
        replace: whether a store or shards of something else are collected anew (True) or refused.
        bar: whether to show a progress bar.

    Raises:
        ScaleError: Ray is not installed, or there is no cluster or worker.
        NeurolocalError: as `collect_store`.
    """
    if request.config.shards > 1:
        raise ScaleError("collecting with --engine ray: the engine makes shards itself. Omit --shard.")
    request = absolute(request)
    request.store.parent.mkdir(parents=True, exist_ok=True)
    with locked(request.store, doing="collecting into", error=StoreError), ray_cluster(config) as ray:
        own = resources(config, ray.cluster_resources())
        if own.gpus > 1 and request.device is None:
            request = replace_fields(request, device="auto")
        elif own.gpus == 0:
            request = replace_fields(request, device=request.device or "cpu")
        each = f"{own.gpus} GPUs" if own.gpus else f"{own.cpus} cores"
        say(f"collect: {own.workers} workers of {each} on Ray {ray.__version__}")
        pool = RayPool(ray, Worker, request, own, at_once=4)
        return Driver(pool, request, config, workers=own.workers, say=say, bar=bar).run(replace=replace)


def collect_run(run: Run, say: Say) -> bool:
    """Collect what a RUN.toml says, by its table [scale]; whether the store is complete."""
    request = Request(run.subject, run.corpus, run.store, run.collect, run.tokenizer, run.device)
    outcome = collect_on_ray(request, run.scale, say=say, replace=True)
    return outcome is None or outcome.complete


class Driver:
    """One run."""

    def __init__(
        self, pool: Pool, request: Request, config: ScaleConfig, *, workers: int, say: Say, bar: bool
    ) -> None:  # fmt: skip
        """Nothing is started yet."""
        self.pool, self.request, self.config, self.bar = pool, request, config, bar
        self.workers = range(workers)
        self.folder = ShardFolder(request.store)
        self.schedule = Schedule(config.attempts, config.slow)
        self._say = say
        self._loading: set[int] = set()
        self._idle: set[int] = set()
        self._paths: dict[int, Path] = {}
        self._single: list[Answer] = []
        self._single_at: int | None = None
        self._starts: Counter[int] = Counter()
        self._merges: Counter[Job] = Counter()
        self._stopping: Callable[[], bool] = lambda: False
        self._search: ShardSearch | None = None

    def run(self, *, replace: bool) -> Outcome | None:
        """Collect; None where the store is complete already."""
        from neurolocal.collect import Outcome
        from neurolocal.pipeline.collect import stop_signals

        began = time.monotonic()
        with stop_signals(self.say) as self._stopping:
            try:
                for worker in self.workers:
                    self._start(worker)
                prepared = self._prepare(replace=replace)
                if prepared.found == "complete":
                    self.say(f"collect: {self.request.store} is complete and its inputs are unchanged; nothing to do")
                    self.folder.remove()
                    return None
                whole = self._collect(prepared, replace=replace)
            except KeyboardInterrupt:  # at once
                raise
            except BaseException:
                self._stop_workers()
                raise
            finally:
                if self._search is not None:
                    self._search.end()
        rows = rows_of(self.schedule.parts, self.folder.shards)
        tokens = sum(part.tokens for part in self.schedule.parts)
        return Outcome(rows, tokens, complete=whole, seconds=time.monotonic() - began, checkpoints=0, nonfinite={})

    def say(self, line: str) -> None:
        """Say a line, above the progress bar."""
        with tqdm.external_write_mode(file=sys.stderr):
            self._say(line)

    # What comes before the shards

    def _prepare(self, *, replace: bool) -> Prepared:
        prepared: Prepared = self._call("prepare", replace=replace)
        for line in prepared.said:
            self.say(line)
        if prepared.found == "partial":
            raise StoreError(
                f"collecting into {self.request.store}: it is a checkpoint of a run without workers. Finish it "
                "without --engine ray, delete it, or give another --store."
            )
        return prepared

    def _open_folder(self, prepared: Prepared, *, replace: bool) -> None:
        """Resume the shards of an earlier run, or begin new ones; then look for more of them."""
        from neurolocal.corpus import Cursor

        folder, schedule = self.folder, self.schedule
        if folder.open(prepared.made_from, replace=replace):
            schedule.parts, bad = folder.parts()
            for part in bad:
                self.say(f"collect: {folder.path / part.file} is damaged; its shards are collected again")
            done = sum(part.last - part.first + 1 for part in schedule.parts)
            self.say(f"collect: resuming with {done} finished shards in {folder.path}")
        else:
            about = self.config.shards or SHARDS * len(self.workers)
            folder.begin(prepared.made_from, batches=batches_of_a_shard(prepared.stream, shards=about))
        known = list(folder.shards)
        begin, number = Cursor(), 0
        if known and not known[-1].last:  # its end is known as a number alone, so it is found once more
            begin, number = known[-1].begin, known[-1].number
            known = known[:-1]
        folder.keep(known)
        for shard in known:
            schedule.add(shard.number, last=shard.last)
        if not schedule.all_found:
            self._search = ShardSearch(prepared.stream, batches=folder.batches, begin=begin, number=number)

    # Shards

    def _collect(self, prepared: Prepared, *, replace: bool) -> bool:
        """Collect all shards and put the store in place; False where it was stopped, or the store lacks some."""
        self._open_folder(prepared, replace=replace)
        with tqdm(desc="collect", unit="row", disable=not self.bar, smoothing=0.05) as bar:
            bar.initial = bar.n = rows_of(self.schedule.parts, self.folder.shards)
            while True:
                while not self.schedule.over:
                    if self._stopping():
                        self._stop_workers()
                        return False
                    self._take_shards()
                    self._give_work(prepared)
                    self._step()
                    show(bar, self.schedule, shards=self.folder.shards, batches=self.pool.batches(),
                         workers=len(self.workers), config=prepared.config)  # fmt: skip
                if self._finish(prepared):
                    return not self.schedule.aside

    def _take_shards(self) -> None:
        for shard in self._search.take() if self._search is not None else ():
            self.folder.add(shard)
            self.schedule.add(shard.number, last=shard.last)

    def _give_work(self, prepared: Prepared) -> None:
        """Give every idle worker something to do, as long as there is something."""
        for worker in sorted(self._idle):
            job = self.schedule.next(time.monotonic())
            if job is None:
                return
            if isinstance(job, Collect):
                self._give_shard(worker, job, prepared)
            else:
                path = self.folder.next_try(job.parts[0].first, job.parts[-1].last)
                self._begin(worker, job, path, "merge", self._files(job.parts), path, [])

    def _give_shard(self, worker: int, job: Collect, prepared: Prepared) -> None:
        number = job.shard
        earlier = [path for _, path in self.folder.tries(number, number)]
        path = self.folder.next_try(number, number)
        if self.schedule.doing(job):
            self.say(f"collect: shard {number} takes long; another worker begins it as well")
        self._begin(worker, job, path, "collect", prepared.config, self.folder.shards[number], path, earlier)

    def _begin(self, worker: int, job: Job, path: Path, method: str, *arguments: Any) -> None:
        self._idle.discard(worker)
        self._paths[worker] = path
        self.schedule.begin(worker, job, time.monotonic())
        self.pool.call(worker, method, *arguments)

    def _files(self, parts: tuple[Part, ...] | list[Part]) -> list[tuple[Part, Path]]:
        return [(part, self.folder.path / part.file) for part in parts]

    # Answers

    def _step(self) -> None:
        """Wait a moment for answers, and act on them."""
        for answer in self.pool.wait(WAIT):
            worker = answer.worker
            if worker in self._loading:
                self._loaded(answer)
            elif worker == self._single_at:
                self._single.append(answer)
                self._single_at = None
                self._free(answer)
            elif worker in self.schedule.running:
                self._answered(answer)

    def _free(self, answer: Answer) -> None:
        """The worker can do something else; one that is gone is replaced."""
        if answer.died:
            self.say(f"collect: worker {answer.worker} is gone; another one takes its place")
            self._start(answer.worker)
        else:
            self._idle.add(answer.worker)

    def _start(self, worker: int) -> None:
        self._loading.add(worker)
        self._idle.discard(worker)
        self.pool.start(worker)

    def _loaded(self, answer: Answer) -> None:
        """A worker has loaded the subject, or could not."""
        worker, value = answer.worker, answer.value
        self._loading.discard(worker)
        if isinstance(value, Failed) and value.ends_the_run:
            raise NeurolocalError(value.why)
        why = value.why if isinstance(value, Failed) else answer.failed
        if why is None:
            self._starts[worker] = 0
            self._idle.add(worker)
            return
        self._starts[worker] += 1
        self.say(f"collect: worker {worker} could not begin: {why}")
        if self._starts[worker] < self.config.attempts:
            self._start(worker)
        elif not (self._loading or self._idle or self.schedule.running or self._single_at is not None):
            raise ScaleError(f"collecting on Ray: no worker could begin; the last one: {why}")

    def _answered(self, answer: Answer) -> None:
        """A worker has finished, stopped or failed."""
        worker, value = answer.worker, answer.value
        job, _ = self.schedule.running[worker]
        path = self._paths.pop(worker)
        if isinstance(value, Failed) and value.ends_the_run:
            self.schedule.stopped(worker)
            raise NeurolocalError(value.why)
        why = value.why if isinstance(value, Failed) else answer.failed
        if why is not None:
            self.schedule.failed(worker, why)
            self._say_failure(job, why)
        elif value is None:
            self.schedule.stopped(worker)
            if isinstance(job, Collect) and self.schedule.has(job.shard):  # another worker has finished it
                path.unlink(missing_ok=True)
        else:
            part = value[0] if isinstance(value, tuple) else value
            assert isinstance(part, Part)
            self._finished(worker, path, part)
        self._free(answer)

    def _finished(self, worker: int, path: Path, part: Part) -> None:
        others = self.schedule.done(worker, part, time.monotonic())
        if others is None:
            path.unlink(missing_ok=True)
            return
        self.folder.finished(part)
        for other in others:
            self.pool.stop(other)

    def _say_failure(self, job: Job, why: str) -> None:
        if isinstance(job, Collect):
            n = self.schedule.failures[job.shard]
            aside = " and is set aside" if job.shard in self.schedule.aside else ""
            self.say(f"collect: shard {job.shard} failed ({n} of {self.config.attempts}){aside}: {why}")
            return
        self._not_merged(job, job.parts, why)

    def _not_merged(self, job: Job, parts: tuple[Part, ...], why: str) -> None:
        """A merge failed: collect again what is damaged; where nothing is, it may be tried some times."""
        bad = [part for part in parts if not self.folder.is_whole(part)]
        for part in bad:
            self.say(f"collect: {self.folder.path / part.file} is damaged; its shards are collected again")
            self.schedule.lost(part)
            self.folder.discard(part)
        self._merges[job] += 1
        if not bad and self._merges[job] >= self.config.attempts:
            raise NeurolocalError(why)
        if not bad:
            self.say(f"collect: merging failed ({self._merges[job]} of {self.config.attempts}): {why}")

    # The end

    def _finish(self, prepared: Prepared) -> bool:
        """Merge all parts and put the store in place; False where a part is damaged, so there is more to collect."""
        from neurolocal.pipeline.collect import say_what_was_read
        from neurolocal.pipeline.overflow import overflow_lines

        schedule, folder = self.schedule, self.folder
        parts, lacks = tuple(schedule.parts), self._lacks()
        if not parts:
            why = list(schedule.aside.values())[-1]
            raise NeurolocalError(f"collecting into {self.request.store}: every shard failed; the last: {why}")
        whole = folder.path / "whole.h5"
        whole.unlink(missing_ok=True)
        self.say(f"collect: merging {len(parts)} parts")
        try:
            _, nonfinite = self._call("merge", self._files(parts), whole, lacks)
        except NeurolocalError as error:
            self._not_merged(Merge(parts), parts, str(error))
            return False
        if not lacks:
            done, said = self._call("effects", prepared.config, whole)
            for line in said:
                self.say(line)
            if not done:
                raise KeyboardInterrupt
        whole.replace(self.request.store)
        flush_folder(self.request.store.parent)
        for line in overflow_lines(nonfinite, dtype=prepared.config.dtype):
            self.say(f"collect: WARNING: {line}")
        if self._search is not None:
            stream = prepared.stream
            say_what_was_read(prepared.config, stream, stream.end.control if stream.end is not None else 0, self.say)
        for one in lacks:
            first, behind = one["rows"]
            self.say(f"collect: {self.request.store} lacks rows {first:,} to {behind - 1:,}: {one['why']}")
        if not lacks:
            folder.remove()
        return True

    def _lacks(self) -> list[dict[str, Any]]:
        shards = self.folder.shards
        return [
            {"rows": [shards[i].begin.rows, shards[i].end["rows"]], "why": why}
            for i, why in sorted(self.schedule.aside.items())
        ]

    def _call(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Let one worker do something, and wait; another one does it if that one dies.

        Raises:
            NeurolocalError: it failed.
        """
        why = ""
        for _ in range(self.config.attempts):
            while not self._idle:
                self._step_or_end()
            worker = self._single_at = min(self._idle)
            self._idle.discard(worker)
            self.pool.call(worker, method, *arguments, **named)
            while not self._single:
                self._step_or_end()
            answer = self._single.pop()
            value = answer.value
            if isinstance(value, Failed):
                raise NeurolocalError(value.why)
            if answer.failed is None:
                return value
            why = answer.failed
        raise NeurolocalError(f"collecting on Ray: {method} failed {self.config.attempts} times; the last time: {why}")

    def _step_or_end(self) -> None:
        if self._stopping():
            raise KeyboardInterrupt
        self._step()

    def _stop_workers(self) -> None:
        """Let workers that collect write a checkpoint, and wait for it a while; end the others."""
        ends = time.monotonic() + GRACE
        collecting = {worker for worker, (job, _) in self.schedule.running.items() if isinstance(job, Collect)}
        for worker in set(self.workers) - collecting:
            self.pool.drop(worker)
        with contextlib.suppress(KeyboardInterrupt):
            while collecting and time.monotonic() < ends:
                for worker in collecting:
                    self.pool.stop(worker)
                for answer in self.pool.wait(WAIT):
                    collecting.discard(answer.worker)
                    if isinstance(answer.value, Part):
                        self.folder.finished(answer.value)
