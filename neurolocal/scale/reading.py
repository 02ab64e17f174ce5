"""Text for the workers: gives them sections to tokenise and to link, and the schedule the shards that they find.

Invariant: tokenised text is a copy of what the corpus holds; where it is lost, the shard's worker tokenises it again.
Cost: 8 bytes a token in the folder of shards, for as many shards as there are workers, twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from neurolocal.errors import NeurolocalError
from neurolocal.scale.folder import ShardFolder
from neurolocal.scale.pool import Answer, CollectPool, Failed
from neurolocal.scale.schedule import Schedule
from neurolocal.scale.search import Read, Search
from neurolocal.scale.worker import Prepared

if TYPE_CHECKING:
    from neurolocal.corpus import KeptText


class Reading:
    """The text of one run."""

    def __init__(
        self, pool: CollectPool, folder: ShardFolder, schedule: Schedule, prepared: Prepared, *, workers: int
    ) -> None:  # fmt: skip
        """Begin behind the folder's shards."""
        self._pool, self._folder, self._schedule, self._config = pool, folder, schedule, prepared.config
        self._workers = workers
        self._texts: dict[int, KeptText] = {}
        self.search = Search(
            prepared.stream,
            size=folder.size,
            sections=folder.sections,
            attempts=schedule.attempts,
            after=folder.shards[-1] if folder.shards else None,
        )

    def give(self, workers: Iterable[int]) -> None:
        """Give text to workers that have none, the first of them first; as many shards as workers are made ready."""
        for worker in workers:
            if worker in self.search.running:
                continue
            job = self.search.next(room=self._workers - len(self._schedule.pending))
            if job is None:
                return
            path = self._folder.new_text(job.section.number)
            self.search.begin(worker, job)
            if isinstance(job, Read):
                self._pool.read(worker, "read", self._config, job.section, path)
            else:
                self._pool.read(worker, "link", self._config, job.section, job.begin, job.text, path)

    def answered(self, answer: Answer) -> None:
        """A worker has read or linked a section, or could not.

        Raises:
            NeurolocalError: no worker can: the disk is full.
        """
        worker, value = answer.worker, answer.value
        if isinstance(value, Failed):
            if value.ends_the_run:
                raise NeurolocalError(value.why)
            self.search.failed(worker, value.why, again=False)
        elif answer.failed is not None:
            self.search.failed(worker, answer.failed, again=True)
        elif (found := self.search.done(worker, value)) is not None:
            if found.shard is None:
                self._folder.discard_text(found.text)
                return
            self._folder.add(found.shard)
            self._texts[found.shard.number] = found.text
            self._schedule.add(found.shard.number, rows=found.shard.rows, last=found.shard.last)

    def text_of(self, shard: int) -> KeptText | None:
        """The tokenised text of a shard that is not finished; None where there is none."""
        return self._texts.get(shard)

    def finished(self, shard: int) -> None:
        """A shard is finished; its text is not needed any more."""
        if (text := self._texts.pop(shard, None)) is not None:
            self._folder.discard_text(text)
