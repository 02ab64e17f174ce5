"""A journal: what was appended is read again; a cut line, and lines of other inputs, are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from neurolocal.pipeline.journal import Journal

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


@pytest.mark.parametrize("line", [b"\xff\xfe", b"[" * 100_000, b'{"neuron": 1e999}', b'{"neuron": null}', b"\x00"])
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
