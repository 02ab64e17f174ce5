"""The same on S3: a server on loopback."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from neurolocal.config import CollectConfig
from neurolocal.corpus import RowStream, batches
from neurolocal.errors import StorageError
from neurolocal.storage import Address, calls, on_disk, stored_files

sys.path.append(str(Path(__file__).parents[1] / "corpus"))

from corpus_twins import encode

pytestmark = pytest.mark.slow


def test_a_listing_states_etags_and_a_changed_object_is_noticed(s3: Any) -> None:
    s3.pipe("bucket/pile/a.jsonl", b"x" * 100)
    s3.pipe("bucket/pile/../up.jsonl", b"x")
    files, _ = stored_files(Address("s3", "bucket/pile"))
    assert [(str(file), file.size) for file in files] == [("s3://bucket/pile/a.jsonl", 100)]
    assert files[0].content.startswith('ETag "')
    assert files == stored_files(Address("s3", "bucket/pile/*.jsonl"))[0]
    assert files == stored_files(Address("s3", "bucket/pile/a.jsonl"))[0]
    assert files[0].open().read() == b"x" * 100
    s3.pipe("bucket/pile/a.jsonl", b"y" * 100)
    with pytest.raises(StorageError, match="it was changed on the storage"):
        files[0].open().read()


def test_what_s3_refuses_says_what_to_do_without_keys(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StorageError, match="listing s3://bucket/none: there is nothing at this address"):
        stored_files(Address("s3", "bucket/none"))
    with pytest.raises(StorageError, match=r"listing s3://no-such-bucket/[*]: there is nothing at this address"):
        stored_files(Address("s3", "no-such-bucket/*"))


def test_a_server_that_is_away_ends_with_what_to_do(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.pipe("bucket/a.jsonl", b"x" * 100)
    file = stored_files(Address("s3", "bucket/a.jsonl"))[0][0]
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(calls, "TRIES", 2)
    calls._filesystem.cache_clear()
    with pytest.raises(StorageError, match=r"reading s3://bucket/a.jsonl: tried 2 times in .* Check the network"):
        file.open().read()


def test_a_process_ahead_of_the_model_reads_the_same(s3: Any) -> None:
    """As for a model on a GPU: the files are sent to the process, which connects by itself."""
    s3.pipe("bucket/a.jsonl", b"".join(b'{"text": "%d words of a text"}\n' % i for i in range(200)))
    stream = RowStream(
        stored_files(Address("s3", "bucket/a.jsonl"))[0], encode, 1, 2, CollectConfig(row_length=64, batch_size=4)
    )
    ahead = [batch.after.facts() for batch in batches(stream, process=True)]
    assert ahead == [batch.after.facts() for batch in stream.batches()]
    assert len(ahead) > 3


def test_a_copy(s3: Any, tmp_path: Path) -> None:
    data = bytes(range(256)) * 1000
    s3.pipe("bucket/a.parquet", data)
    with on_disk(stored_files(Address("s3", "bucket/a.parquet"))[0][0]) as copy:
        assert copy.read_bytes() == data
