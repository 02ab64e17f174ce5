"""Sections of a corpus, tokenised at the same time and linked in order, give the batches of one reader, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpus_twins import encode, encode_words, write, write_records
from test_corpus_conversations import render
from test_corpus_packing import same

from neurolocal.config import CollectConfig
from neurolocal.corpus import (
    Cursor,
    KeptFile,
    KeptText,
    RowStream,
    Section,
    SkipCounts,
    encoded,
    find_sections,
    keep,
    link,
    parts,
    section_size,
)
from neurolocal.errors import CorpusError, StoreError


def linked(stream: RowStream, sections: list[Section], folder: Path) -> tuple[list[Any], SkipCounts]:
    """The batches of every shard, by kept text and by the corpus; and what was skipped by the end."""
    begin, tail, skipped, found = Cursor(), None, dict[str, int](), list[Any]()
    texts = [keep(stream, section, folder / f"{section.number}.text")[0] for section in reversed(sections)]
    for section, file in zip(sections, reversed(texts), strict=True):
        here = replace(file, before=skipped)
        text = KeptText((here,) if tail is None else (tail, here))
        got = link(stream, section, begin, text=text, tail=folder / f"{section.number}.tail")
        n, reader = got.end.batches - begin.batches, replace(stream, kept=text, skipped=SkipCounts())
        batches = reader.batches(begin)
        own = [next(batches) for _ in range(n)]
        if n:
            assert repr(own[-1].after) == repr(got.end)
        found += own
        if got.tail is None:
            assert list(batches) == []
            assert repr(reader.end) == repr(got.end)
            return found, reader.skipped
        begin, tail, skipped = got.end, got.tail, got.skipped
    raise AssertionError("the last section is the end")


def assert_like_one_reader(stream: RowStream, folder: Path, *, size: int, sections: int = 1) -> int:
    """Gives the number of sections."""
    one = replace(stream, skipped=SkipCounts())
    whole = list(one.batches())
    found_sections = list(find_sections(stream, size=size, sections=sections))
    found, skipped = linked(stream, found_sections, folder)
    assert len(found) == len(whole)
    for a, b in zip(found, whole, strict=True):
        same(a, b)
        assert repr(a.after) == repr(b.after)
    if stream.config.max_rows is None:
        assert list(skipped.counts.items()) == list(one.skipped.counts.items())
    return len(found_sections)


@pytest.mark.parametrize("packing", ["concat", "document"])
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_sections_give_the_batches_of_one_reader(packing: Any, kind: str, tmp_path: Path, rng: Any) -> None:
    for i in range(3):
        texts = ["abcz "[int(rng.integers(5))] * int(n) for n in rng.integers(0, 30, int(rng.integers(5, 40)))]
        path = write(tmp_path, texts, kind, name=str(i))
        config = CollectConfig(
            row_length=5, batch_size=int(rng.integers(1, 4)), packing=packing, max_rows=17 * i or None
        )
        stream = RowStream([path, path], encode_words, 1, 2, config)
        for size in (1, 40, 10**9):
            assert_like_one_reader(stream, tmp_path, size=size, sections=3)


def test_records_that_are_skipped_are_counted_where_they_stand(tmp_path: Path) -> None:
    records: list[Any] = [
        {"no": 1},
        {"text": "abc" * 9},
        [],
        {"text": "ab" * 20},
        {"no": 2},
        {"text": "c" * 30},
        {"no": 1},
    ]
    path = write_records(tmp_path, records, "jsonl")
    stream = RowStream([path], encode, 1, 2, CollectConfig(row_length=5, batch_size=2))
    assert assert_like_one_reader(stream, tmp_path, size=20) == 3


def test_long_documents_in_parts_and_conversations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART", 40)
    monkeypatch.setattr(encoded, "PART", 40)
    talk = [{"role": "user", "content": "xyz"}, {"role": "assistant", "content": "zyx"}]
    records = [{"text": "ab cd " * 30}, {"messages": talk}, {"text": "abc"}, {"messages": talk}, {"text": "q r " * 50}]
    path = write_records(tmp_path, records * 2, "jsonl")
    stream = RowStream([path], encode, 1, 2, CollectConfig(row_length=7, batch_size=3), render=render, cuttable=True)
    assert assert_like_one_reader(stream, tmp_path, size=50) > 3


def test_token_ids_are_kept_like_text(tmp_path: Path) -> None:
    path = write_records(tmp_path, [{"input_ids": list(range(3, 3 + n))} for n in (9, 0, 40, 7, 30)], "parquet")
    stream = RowStream([path], encode, 1, 2, CollectConfig(row_length=6, batch_size=2))
    assert assert_like_one_reader(stream, tmp_path, size=10) == 4


def test_a_text_that_ends_early_is_an_error_of_its_reader_alone(tmp_path: Path) -> None:
    """The sections before it are found, and rows of `max_rows` that stand before it are made."""
    path = write_records(tmp_path, [{"text": "abc" * 9}, {"text": "abc" * 9}, {"no": 1}, {"text": "a" * 99}], "jsonl")
    stream = RowStream([path], encode, 1, 2, CollectConfig(row_length=5, batch_size=2, strict=True, max_rows=4))
    first, last = sections = list(find_sections(stream, size=20, sections=1))
    assert last.end is None
    with pytest.raises(CorpusError, match="record 3"):
        keep(stream, last, tmp_path / "1.text")
    found, _ = linked(stream, sections[:1], tmp_path)
    assert len(found) == 2
    assert first.end == last.begin


def test_a_corpus_without_rows_is_refused_at_its_end(tmp_path: Path) -> None:
    path = write(tmp_path, ["a", "b", "c"], "jsonl")
    stream = RowStream([path], encode, 1, 2, CollectConfig(row_length=50))
    sections = list(find_sections(stream, size=1, sections=1))
    assert len(sections) == 3
    with pytest.raises(CorpusError, match="3 documents hold 5 tokens, a row needs 50"):
        linked(stream, sections, tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2], lambda data: b"",
        lambda data: data.replace(b'"record": 2', b'"record": 3'),
        lambda data: data[:-400] + bytes([data[-400] ^ 1]) + data[-399:], lambda data: b"0" * 40, lambda data: None,
    ],
)  # fmt: skip
def test_damaged_text_is_refused_and_a_link_tokenises_instead(damage: Any, tmp_path: Path) -> None:
    path = write(tmp_path, ["abcabc" * n for n in range(12)], "jsonl")
    stream = RowStream([path], encode, 1, 2, CollectConfig(row_length=5, batch_size=2))
    section = Section(0, (0, 0), (0, 10))
    file, _ = keep(stream, section, tmp_path / "0.text")
    good = link(stream, section, Cursor(), text=KeptText((file,)), tail=tmp_path / "good")
    data = damage(file.path.read_bytes())
    file.path.unlink()
    if data is not None:
        file.path.write_bytes(data)
    with pytest.raises(StoreError, match=r"reading .*0\.text: "):
        list(file.items(SkipCounts()))
    again = link(stream, section, Cursor(), text=KeptText((file,)), tail=tmp_path / "again")
    assert repr(again.end) == repr(good.end)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "good").read_bytes()
    assert isinstance(good.tail, KeptFile)


def test_sections_behind_one_are_those_that_were_found_behind_it(tmp_path: Path) -> None:
    """So an interrupted search finds the same ones."""
    path = write(tmp_path, ["abcabc" * n for n in range(40)], "jsonl")
    stream = RowStream([path, path], encode, 1, 2, CollectConfig(row_length=5))
    whole = list(find_sections(stream, size=700, sections=3))
    assert len(whole) > 4
    for i, one in enumerate(whole[:-1]):
        assert list(find_sections(stream, size=700, sections=3, after=one)) == whole[i + 1 :]


def test_sections_shrink_evenly_so_that_workers_end_at_one_time(tmp_path: Path) -> None:
    path = write(tmp_path, ["a"] * 1000, "jsonl")
    found = list(find_sections(RowStream([path], encode, 1, 2, CollectConfig()), size=100, sections=8))
    lengths = [(1000 if one.end is None else one.end[1]) - one.begin[1] for one in found]
    assert lengths[:8] == [175, 154, 132, 111, 89, 68, 46, 25], "in the mean 100, rounded to documents"
    assert sum(lengths) == 1000
    assert set(lengths[8:-1]) == {25}


@pytest.mark.parametrize(("max_rows", "expected"), [(None, 40 * 200 / 8), (100, 100 * 4 / 8)])
def test_the_size_of_a_section_follows_from_the_rows_that_are_wanted(
    max_rows: int | None, expected: float, tmp_path: Path
) -> None:
    """Without BOS a row of 4 tokens has 4 characters; separators are some of them."""
    path = write(tmp_path, ["abcd" * 50] * 40, "jsonl")
    stream = RowStream([path], encode, 1, 2, CollectConfig(row_length=4, bos="none", max_rows=max_rows))
    size = section_size(stream, sections=8)
    assert np.isclose(size, expected, rtol=0.05)
