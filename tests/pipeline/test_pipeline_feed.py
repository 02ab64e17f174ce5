"""Stores from token ids, and from a feed in a process: those of the text, read in a thread."""

import functools
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from small_collection import after, content, run

from neurolocal import corpus as room
from neurolocal.errors import CorpusError


@pytest.fixture
def ids(subject, corpus, tmp_path):
    """The corpus as ids; a null where a record is broken."""
    rows = []
    for line in corpus.read_text().splitlines():
        text = None if line == "broken" else json.loads(line)["text"]
        rows.append(None if text is None else subject.encode_documents([text])[0][0].tolist())
    path = tmp_path / "c.parquet"
    parquet.write_table(pa.table({"input_ids": pa.array(rows, pa.list_(pa.int32()))}), path, row_group_size=7)
    return path


def without_text(found):
    """A store without what differs: the characters, the files' names, and why a record was skipped."""
    places = [name for name in found if name.endswith("/character")]
    assert places
    for name in places:
        del found[name]
    manifest = found.pop("manifest")
    for part in (manifest["corpus"], manifest["cursor"]):
        part["skipped"] = sum(part["skipped"].values())
    del manifest["corpus"]["files"], manifest["corpus"]["path"], manifest["tokenizer"]
    return {name: value for name, value in found.items() if name != "manifest"}, manifest


def test_a_store_of_ids_is_the_store_of_the_text(subject, corpus, ids, whole, tmp_path):
    """Also stopped and resumed; the manifest names the file of ids."""
    path = tmp_path / "s.h5"
    outcome = run(subject, ids, path, stop=after(5))
    assert outcome is not None
    assert not outcome.complete
    run(subject, ids, path)
    mine, theirs = content(path), content(whole[0])
    (file,) = mine["manifest"]["corpus"]["files"]
    assert (file["name"], len(file["sha256"])) == ("c.parquet", 64)
    assert mine["manifest"]["corpus"]["skipped"] == {"no token ids": 8}
    character = next(value for name, value in mine.items() if name.endswith("/character"))
    assert set(np.frombuffer(character[2], character[0]).tolist()) == {-1}
    assert without_text(mine) == without_text(theirs)


def test_an_id_of_another_model_ends_the_collection(subject, ids, tmp_path):
    """What came before it is kept; an id that only the tokenizer's larger vocabulary has is refused, too."""
    rows = parquet.read_table(ids).column(0).to_pylist()
    rows[30][5] = subject.d_vocab
    parquet.write_table(pa.table({"input_ids": pa.array(rows, pa.list_(pa.int32()))}), ids)
    with pytest.raises(CorpusError, match=f"record 31: the token id {subject.d_vocab} at position 5; the subject has"):
        run(subject, ids, tmp_path / "s.h5")
    assert content(tmp_path / "s.h5")["manifest"]["rows"] > 20


def test_a_feed_in_a_process_gives_the_same_store(subject, corpus, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "batches", functools.partial(_in_a_process, room.batches))
    path = tmp_path / "s.h5"
    outcome = run(subject, corpus, path, stop=after(4))
    assert outcome is not None
    assert not outcome.complete
    run(subject, corpus, path)
    assert content(path) == whole[1]


def _in_a_process(batches, stream, cursor, *, process):
    assert not process  # on a CPU
    return batches(stream, cursor, process=True)
