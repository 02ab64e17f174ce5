"""What is read and linked next: told what came of it, without workers."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from neurolocal.config import CollectConfig
from neurolocal.corpus import Cursor, KeptFile, RowStream, SkipCounts
from neurolocal.corpus import Link as Linked
from neurolocal.errors import NeurolocalError
from neurolocal.scale.search import Link, Read, Search


def encode(texts: list[str]) -> list[tuple[np.ndarray, None]]:
    return [(np.full(len(text), 5, np.int32), None) for text in texts]


def search(folder: Path, *, sections: int = 5, attempts: int = 2, max_rows: int | None = None) -> Search:
    """Of a corpus of ten documents, one a section; all are found."""
    path = folder / "c.jsonl"
    path.write_text('{"text": "abcd"}\n' * 10)
    stream = RowStream([path], encode, 1, 2, CollectConfig(row_length=4, max_rows=max_rows))
    made = Search(stream, size=1, sections=sections, attempts=attempts, after=None)
    ends = time.monotonic() + 600
    while made._ahead.qsize() < 10:
        assert time.monotonic() < ends
        time.sleep(0.01)
    return made


def begin(made: Search, worker: int, *, room: int = 9) -> Read | Link | None:
    job = made.next(room=room)
    if job is not None:
        made.begin(worker, job)
    return job


def read(made: Search, worker: int) -> None:
    made.done(worker, (KeptFile(Path(f"{worker}.text"), 1), SkipCounts()))


def test_sections_are_read_at_one_time_and_linked_in_order(tmp_path: Path) -> None:
    made = search(tmp_path)
    jobs = [begin(made, worker) for worker in range(3)]
    assert [(type(job), job.section.number) for job in jobs if job] == [(Read, 0), (Read, 1), (Read, 2)]
    read(made, 1)
    read(made, 2)
    assert begin(made, 1, room=3) is None, "three wait, and section 0 is not read yet"
    read(made, 0)
    first = begin(made, 0)
    assert isinstance(first, Link)
    assert (first.section.number, first.begin, len(first.text.files)) == (0, Cursor(), 1)
    assert not isinstance(begin(made, 1), Link), "links are made one after another"
    tail = KeptFile(Path("tail"), 1)
    found = made.done(0, Linked(Cursor(rows=8, batches=2, digest="ab"), tail, {"broken": 3}))
    assert found is not None
    assert found.shard is not None
    assert (found.shard.number, found.shard.rows, found.shard.last) == (0, 8, False)
    second = begin(made, 0)
    assert isinstance(second, Link)
    assert second.text.files == (tail, KeptFile(Path("1.text"), 1, {"broken": 3}))
    short = made.done(0, Linked(Cursor(rows=8, batches=2, digest="ab"), tail, {}))
    assert short is not None
    assert short.shard is None, "too short for a batch"
    assert isinstance(begin(made, 0), Link)
    last = made.done(0, Linked(Cursor(rows=12, batches=3, digest="cd"), None, {}))
    assert last is not None
    assert last.shard is not None
    assert (last.shard.number, last.shard.begin.rows, last.shard.last, made.over) == (1, 8, True, True)
    assert begin(made, 0) is None


def test_what_is_linked_next_is_read_again_though_others_wait(tmp_path: Path) -> None:
    made = search(tmp_path)
    for worker in range(3):
        begin(made, worker)
    read(made, 1)
    read(made, 2)
    made.failed(0, "it died", again=True)
    again = begin(made, 3, room=2)
    assert isinstance(again, Read)
    assert again.section.number == 0
    assert begin(made, 4, room=2) is None


def test_an_error_counts_when_its_turn_comes(tmp_path: Path) -> None:
    made = search(tmp_path)
    for worker in range(2):
        begin(made, worker)
    made.failed(1, "the file is truncated", again=False)
    read(made, 0)
    assert isinstance(begin(made, 0), Link)
    made.done(0, Linked(Cursor(rows=4, batches=1, digest="ab"), KeptFile(Path("tail"), 1), {}))
    with pytest.raises(NeurolocalError, match="the file is truncated"):
        made.next(room=9)


def test_a_section_that_ends_its_readers_ends_the_run(tmp_path: Path) -> None:
    made = search(tmp_path)
    for _ in range(2):
        begin(made, 0)
        made.failed(0, "its worker died", again=True)
    with pytest.raises(NeurolocalError, match="its worker died"):
        made.next(room=9)


def test_behind_max_rows_nothing_is_read_ahead(tmp_path: Path) -> None:
    made = search(tmp_path, sections=2, max_rows=20)
    assert [type(begin(made, worker)) for worker in range(3)] == [Read, Read, type(None)]
