"""Which files make a corpus, and texts in other encodings."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from neurolocal.corpus import corpus_files, corpus_listing, documents
from neurolocal.corpus.encodings import BROKEN_SHARE
from neurolocal.corpus.readers import SkipCounts
from neurolocal.errors import CorpusError


def line(text: str) -> str:
    return json.dumps({"text": text})


def test_links_are_followed_once_and_what_is_left_out_is_said(tmp_path) -> None:
    corpus, other = tmp_path / "corpus", tmp_path / "other"
    for folder in (corpus / "a", corpus / ".cache", corpus / ".ipynb_checkpoints", other):
        folder.mkdir(parents=True)
        (folder / "x.jsonl").write_text(line(str(folder.name)))
    (corpus / "b").symlink_to(other)
    (corpus / "c").symlink_to(other)
    (other / "up").symlink_to(corpus)
    (corpus / "dangling.jsonl").symlink_to(tmp_path / "nothing")
    (corpus / "linked.jsonl").symlink_to(other / "x.jsonl")
    (corpus / "d.json.gz").write_bytes(gzip.compress(line("packed").encode()))
    for name in ("README.txt", "requirements.txt", "LICENSE.txt", "a.pdf", "readable.txt"):
        (corpus / name).write_text("text")
    os.mkfifo(corpus / "pipe.jsonl")
    listing = corpus_listing(corpus)
    names = [str(path.relative_to(corpus)) for path in listing.files if isinstance(path, Path)]
    assert names == ["a/x.jsonl", "b/x.jsonl", "d.json.gz", "linked.jsonl", "readable.txt"]
    assert listing.left == {
        "about the corpus": ["LICENSE.txt", "README.txt", "requirements.txt"],
        "hidden": [".cache", ".ipynb_checkpoints"],
        "links to folders that are read already": ["b/up", "c"],
        "no plain files, or links to nothing": ["dangling.jsonl", "pipe.jsonl"],
        "of other kinds": ["a.pdf"],
    }
    assert listing.line().startswith("5 files are read; left out: about the corpus: LICENSE.txt, README.txt, req")
    assert [d.text for d in documents(listing.files)] == ["a", "other", "packed", "other", "text"]


def test_a_folder_of_nothing_says_what_is_in_it(tmp_path) -> None:
    (tmp_path / "a.pdf").touch()
    (tmp_path / ".b.jsonl").touch()
    with pytest.raises(
        CorpusError, match=r"holds no \.jsonl.* \(left out: hidden: \.b\.jsonl; of other kinds: a\.pdf\)"
    ):
        corpus_files(tmp_path)


def test_a_folder_that_cannot_be_read(tmp_path, monkeypatch) -> None:
    (tmp_path / "locked").mkdir()
    real = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(CorpusError, match=r"reading the corpus .*locked: Permission denied\. Make the folder readable"):
        corpus_files(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_is_obeyed(encoding, tmp_path) -> None:
    text = "naïve café, 日本語\n" * 50
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    assert [d.text for d in documents([tmp_path / "a.txt"])] == [text]
    path = tmp_path / "a.jsonl"
    path.write_bytes(f"{line('naïve')}\n{line('x')}\n".encode(encoding))
    if encoding.startswith("utf-8"):
        assert [d.text for d in documents([path])] == ["naïve", "x"]
    else:
        with pytest.raises(CorpusError, match=rf"it is {encoding.upper()}, and lines of JSON are UTF-8\. Convert it"):
            list(documents([path]))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ("naïve café, déjà vu, à la carte ".encode("latin-1") * 20, "no UTF-8"),
        ("plain words ".encode("utf-16-le") * 20, "NUL, as in UTF-16"),
    ],
)
def test_text_in_another_encoding_is_skipped_and_said(data: bytes, what: str, tmp_path) -> None:
    path, skipped = tmp_path / "a.txt", SkipCounts()
    path.write_bytes(data)
    assert list(documents([path], skipped=skipped)) == []
    assert skipped.counts == {"not UTF-8 text": 1}
    assert what in skipped.first["not UTF-8 text"]
    with pytest.raises(CorpusError, match="Repair it"):
        list(documents([path], strict=True))


def test_a_few_broken_bytes_are_counted_by_file(tmp_path) -> None:
    path, skipped = tmp_path / "a.txt", SkipCounts()
    n = int(1 / BROKEN_SHARE) + 5
    path.write_bytes(b"\xe9" + b"a" * n)
    assert [d.text for d in documents([path], skipped=skipped)] == ["\ufffd" + "a" * n]
    assert skipped.replaced == {str(path): 1}


def test_a_line_of_another_encoding_is_skipped(tmp_path) -> None:
    path, skipped = tmp_path / "a.jsonl", SkipCounts()
    path.write_bytes(line("x").encode() + b'\n{"text": "caf\xe9"}\n')
    assert [d.text for d in documents([path], skipped=skipped)] == ["x"]
    assert skipped.counts == {"not UTF-8": 1}
    assert r"byte 13 of the line is b'\xe9'" in skipped.first["not UTF-8"]


@pytest.mark.parametrize("most", [0, 1, 4, 5, 7, 99])
def test_at_most_so_many_records_are_read(most, tmp_path) -> None:
    """Broken ones count, so that a corpus without one document is not read to its end."""
    paths = []
    for name in ("a", "b", "c"):
        paths.append(tmp_path / f"{name}.jsonl")
        paths[-1].write_text("\n".join([line(f"{name}0"), "broken", line(f"{name}2")]))
    skipped = SkipCounts()
    found = [d.text for d in documents(paths, skipped=skipped, most=most)]
    whole = [text for name in "abc" for text in (f"{name}0", None, f"{name}2")][:most]
    assert found == [text for text in whole if text is not None]
    assert skipped.counts.total() == whole.count(None)


def test_a_name_with_control_characters_is_written_out(tmp_path) -> None:
    (tmp_path / "a.jsonl").write_text(line("x"))
    (tmp_path / "b\x1b[31m.pdf").touch()
    assert "'b\\x1b[31m.pdf'" in corpus_listing(tmp_path).line()


@pytest.mark.parametrize("data", ['{\n  "name": 1\n}\n', '[\n{"text": "x"}\n]\n', '[{"text": "x"}]', '"a text"'])
def test_json_that_is_not_one_object_a_line(data, tmp_path) -> None:
    """Settings beside a corpus are not thousands of broken records."""
    (tmp_path / "info.json").write_text(data)
    (tmp_path / "lines.json").write_text(line("x"))
    (tmp_path / "odd.json.gz").write_bytes(gzip.compress(data.encode()))
    (tmp_path / "cut.json.gz").write_bytes(gzip.compress(line("x").encode() * 99)[:-9])
    listing = corpus_listing(tmp_path)
    assert [path.name for path in listing.files] == ["cut.json.gz", "lines.json"]
    assert listing.left == {"JSON, but not one object a line": ["info.json", "odd.json.gz"]}
    with pytest.raises(
        CorpusError, match=r"it is JSON, but not one object a line\. Convert .* jq -c '\.\[\]' info\.json"
    ):
        corpus_files(tmp_path / "info.json")
