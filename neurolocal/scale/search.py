"""The search for shards, in a thread beside the driver.

Invariant: shards come in order; an error comes behind the shards that were found before it.
Cost: a thread that tokenises the corpus once.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

from neurolocal.scale.shards import Shard, find_shards

if TYPE_CHECKING:
    from neurolocal.corpus import Cursor, RowStream


class ShardSearch:
    """A running search; shards are taken from it as they are found."""

    def __init__(self, stream: RowStream, *, batches: int, begin: Cursor, number: int) -> None:
        """Begin behind the shards that are known."""
        self.stream = stream
        self._found: queue.SimpleQueue[Shard | BaseException] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._how = batches, begin, number
        self._thread = threading.Thread(target=self._work, name="shards", daemon=True)
        self._thread.start()

    def take(self) -> list[Shard]:
        """The shards found since the last call; raises what the search raised."""
        found: list[Shard] = []
        while True:
            try:
                one = self._found.get_nowait()
            except queue.Empty:
                return found
            if isinstance(one, BaseException):
                if found:
                    self._found.put(one)
                    return found
                raise one
            found.append(one)

    def end(self) -> None:
        """End it."""
        self._stop.set()
        self._thread.join(timeout=5)

    def _work(self) -> None:
        batches, begin, number = self._how
        try:
            for shard in find_shards(self.stream, batches=batches, begin=begin, number=number):
                self._found.put(shard)
                if self._stop.is_set():
                    return
        except BaseException as error:
            self._found.put(error)
