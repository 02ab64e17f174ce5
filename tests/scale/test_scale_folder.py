"""Shards on the disk: what is read back is what was found, and nothing in the folder is trusted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from neurolocal.corpus import Cursor, Piece, Section
from neurolocal.errors import StoreError
from neurolocal.files import locked
from neurolocal.scale.folder import Part, ShardFolder, whole_sha256
from neurolocal.scale.shards import Shard, as_json, from_json

MADE_FROM = {"subject": "a", "config": {"k": 5}}


def shard(number: int, *, last: bool = False) -> Shard:
    digest = ["", "ab" * 32, "cd" * 32, "ef" * 32, "01" * 32]
    rest = (Piece(np.array([3, 4], np.int32), np.array([0, 2]), 1, 7, "Wikipedia"),) if number else ()
    begin = Cursor(rows=8 * number, batches=2 * number, digest=digest[number], subsets={"a": 3}, rest=rest)
    end = Cursor(rows=8 * number + 8, batches=2 * number + 2, digest=digest[number + 1], share=0.25)
    section = Section(number + 1, (0, number), None if last else (1, number + 4))
    return Shard(number, begin, end, last=last, section=section)


def folder(path: Path, n: int = 3) -> ShardFolder:
    made = ShardFolder(path / "s.h5")
    assert not made.open(MADE_FROM, replace=False)
    made.begin(MADE_FROM, size=2, sections=3)
    for i in range(n):
        made.add(shard(i, last=i == n - 1))
    return made


def place(made: ShardFolder, first: int, last: int) -> Path:
    """Of the next try, on the disk."""
    path = made.next_try(first, last)
    assert isinstance(path, Path)
    return path


def finish(made: ShardFolder, first: int, last: int) -> Part:
    path = place(made, first, last)
    path.write_bytes(b"x" * (first + 1))
    found = Part(first, last, path.name, path.stat().st_size, whole_sha256(path), 9)
    made.finished(found)
    return found


def test_a_shard_comes_back_as_it_was() -> None:
    found = from_json(json.loads(json.dumps(as_json(shard(2)))))
    assert found == shard(2)
    assert [piece.tokens.tolist() for piece in found.begin.rest] == [[3, 4]]
    assert found.begin.rest[0].subset == "Wikipedia"
    assert (found.end.share, found.section.end, found.rows) == (0.25, (1, 6), 8)
    assert from_json(json.loads(json.dumps(as_json(shard(2, last=True))))).section.end is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.pop("end"), lambda d: d["end"].update(rows=-1), lambda d: d["end"].update(digest="x"),
        lambda d: d["begin"].update(nothing=1), lambda d: d["begin"]["rest"].update(tokens=[1]),
        lambda d: d["begin"]["rest"].update(tokens=[-1, 1e30]), lambda d: d.update(number="0"),
        lambda d: d["end"].update(rows=16), lambda d: d["section"].update(begin=[0]),
        lambda d: d["section"].update(number=-1), lambda d: d["end"].update(skipped={"a": "1"}),
    ],
)  # fmt: skip
def test_a_damaged_shard_is_refused(damage) -> None:
    found = as_json(shard(2))
    damage(found)
    with pytest.raises(StoreError, match="it is none"):
        from_json(found)


def test_a_folder_is_resumed_up_to_the_first_line_that_does_not_join(tmp_path: Path) -> None:
    plan = folder(tmp_path).path / "plan.jsonl"
    again = ShardFolder(tmp_path / "s.h5")
    assert again.open(MADE_FROM, replace=False)
    assert (again.size, again.sections, again.shards) == (2, 3, [shard(0), shard(1), shard(2, last=True)])
    lines = plan.read_text().splitlines(keepends=True)
    for text, n in ((lines[0] + lines[2], 1), (lines[1], 0), (lines[0] + lines[1][:50], 1), ("[]\n", 0), ("", 0)):
        plan.write_text(text)
        again.open(MADE_FROM, replace=False)
        assert len(again.shards) == n


def test_a_folder_of_another_run_is_refused_or_replaced(tmp_path: Path) -> None:
    other = MADE_FROM | {"config": {"k": 6}}
    made = folder(tmp_path)
    with pytest.raises(StoreError, match=r"made from something else \(config\.k: 5 -> 6\)"):
        made.open(other, replace=False)
    assert not made.open(other, replace=True)
    assert list(made.path.iterdir()) == []


def test_finished_parts_are_those_whose_bytes_are_as_recorded(tmp_path: Path) -> None:
    made = folder(tmp_path, 4)
    parts = [finish(made, i, i) for i in range(4)]
    assert made.parts() == (parts, [])
    (made.path / parts[1].file).write_bytes(b"yy")
    (made.path / parts[3].file).unlink()
    assert made.parts() == ([parts[0], parts[2]], [parts[1], parts[3]])
    assert made.parts() == ([parts[0], parts[2]], [])


def test_a_merged_part_replaces_what_it_was_made_of_and_other_tries(tmp_path: Path) -> None:
    made = folder(tmp_path, 4)
    finish(made, 0, 0)
    place(made, 1, 1).write_bytes(b"a checkpoint")
    finish(made, 1, 1)
    whole = finish(made, 0, 1)
    assert sorted(path.name for path in made.path.glob("*-*.*")) == ["00000-00001.1.h5", "00000-00001.json"]
    assert made.parts() == ([whole], [])


def test_every_try_has_a_file_of_its_own(tmp_path: Path) -> None:
    made = folder(tmp_path)
    for n in (1, 2, 3):
        path = place(made, 2, 2)
        assert path.name == f"00002-00002.{n}.h5"
        path.write_bytes(b"")
    assert [n for n, _ in made.tries(2, 2)] == [3, 2, 1]


def test_a_worker_that_has_written_nothing_keeps_its_try(tmp_path: Path) -> None:
    made = folder(tmp_path)
    hangs = made.next_try(2, 2)
    assert made.next_try(2, 2) != hangs
    with locked(hangs, doing="collecting into"):  # a driver that is started anew
        assert ShardFolder(tmp_path / "s.h5").next_try(2, 2) != hangs


def test_a_record_that_points_elsewhere_is_ignored(tmp_path: Path) -> None:
    made = folder(tmp_path)
    found = finish(made, 0, 0)
    record = made.path / "00000-00000.json"
    for file in ("../secret.h5", "00001-00001.1.h5", 5):
        record.write_text(json.dumps(vars(found) | {"file": file}))
        assert made.parts() == ([], [])
