"""A journal: what was appended is read again; a cut line, and lines of other inputs, are not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from neurolocal.errors import StoreError
from neurolocal.pipeline.journal import Journal, remove_journal

INPUTS = {"config": {"seed": 0}, "llm": None}


def test_what_was_appended_is_read_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl", INPUTS)
    journal.add(3, {"description": "the word \u201csaw\u201d"})
    journal.add(5, {"description": "two\nlines"})
    again = Journal(tmp_path / "j.jsonl", INPUTS)
    assert again.rows == journal.rows
    assert again.rows[5] == {"description": "two\nlines", "neuron": 5}


def test_a_line_that_a_kill_cut_is_ignored_and_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    Journal(path, INPUTS).add(3, {"x": 1})
    with path.open("a") as file:
        file.write('{"neuron": 4, "x"')
    journal = Journal(path, INPUTS)
    assert list(journal.rows) == [3]
    journal.add(4, {"x": 2})
    assert list(Journal(path, INPUTS).rows) == [3, 4]


@pytest.mark.parametrize("line", [b"\xff\xfe", b"[" * 100_000, b'{"neuron": 1e999}', b'{"neuron": null}', b"\0\0\xff"])
def test_a_damaged_line_is_where_it_ends(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    Journal(path, INPUTS).add(3, {"x": 1})
    path.write_bytes(path.read_bytes() + line + b"\n")
    assert list(Journal(path, INPUTS).rows) == [3]


def test_other_inputs_start_again(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    Journal(path, INPUTS).add(3, {"x": 1})
    assert Journal(path, INPUTS | {"llm": "a.gguf"}).rows == {}
    assert Journal(path, INPUTS).rows == {}, "the journal of other inputs has replaced this one"


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
        with pytest.raises(StoreError, match=r"keeping finished neurons in .*: the disk is full"):
            Journal(path, INPUTS)
    assert list(Journal(path, INPUTS).rows) == [3], "it was emptied before it was written"


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
