"""The driver: hands text, shards and merges to workers, and puts the store in place.

Invariant: the store is that of a single run, bit for bit, whatever failed on the way; or it states what it lacks. What
is finished is on the disk, so the driver may be killed at any moment and resumes.
Cost: the driver reads the corpus's text once, without tokenising it; its memory is a few numbers a shard.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import Any

from neurolocal.config import ScaleConfig
from neurolocal.errors import ConfigError, NeurolocalError, StoreError
from neurolocal.files import flush_folder
from neurolocal.progress import Bar
from neurolocal.scale.crew import WAIT, Crew
from neurolocal.scale.folder import Part, ShardFolder
from neurolocal.scale.pool import Answer, CollectPool, Failed
from neurolocal.scale.progress import rows_of, show
from neurolocal.scale.reading import Reading
from neurolocal.scale.schedule import SHARDS, Collect, Job, Merge, Schedule
from neurolocal.scale.worker import CollectRequest, Prepared
from neurolocal.stage import Say
from neurolocal.storage import Address
from neurolocal.storage.address import located
from neurolocal.storage.uploads import get

GRACE = 60.0
"""Seconds that workers have to write a checkpoint when a run ends early."""


@dataclass(frozen=True)
class Result:
    """How a run ended; fields as in `collect.Outcome`, which would load torch."""

    rows: int
    n_tokens: int
    complete: bool
    seconds: float


def shards_address(config: ScaleConfig) -> Address | None:
    """Where the shards are, if not beside the store.

    Raises:
        ConfigError: a path of this machine.
        StorageError: no address that can be used.
    """
    if config.shards_at is None:
        return None
    found = located(config.shards_at, doing="reading shards_at")
    if isinstance(found, Address):
        return found
    raise ConfigError(
        f"shards_at = {config.shards_at}: a path of this machine, and an address is expected, such as "
        "s3://bucket/run/. Omit it where all workers share the disk of the store."
    )


class Driver:
    """One run."""

    def __init__(
        self, pool: CollectPool, request: CollectRequest, config: ScaleConfig, *, workers: int, say: Say, bar: bool
    ) -> None:  # fmt: skip
        """Nothing is started yet."""
        self.pool, self.request, self.config, self.bar = pool, request, config, bar
        self.crew = Crew(pool, workers=workers, attempts=config.attempts, name="collect", say=say)
        self.say = self.crew.say
        self.folder = ShardFolder(request.store, shards_address(config))
        self.schedule = Schedule(config.attempts, config.slow)
        self._about = config.shards or SHARDS * workers
        self._paths: dict[int, Path | Address] = {}
        self._single: list[Answer] = []
        self._single_at: int | None = None
        self._merges: Counter[Job] = Counter()
        self._stopping: Callable[[], bool] = lambda: False
        self._reading: Reading | None = None

    def run(self, *, replace: bool) -> Result | None:
        """Collect; None where the store is complete already."""
        from neurolocal.pipeline.collect import stop_signals

        began = time.monotonic()
        with stop_signals(self.say) as self._stopping:
            try:
                self.crew.start()
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
                if self._reading is not None:
                    self._reading.search.end()
        rows = rows_of(self.schedule.parts, self.folder.shards)
        tokens = sum(part.tokens for part in self.schedule.parts)
        return Result(rows, tokens, complete=whole, seconds=time.monotonic() - began)

    # What comes before the shards

    def _prepare(self, *, replace: bool) -> Prepared:
        prepared: Prepared = self._call("prepare", replace=replace, sections=self._about)
        for line in prepared.said:
            self.say(line)
        if prepared.found is None and isinstance(self.folder.files, Address) and self.request.store.exists():
            raise StoreError(
                f"collecting into {self.request.store}: the file exists, and its workers do not see it, so what it was "
                "made from cannot be compared. Delete it, or give another --store."
            )
        if prepared.found == "partial":
            raise StoreError(
                f"collecting into {self.request.store}: it is a checkpoint of a run without workers. Finish it "
                "without --engine ray, delete it, or give another --store."
            )
        return prepared

    def _open_folder(self, prepared: Prepared, *, replace: bool) -> None:
        """Resume the shards of an earlier run, or begin new ones; then look for more of them."""
        folder, schedule = self.folder, self.schedule
        if folder.open(prepared.made_from, replace=replace):
            schedule.parts, bad = folder.parts()
            for part in bad:
                self.say(f"collect: {folder.files / part.file} is damaged; its shards are collected again")
            done = sum(part.last - part.first + 1 for part in schedule.parts)
            self.say(f"collect: resuming with {done} finished shards in {folder.files}")
        else:
            folder.begin(prepared.made_from, size=prepared.size, sections=self._about)
        for shard in folder.shards:
            schedule.add(shard.number, rows=shard.rows, last=shard.last)
        if not schedule.all_found:
            self._reading = Reading(self.pool, folder, schedule, prepared, workers=len(self.crew.workers))

    # Shards

    def _collect(self, prepared: Prepared, *, replace: bool) -> bool:
        """Collect all shards and put the store in place; False where it was stopped, or the store lacks some."""
        self._open_folder(prepared, replace=replace)
        with Bar(desc="collect", unit="row", disable=not self.bar, smoothing=0.05) as bar:
            bar.initial = bar.n = rows_of(self.schedule.parts, self.folder.shards)
            while True:
                while not self.schedule.over:
                    if self._stopping():
                        self._stop_workers()
                        return False
                    self._give_work(prepared)
                    self._give_text()
                    self._step()
                    show(bar, self.schedule, shards=self.folder.shards, batches=self.pool.batches(),
                         workers=len(self.crew.workers), config=prepared.config)  # fmt: skip
                if self._finish(prepared):
                    return not self.schedule.aside

    def _give_text(self) -> None:
        """Give text to those workers first that have nothing to do."""
        if self._reading is not None:
            ready = set(self.crew.workers) - self.crew.loading
            self._reading.give(sorted(ready, key=lambda worker: (worker not in self.crew.idle, worker)))

    def _give_work(self, prepared: Prepared) -> None:
        """Give every idle worker something to do, as long as there is something."""
        for worker in sorted(self.crew.idle):
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
        text = None if self._reading is None else self._reading.text_of(number)
        self._begin(worker, job, path, "collect", prepared.config, self.folder.shards[number], path, earlier, text)

    def _begin(self, worker: int, job: Job, path: Path | Address, method: str, *arguments: Any) -> None:
        self.crew.idle.discard(worker)
        self._paths[worker] = path
        self.schedule.begin(worker, job, time.monotonic())
        self.pool.call(worker, method, *arguments)

    def _files(self, parts: tuple[Part, ...] | list[Part]) -> list[tuple[Part, Path | Address]]:
        return [(part, self.folder.files / part.file) for part in parts]

    # Answers

    def _step(self) -> None:
        """Wait a moment for answers, and act on them."""
        for answer in self.pool.wait(WAIT):
            worker = answer.worker
            if self._reading is not None and worker in self._reading.search.running:
                if answer.reading:
                    self._reading.answered(answer)
                elif answer.died:
                    self._reading.answered(replace_fields(answer, reading=True))
            if answer.reading and not answer.died:
                continue
            if worker in self.crew.loading:
                self.crew.loaded(answer, busy=bool(self.schedule.running) or self._single_at is not None)
            elif worker == self._single_at:
                self._single.append(answer)
                self._single_at = None
                self.crew.free(answer)
            elif worker in self.schedule.running:
                self._answered(answer)
            elif answer.died:
                self.crew.free(answer)

    def _answered(self, answer: Answer) -> None:
        """A worker has finished, stopped or failed."""
        worker, value = answer.worker, answer.value
        job, _ = self.schedule.running[worker]
        path = self._paths.pop(worker)
        if answer.ends_the_run:
            self.schedule.stopped(worker)
            raise NeurolocalError(str(answer.why))
        if answer.why is not None:
            self.schedule.failed(worker, answer.why)
            self._say_failure(job, answer.why)
        elif value is None:
            self.schedule.stopped(worker)
            if isinstance(job, Collect) and self.schedule.has(job.shard):  # another worker has finished it
                self.folder.delete(path)
        else:
            part = value[0] if isinstance(value, tuple) else value
            assert isinstance(part, Part)
            self._finished(worker, path, part)
        self.crew.free(answer)

    def _finished(self, worker: int, path: Path | Address, part: Part) -> None:
        others = self.schedule.done(worker, part, time.monotonic())
        if others is None:
            self.folder.delete(path)
            return
        self.folder.finished(part)
        for other in others:
            self.pool.stop(other)
        if self._reading is not None and part.first == part.last and not others:
            self._reading.finished(part.first)

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
            self.say(f"collect: {self.folder.files / part.file} is damaged; its shards are collected again")
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
        whole, place = folder.path / "whole.h5", folder.files / "whole.h5"
        whole.unlink(missing_ok=True)
        self.say(f"collect: merging {len(parts)} parts")
        try:
            made, nonfinite = self._call("merge", self._files(parts), place, lacks)
        except NeurolocalError as error:
            self._not_merged(Merge(parts), parts, str(error))
            return False
        if not lacks:
            to = place if isinstance(place, Path) else folder.files / "done.h5"
            done, said, changed = self._call("effects", prepared.config, made, place, to)
            for line in said:
                self.say(line)
            if not done:
                raise KeyboardInterrupt
            made, place = changed or made, to
        if isinstance(place, Address):
            get(place, whole, size=made.bytes, sha256=made.sha256)
        whole.replace(self.request.store)
        flush_folder(self.request.store.parent)
        for line in overflow_lines(nonfinite, dtype=prepared.config.dtype):
            self.say(f"collect: WARNING: {line}")
        if self._reading is not None:
            search = self._reading.search
            say_what_was_read(prepared.config, search.stream, search.control, self.say)
        for one in lacks:
            first, behind = one["rows"]
            self.say(f"collect: {self.request.store} lacks rows {first:,} to {behind - 1:,}: {one['why']}")
        if not lacks:
            folder.remove()
        return True

    def _lacks(self) -> list[dict[str, Any]]:
        shards = self.folder.shards
        return [
            {"rows": [shards[i].begin.rows, shards[i].end.rows], "why": why}
            for i, why in sorted(self.schedule.aside.items())
        ]

    def _call(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Let one worker do something, and wait; another one does it if that one dies.

        Raises:
            NeurolocalError: it failed.
        """
        why = ""
        for _ in range(self.config.attempts):
            while not self.crew.idle:
                self._step_or_end()
            worker = self._single_at = min(self.crew.idle)
            self.crew.idle.discard(worker)
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
        for worker in set(self.crew.workers) - collecting:
            self.pool.drop(worker)
        with contextlib.suppress(KeyboardInterrupt):
            while collecting and time.monotonic() < ends:
                for worker in collecting:
                    self.pool.stop(worker)
                for answer in self.pool.wait(WAIT):
                    if answer.reading and not answer.died:
                        continue
                    collecting.discard(answer.worker)
                    if isinstance(answer.value, Part):
                        self.folder.finished(answer.value)
