"""A journal: what was appended is read again; a cut line, and lines of other inputs, are not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from neurolocal.errors import StoreError
from neurolocal.pipeline.journal import Journal, remove_journal

BAD_ARRAYS = [
    b'{"part": 4, "evidence": {"x": {"dtype": "%s", "base64": "%s"}}}' % (dtype, data)
    for dtype, data in ((b"O", b"AAAAAAAAAAA="), (b"<f4", b"AAA="), (b"<f4", b"~"), (b"junk", b""), (b"V8", b""))
]
"""Objects, half a number, no base64, no type, no numbers."""

INPUTS = {"config": {"seed": 0}, "llm": None}


def test_what_was_appended_is_read_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl", INPUTS)
    journal.add(3, {"description": "the word \u201csaw\u201d"})
    journal.add(5, {"description": "two\nlines"})
    again = Journal(tmp_path / "j.jsonl", INPUTS)
    assert again.parts == journal.parts
    assert again.parts[5] == {"description": "two\nlines"}


def test_one_without_a_part_leaves_nothing(tmp_path: Path) -> None:
    Journal(tmp_path / "j.jsonl", INPUTS).close()
    assert list(tmp_path.iterdir()) == []
    journal = Journal(tmp_path / "j.jsonl", INPUTS)
    journal.add(3, {"x": 1})
    journal.parts.clear()
    journal.close()
    again = Journal(tmp_path / "j.jsonl", INPUTS)
    assert list(again.parts) == [3]
    again.close()
    assert (tmp_path / "j.jsonl").is_file()


def test_arrays_are_read_again_bit_by_bit(tmp_path: Path) -> None:
    arrays = [np.array([1.5, np.nan, -0.0], np.float32), np.arange(3), np.array([True]), np.empty(0)]
    texts = ["x", "\u201c"]
    Journal(tmp_path / "j.jsonl", INPUTS).add(0, {"arrays": arrays, "texts": texts, "value": float("nan")})
    again = Journal(tmp_path / "j.jsonl", INPUTS).parts[0]
    assert [(a.dtype, a.tobytes()) for a in again["arrays"]] == [(a.dtype, a.tobytes()) for a in arrays]
    assert again["texts"] == texts
    assert again["value"] != again["value"]


def test_a_line_that_a_kill_cut_is_ignored_and_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    Journal(path, INPUTS).add(3, {"x": 1})
    with path.open("a") as file:
        file.write('{"part": 4, "evid')
    journal = Journal(path, INPUTS)
    assert list(journal.parts) == [3]
    journal.add(4, {"x": 2})
    assert list(Journal(path, INPUTS).parts) == [3, 4]


@pytest.mark.parametrize(
    "line", [b"\xff\xfe", b"[" * 100_000, b'{"part": 1e999}', b'{"part": null}', b"\0\0\xff", *BAD_ARRAYS]
)
def test_a_damaged_line_is_where_it_ends(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    Journal(path, INPUTS).add(3, {"x": 1})
    path.write_bytes(path.read_bytes() + line + b"\n")
    assert list(Journal(path, INPUTS).parts) == [3]


def test_other_inputs_start_again(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    Journal(path, INPUTS).add(3, {"x": 1})
    assert Journal(path, INPUTS | {"llm": "a.gguf"}).parts == {}
    assert Journal(path, INPUTS).parts == {}, "the journal of other inputs has replaced this one"


def test_it_is_removed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl", INPUTS)
    journal.remove()
    journal.remove()
    assert list(tmp_path.iterdir()) == []


def test_rows_are_kept_where_the_journal_cannot_be_written_again(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "j.jsonl"
    Journal(path, INPUTS).add(3, {"x": 1})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        patch.setattr(Path, "write_text", full)
        with pytest.raises(StoreError, match=r"keeping finished work in .*: the disk is full"):
            Journal(path, INPUTS)
    assert list(Journal(path, INPUTS).parts) == [3], "it was emptied before it was written"


def test_the_journal_of_a_table_that_is_there_is_removed_unless_it_is_in_use(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    remove_journal(path)
    journal = Journal(path, INPUTS)
    code = f"from pathlib import Path; from neurolocal.pipeline.journal import *; remove_journal(Path({str(path)!r}))"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert path.exists(), "another process is at work on it"
    journal._held.close()
    subprocess.run([sys.executable, "-c", code], check=True)
    assert not path.exists()
