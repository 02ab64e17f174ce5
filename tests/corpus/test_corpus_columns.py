"""Hostile tables: no fetch, nothing outside the folder, and what cannot be decoded is skipped and said."""

from __future__ import annotations

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from corpus_twins import write

from neurolocal.corpus import documents
from neurolocal.corpus.readers import SkipCounts
from neurolocal.errors import CorpusError


@pytest.fixture
def server():
    """A server on this machine that counts what it is asked; its address, and the paths asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(404)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    running = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}", asked
    running.shutdown()
    running.server_close()
    thread.join()


def saved(folder: Path, table: pa.Table, features: dict[str, Any]) -> Path:
    """A data set as `save_to_disk` writes it, with features of our own."""
    folder.mkdir(parents=True)
    said = json.dumps({"info": {"features": features}})
    table = table.replace_schema_metadata({"huggingface": said})
    with (
        pa.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema) as out,
    ):
        out.write_table(table)
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_format_type": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    return folder


def read(path: Path, **options: Any) -> tuple[list[str], SkipCounts]:
    skipped = SkipCounts()
    return [d.text for d in documents([path], skipped=skipped, **options)], skipped


@pytest.mark.parametrize("kind", ["Image", "Audio"])
def test_a_picture_with_an_address_is_not_fetched(kind, server, tmp_path) -> None:
    address, asked = server
    one = {"bytes": None, "path": f"{address}/x.png"}
    pictures = pa.array([one] * 2, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    string, picture = {"dtype": "string", "_type": "Value"}, {"_type": kind}
    subset = pa.array([{"pile_set_name": "Wiki", "picture": one}] * 2, pa.struct(
        {"pile_set_name": pa.string(), "picture": pa.struct({"bytes": pa.binary(), "path": pa.string()})}
    ))  # fmt: skip
    table = pa.table({"text": ["a", "b"], "picture": pictures, "meta": subset})
    features = {"text": string, "picture": picture, "meta": {"pile_set_name": string, "picture": picture}}
    path = saved(tmp_path / "beside", table, features)
    assert [(d.text, d.subset) for d in documents([path])] == [("a", "Wiki"), ("b", "Wiki")]
    texts, skipped = read(saved(tmp_path / "text", pa.table({"text": pictures}), {"text": picture}))
    assert texts == []
    assert skipped.counts == {'no text in the field "text"': 2}
    assert asked == []


OUTSIDE = ["../../x.arrow", "/etc/passwd", "..", "", "sub/x.arrow", "a\\b.arrow", "x\0.arrow", None]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_file_outside_the_data_set_is_refused(name, tmp_path) -> None:
    path = write(tmp_path, ["x"], "dataset")
    (arrow,) = path.glob("*.arrow")
    (tmp_path.parent / "x.arrow").write_bytes(arrow.read_bytes())
    state = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps(state | {"_data_files": [{"filename": name}]}))
    with pytest.raises(CorpusError, match=r"state\.json names '.*'; expected a file of the same folder|missing"):
        list(documents([path]))


def test_a_split_outside_the_data_set_is_refused(tmp_path) -> None:
    path = write(tmp_path, ["x", "y"], "dict")
    (path / "dataset_dict.json").write_text(json.dumps({"splits": ["../other"]}))
    with pytest.raises(CorpusError, match=r"dataset_dict\.json names '\.\./other'; expected a file of the same folder"):
        list(documents([path]))


def test_links_lead_out_in_a_hub_cache_alone(tmp_path) -> None:
    for cache in (True, False):
        root = tmp_path / ("hub" if cache else "own")
        folder = root / "snapshots" / "0123" if cache else root
        blobs = root / "blobs" if cache else tmp_path / "elsewhere"
        folder.mkdir(parents=True)
        blobs.mkdir(parents=True)
        path = write(folder, ["x"], "dataset")
        (arrow,) = path.glob("*.arrow")
        arrow.rename(blobs / "blob")
        arrow.symlink_to(blobs / "blob")
        if cache:
            assert read(path)[0] == ["x"]
        else:
            with pytest.raises(CorpusError, match="a link that leads out of the data set"):
                read(path)


def test_dates_beyond_pythons_range_beside_the_text(tmp_path) -> None:
    far = 1 << 62
    columns = {
        "when": pa.array([far], pa.timestamp("us")),
        "day": pa.array([2_000_000_000], pa.date32()),
        "long": pa.array([far], pa.duration("s")),
        "zone": pa.array([0], pa.timestamp("ns", tz="No/Where")),
    }
    meta = pa.StructArray.from_arrays([pa.array(["Wiki"]), *columns.values()], ["pile_set_name", *columns])
    table = pa.table({"text": ["a"], "meta": meta, **columns})
    arrow = saved(tmp_path / "set", table, {})
    stored = {name: column for name, column in columns.items() if name != "long"}  # parquet has no durations of its own
    meta = pa.StructArray.from_arrays([pa.array(["Wiki"]), *stored.values()], ["pile_set_name", *stored])
    parquet.write_table(pa.table({"text": ["a"], "meta": meta, **stored}), tmp_path / "a.parquet")
    for path in (arrow, tmp_path / "a.parquet"):
        assert [(d.text, d.subset) for d in documents([path])] == [("a", "Wiki")]
        for name in stored:
            texts, skipped = read(path, text_field=name)
            assert texts == []
            assert skipped.counts.total() == 1


def test_a_string_that_is_no_utf8_is_skipped(tmp_path) -> None:
    broken = pa.StringArray.from_buffers(2, pa.py_buffer(b"\0\0\0\0\1\0\0\0\4\0\0\0"), pa.py_buffer(b"a\xffbc"))
    parquet.write_table(pa.table({"text": broken}), tmp_path / "a.parquet")
    texts, skipped = read(tmp_path / "a.parquet")
    assert texts == ["a"]
    assert skipped.counts == {"not UTF-8": 1}


def test_the_rows_before_a_place_are_not_decoded(tmp_path, monkeypatch) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"text": [str(i) for i in range(100)]}), path, row_group_size=10)
    assert [d.text for d in documents([path], record=57)] == [str(i) for i in range(57, 100)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("state.json", "[" * 100_000), ("state.json", "{}"), ("state.json", "[]"), ("state.json", "\xff"),
        ("state.json", '{"_data_files": [{"filename": "none.arrow"}]}'), ("state.json", '{"_data_files": [1]}'),
        ("data-00000-of-00001.arrow", ""), ("data-00000-of-00001.arrow", "no arrow" * 99),
        ("dataset_dict.json", '{"splits": []}'), ("dataset_dict.json", '{"splits": ["none"]}'),
    ],
)  # fmt: skip
def test_a_damaged_data_set_is_one_error(name, content, tmp_path) -> None:
    path = write(tmp_path, ["x"], "dataset")
    (path / name).write_text(content, encoding="latin-1")
    with pytest.raises(CorpusError, match=f"reading the corpus {path}: "):
        list(documents([path]))


def test_every_cut_and_flipped_arrow_file_is_text_or_an_error(tmp_path, rng) -> None:
    path = write(tmp_path, ["word " * 20, "more " * 20], "dataset")
    (arrow,) = path.glob("*.arrow")
    whole = arrow.read_bytes()
    arrow.unlink()
    for i in range(150):
        data = bytearray(whole[: int(rng.integers(len(whole)))] if i % 3 == 0 else whole)
        for _ in range(int(rng.integers(1, 4)) if i % 3 else 0):
            data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        arrow.write_bytes(bytes(data))
        with contextlib.suppress(CorpusError):
            read(path)
