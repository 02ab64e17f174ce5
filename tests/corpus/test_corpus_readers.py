"""Every kind of file gives its texts, from any record on; what is broken is counted, named, and never a traceback."""

import gzip
import json
import os
import re

import numpy as np
import pytest
import zstandard
from corpus_twins import KINDS, write
from hypothesis import given, settings
from hypothesis import strategies as st

from neurolocal.corpus import corpus_files, documents, encodings
from neurolocal.corpus.lines import ENDLESS
from neurolocal.corpus.readers import SkipCounts
from neurolocal.corpus.sizes import corpus_bytes
from neurolocal.errors import CorpusError

TEXTS = ["Once upon a time", "", "é ünïcode\n日本", "x" * 300, "last\x00one", "\r\n", "seventh"]


def texts_of(path, **options):
    return [d.text for d in documents(corpus_files(path), **options)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_from_every_record(tmp_path, kind):
    path = write(tmp_path, TEXTS, kind)
    all_of_them = list(documents(corpus_files(path)))
    assert [d.text for d in all_of_them] == TEXTS
    assert [d.record for d in all_of_them] == list(range(len(TEXTS)))
    assert {d.subset for d in all_of_them} == {"Wiki"}
    read = [d.read for d in all_of_them]
    assert read == sorted(read)
    assert 0 < read[-1] <= corpus_bytes(corpus_files(path))
    for first in range(len(TEXTS) + 1):
        assert list(documents(corpus_files(path), record=first)) == all_of_them[first:]


def test_a_folder_by_name_from_every_place(tmp_path):
    for i, kind in enumerate(("jsonl", "jsonl.zst", "parquet", "jsonl.gz")):
        (tmp_path / f"{i}").mkdir()
        write(tmp_path / f"{i}", [f"{i}{t}" for t in TEXTS[:3]], kind)
    (tmp_path / "2" / "README.md").write_text("no text")
    (tmp_path / "2" / ".hidden.txt").write_text("no text")
    (tmp_path / "4.txt").write_text("4 the end")
    files = corpus_files(tmp_path)
    found = list(documents(files))
    assert [d.text for d in found] == [f"{i}{t}" for i in range(4) for t in TEXTS[:3]] + ["4 the end"]
    assert found[-1].read == corpus_bytes(files)
    for i, document in enumerate(found):
        assert list(documents(files, file=document.file, record=document.record)) == found[i:]


def test_several_zstd_frames_and_gzip_members(tmp_path):
    lines = [json.dumps({"text": t}).encode() + b"\n" for t in TEXTS]
    whole = b"".join(lines)
    cut = len(whole) // 3  # frames need not end with a line
    for name, pack in (("a.jsonl.zst", zstandard.ZstdCompressor().compress), ("b.jsonl.gz", gzip.compress)):
        (tmp_path / name).write_bytes(pack(whole[:cut]) + pack(b"") + pack(whole[cut:]))
        assert texts_of(tmp_path / name) == TEXTS


@pytest.mark.parametrize("kind", ["jsonl.gz", "jsonl.zst", "parquet"])
def test_cut_inside(tmp_path, kind):
    rng = np.random.default_rng(0)
    texts = ["".join(map(chr, rng.integers(97, 122, 4000))) for _ in range(40)]
    path = write(tmp_path, texts, kind)
    content = path.read_bytes()
    for share in (0.1, 0.5, 0.99):
        path.write_bytes(content[: int(share * len(content))])
        got = []
        with pytest.raises(CorpusError) as caught:
            got.extend(d.text for d in documents(corpus_files(path)))
        assert got == texts[: len(got)]
        assert str(path) in str(caught.value)
        assert "resumes when the file is complete" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_flipped_bytes_are_a_corpus_error_or_nothing(tmp_path):
    for kind in ("jsonl.gz", "jsonl.zst", "parquet", "dataset"):
        path = write(tmp_path, TEXTS, kind)
        files = [f for f in path.rglob("*") if f.is_file()] if path.is_dir() else [path]
        for file in files:
            content = file.read_bytes()
            for at in np.linspace(0, len(content) - 1, 12, dtype=int):
                broken = bytearray(content)
                broken[at] ^= 0xFF
                file.write_bytes(broken)
                try:
                    texts_of(path)
                except CorpusError as error:
                    said = str(error)
                else:
                    said = "read"
                assert "\n" not in said
            file.write_bytes(content)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.txt"])
def test_an_empty_file_holds_nothing(tmp_path, name):
    pack = {"gz": gzip.compress, "zst": zstandard.ZstdCompressor().compress}.get(name.rpartition(".")[2], bytes)
    for content in (b"", pack(b""), pack(b"\n\n") if name != "a.txt" else b""):
        (tmp_path / name).write_bytes(content)
        assert texts_of(tmp_path / name) == []


@settings(max_examples=40)
@given(text=st.text(st.sampled_from("ab \né日"), max_size=200), piece=st.integers(4, 40))
def test_a_text_file_in_pieces(tmp_path_factory, text, piece):
    path, before = tmp_path_factory.mktemp("t") / "a.txt", encodings.TEXT_PIECE
    path.write_bytes(text.encode())
    encodings.TEXT_PIECE = piece
    try:
        found = list(documents([path]))
        assert "".join(d.text for d in found).rstrip() == text.rstrip()
        assert all(len(d.text) <= 2 * piece for d in found)
        for i, document in enumerate(found):
            assert i + 1 == len(found) or document.text[-1] in " \n" or not set(document.text) & set(" \n")
            assert list(documents([path], record=document.record)) == found[i:]
    finally:
        encodings.TEXT_PIECE = before


HOSTILE = [
    (b"no json", "not JSON", "no json"),
    (b"\xff\xfe\x00", "not UTF-8", r"byte 0 of the line is b'\xff'"),
    (b'{"text": "cut', "not JSON", '{"text": "cut'),
    (b"[" * 100_000, "not JSON", "[[["),
    (b'{"text":' + b"9" * 5000 + b"}", "not JSON", '{"text":999'),
    (b"[1]", "not a JSON object", "list"),
    (b'{"content": 1, "id": 2}', 'no text in the field "text"', '"content", "id"'),
    (b'{"text": ["a"]}', 'no text in the field "text"', '"text"; list in it'),
    (b"{}", 'no text in the field "text"', "nothing"),
    (b'{"\\n\\ud800' + b"k" * 500 + b'": 1}', 'no text in the field "text"', '"\\n\\ud800kkk'),
]


@pytest.mark.parametrize(("line", "reason", "found"), HOSTILE)
def test_a_broken_line_is_skipped_counted_and_named(tmp_path, line, reason, found):
    path, good = tmp_path / "a.jsonl", json.dumps({"text": "good"}).encode()
    path.write_bytes(b"\n".join([good, b"", line, good, line]))
    skipped = SkipCounts()
    assert [(d.text, d.record) for d in documents([path], skipped=skipped)] == [("good", 0), ("good", 3)]
    assert skipped.counts == {reason: 2}
    said = skipped.first[reason]
    assert said.startswith(f"{path}, record 3: {found}")
    assert said.isascii()
    assert "\n" not in said
    assert len(said) < len(str(path)) + 150
    with pytest.raises(CorpusError) as caught:
        list(documents([path], strict=True))
    assert f"reading {path}, record 3: {reason} (found: {found}" in str(caught.value)
    assert "omit --strict to skip it" in str(caught.value)


def test_lone_surrogates_become_question_marks(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a\\ud800b \\ud83d\\ude00", "meta": {"pile_set_name": "\\udfff"}}')
    (found,) = documents([tmp_path / "a.jsonl"])
    assert (found.text, found.subset) == ("a?b \U0001f600", "?")


def test_another_field(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"content": "yes"}')
    assert texts_of(tmp_path / "a.jsonl", text_field="content") == ["yes"]


@pytest.mark.parametrize("kind", ["parquet", "dataset", "dict"])
def test_a_table_without_the_column(tmp_path, kind):
    path, skipped = write(tmp_path, TEXTS, kind), SkipCounts()
    assert list(documents(corpus_files(path), text_field="body", skipped=skipped)) == []
    assert set(skipped.counts) == {'no column "body"'}
    assert '"text", "meta"' in skipped.first['no column "body"']


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_that_is_too_long_is_skipped(tmp_path, kind):
    texts, skipped = ["a" * 100, "b" * 3000, "c" * 100], SkipCounts()
    (path,) = corpus_files(write(tmp_path, texts, kind))
    found = [(d.text, d.record) for d in documents([path], longest=200, skipped=skipped)]
    assert found == [(texts[0], 0), (texts[2], 2)]
    assert skipped.counts == {"longer than longest_record": 1}
    assert re.search(r"record 2: 3,\d{3} bytes; the limit is 200$", skipped.first["longer than longest_record"])
    with pytest.raises(CorpusError, match=r"longer than longest_record .*omit --strict"):
        list(documents([path], longest=200, strict=True))


def test_an_endless_line_ends_the_run(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "x"}\n' + b"a" * (ENDLESS * 200 + 1) + b"\n")
    with pytest.raises(CorpusError, match=r"record 2: a line of over 3,200 bytes\. Check that .* leave the file out"):
        list(documents([path], longest=200))


def test_what_is_no_corpus(tmp_path):
    with pytest.raises(CorpusError, match=r"none: no such file or folder. Check the path"):
        corpus_files(tmp_path / "none")
    with pytest.raises(CorpusError, match=r"the folder holds no .jsonl, .*parquet"):
        corpus_files(tmp_path)
    (tmp_path / "a.pdf").write_text("")
    with pytest.raises(CorpusError, match=r"a.pdf: unknown kind of file. Give one of .jsonl, .*, or a folder"):
        corpus_files(tmp_path / "a.pdf")


def test_a_saved_data_set_in_a_folder_named_like_a_file(tmp_path):
    path = write(tmp_path, TEXTS, "dataset").rename(tmp_path / "pile.jsonl")
    assert texts_of(path) == TEXTS


def test_a_file_that_vanishes(tmp_path):
    path = write(tmp_path, TEXTS, "jsonl")
    files = corpus_files(path)
    path.unlink()
    with pytest.raises(CorpusError, match="The file is missing"):
        list(documents(files))


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "jsonl.zst", "txt"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("strict", [False, True])
def test_a_file_cut_while_it_is_read(tmp_path, rng, kind, share, strict):
    """Whatever lies behind what was read, the end of the file is no end of the corpus."""
    texts = ["".join(map(chr, rng.integers(97, 123, 4000))) for _ in range(200)]
    if kind == "txt":
        (path := tmp_path / "a.txt").write_text(" ".join(texts * 4))
    else:
        path = write(tmp_path, texts, kind)
    size, whole, skipped = path.stat().st_size, list(documents([path])), SkipCounts()
    reading = documents([path], strict=strict, skipped=skipped)
    got = [next(reading)]
    os.truncate(path, int(share * size))
    with pytest.raises(CorpusError, match="cut" if kind in ("jsonl", "txt") else None) as caught:
        got.extend(reading)
    assert str(path) in str(caught.value)
    assert "resumes when the file is complete" in str(caught.value)
    assert [d.text for d in got] == [d.text for d in whole[: len(got)]]  # no half of a document
    assert not skipped.counts


def test_a_file_that_grows_while_it_is_read(tmp_path):
    path = write(tmp_path, TEXTS, "jsonl")
    reading = documents([path])
    first = next(reading).text
    with path.open("a") as file:
        file.write(json.dumps({"text": "more"}) + "\n")
    assert [first, *(d.text for d in reading)] in ([*TEXTS, "more"], TEXTS)
