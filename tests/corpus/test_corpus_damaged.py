"""Corpora that fuzzing found: what ended the process, or was an error without a message."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from neurolocal.corpus import corpus_listing
from neurolocal.corpus.readers import documents
from neurolocal.errors import CorpusError

DAMAGED = Path(__file__).parent / "damaged"


def test_a_parquet_file_on_which_pyarrow_ends_the_process() -> None:
    """Its size statistics have another length than its levels: a C++ exception that nobody catches."""
    with pytest.raises(CorpusError, match="pyarrow cannot read it in a process of its own: its process ended"):
        list(documents([DAMAGED / "size_statistics.parquet"]))


def test_a_ring_of_links_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "a"}))
    (tmp_path / "ring.jsonl").symlink_to("ring.jsonl")
    found = corpus_listing(tmp_path)
    assert [path.name for path in found.files] == ["a.jsonl"]
    assert "ring.jsonl" in found.line()


@pytest.mark.parametrize("name", ["state.json", "data.arrow"])
@pytest.mark.parametrize("ring", [False, True])
def test_a_saved_data_set_whose_files_are_links_out_of_it(name: str, ring: bool, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    table = pa.table({"text": ["a cat"]})
    with pa.OSFile(str(folder / "data.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as out:
        out.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}]}))
    (folder / "dataset_info.json").write_text("{}")
    assert len(list(documents([folder]))) == 1
    (folder / name).rename(tmp_path / name)
    (folder / name).symlink_to(name if ring else tmp_path / name)
    with pytest.raises(
        CorpusError, match="a link that leads out of the data set" if not ring else "reading the corpus"
    ):
        list(documents([folder]))
