"""Corpora at an address give the documents, names and errors that they give from a disk."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from buckets import FaultyFileSystem

from neurolocal.config import CollectConfig
from neurolocal.corpus import Cursor, RowStream, corpus_files, corpus_listing, documents
from neurolocal.corpus.files import file_names
from neurolocal.errors import CorpusError
from neurolocal.files import cache_folder
from neurolocal.storage import Address, stored

sys.path.append(str(Path(__file__).parents[1] / "corpus"))

from corpus_twins import KINDS, encode, write

TEXTS = [f"{i} " + "word " * (i % 40) for i in range(300)]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "FIRST_BLOCK", 1 << 8)
    monkeypatch.setattr(stored, "BLOCK", 1 << 11)


def stream(files: Any) -> RowStream:
    return RowStream(list(files), encode, 1, 2, CollectConfig(row_length=64, batch_size=4))


@pytest.mark.parametrize("kind", [*KINDS, "txt"])
def test_every_kind_gives_what_it_gives_from_a_disk(kind: str, bucket: Any, tmp_path: Path) -> None:
    if kind == "txt":
        (tmp_path / "corpus.txt").write_text(" ".join(TEXTS))
        local = tmp_path / "corpus.txt"
    else:
        local = write(tmp_path, TEXTS, kind)
    bucket.put(str(local), f"/bucket/pile/{local.name}", recursive=local.is_dir())
    address = Address("memory", f"bucket/pile/{local.name}")
    there, here = corpus_files(address), corpus_files(local)
    assert list(documents(there)) == list(documents(here))
    assert file_names(there, address) == file_names(here, local)
    batches, same = list(stream(there).batches()), list(stream(here).batches())
    assert [b.after.facts() for b in batches] == [b.after.facts() for b in same]
    middle: Cursor = batches[len(batches) // 2].after
    assert [b.after.facts() for b in stream(there).batches(middle)] == [
        b.after.facts() for b in batches[len(batches) // 2 + 1 :]
    ]
    assert not list(cache_folder("scratch").iterdir())


def test_a_folder_leaves_out_what_a_folder_on_a_disk_does(bucket: Any, tmp_path: Path) -> None:
    for name, text in {
        "a-b/x.jsonl": '{"text": "1"}', "a/x.jsonl": '{"text": "2"}', "a/.hidden/x.jsonl": "", ".cache/x.jsonl": "",
        "README.txt": "about", "settings.json": '{\n"a": 1\n}', "x.pdf": "",
        "lines.json": '{"text": "3"}\n{"text": "4"}',
    }.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        bucket.pipe(f"/bucket/pile/{name}", text.encode())
    there, here = corpus_listing("memory://bucket/pile"), corpus_listing(tmp_path)
    address = Address("memory", "bucket/pile")
    assert file_names(there.files, address) == file_names(here.files, tmp_path) == [
        "a/x.jsonl", "a-b/x.jsonl", "lines.json",
    ]  # fmt: skip
    assert {why: len(names) for why, names in there.left.items()} == {
        "JSON, but not one object a line": 1, "about the corpus": 1, "hidden": 2, "of other kinds": 1,
    }  # fmt: skip
    with pytest.raises(CorpusError, match=r"the address holds no .* \(left out: of other kinds: x.pdf\)"):
        corpus_listing("memory://bucket/pile/x.pdf")


def test_a_damaged_table_is_named_by_its_address(bucket: Any, tmp_path: Path) -> None:
    whole = write(tmp_path, TEXTS, "parquet").read_bytes()
    bucket.pipe("/bucket/a.parquet", whole[:-200])
    with pytest.raises(CorpusError, match=r"reading the corpus memory:///bucket/a.parquet: .*truncated or damaged"):
        list(documents(corpus_files("memory://bucket/a.parquet")))


def test_a_foreign_format_is_tried_in_a_child_process_first(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(str(write(tmp_path, TEXTS, "parquet")), "/bucket/a.parquet")
    tried = list[tuple[bytes, str]]()
    monkeypatch.setattr(
        "neurolocal.corpus.columns.try_reading",
        lambda path, program, *, package, error, name: tried.append((path.read_bytes()[:4], name)),
    )
    list(documents(corpus_files("memory://bucket/a.parquet")))
    assert tried == [(b"PAR1", "memory:///bucket/a.parquet")]


def test_a_corpus_that_is_replaced_under_a_reader_ends_it(bucket: Any, tmp_path: Path) -> None:
    data = write(tmp_path, TEXTS, "jsonl").read_bytes()
    bucket.pipe("/bucket/a.jsonl", data)
    files = corpus_files("faulty://bucket/a.jsonl")

    def change(path: str, found: bytes) -> bytes:
        bucket.pipe("/bucket/a.jsonl", data.replace(b"word", b"WORD"))
        return found

    FaultyFileSystem.faults = [lambda path, found: found, change]
    with pytest.raises(Exception, match=r"a.jsonl: it was changed on the storage while it was read, from created"):
        list(documents(files))
