"""Collections from an address: the store of a disk, bit for bit, however it was interrupted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import pytest
import zstandard
from buckets import memory, s3_server
from small_run import TEXT

from neurolocal.config import CollectConfig
from neurolocal.errors import StorageError, StoreError
from neurolocal.pipeline.collect import Collection, collect_store
from neurolocal.pipeline.run import read_run
from neurolocal.storage import Address, calls, stored

sys.path.append(str(Path(__file__).parents[1] / "scale"))

from contents import content

SETTINGS = CollectConfig(row_length=32, batch_size=4, k=3, logits=0, layers=(1, 2))
FILES, DOCUMENTS = 3, 16


def packed(file: int) -> bytes:
    lines = [json.dumps({"text": f"{file} {i} {TEXT[i : i + 200]}"}) for i in range(DOCUMENTS)]
    return zstandard.ZstdCompressor().compress("\n".join(lines).encode())


def fill(system: Any, pile: str) -> None:
    for i in range(FILES):
        system.pipe(f"{pile}/{i:02}.jsonl.zst", packed(i))


@pytest.fixture(scope="session")
def local(subject: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the store holds that was collected from a disk."""
    folder = tmp_path_factory.mktemp("local")
    (folder / "pile").mkdir()
    for i in range(FILES):
        (folder / "pile" / f"{i:02}.jsonl.zst").write_bytes(packed(i))
    collect(subject, folder / "pile", folder / "s.h5")
    return shared(folder / "s.h5")


def collect(subject: Any, corpus: Any, store: Path, **how: Any) -> Any:
    return collect_store(Collection(subject, corpus, store, SETTINGS), say=lambda line: None, bar=False, **how)


def shared(path: Path) -> dict[str, Any]:
    """Every dataset byte for byte, and the manifest but for what names the files."""
    found = content(path)
    manifest = json.loads(found["manifest"])
    manifest["corpus"] = {
        name: value for name, value in manifest["corpus"].items() if name not in ("path", "files")
    } | {"names": [file["name"] for file in manifest["corpus"]["files"]]}
    return found | {"manifest": manifest}


def test_a_store_from_an_address_is_that_from_a_disk(
    subject: Any, local: dict[str, Any], bucket: Any, tmp_path: Path
) -> None:
    fill(bucket, "/bucket/pile")
    store = tmp_path / "s.h5"
    collect(subject, Address("memory", "bucket/pile/*.jsonl.zst"), store)
    assert shared(store) == local
    with h5py.File(store) as file:
        files = json.loads(str(file.attrs["manifest"]))["corpus"]["files"]
    assert [(f["name"], f["sha256"], f["size"]) for f in files] == [
        (f"{i:02}.jsonl.zst", None, len(packed(i))) for i in range(FILES)
    ]
    said: list[str] = []
    job = Collection(subject, Address("memory", "bucket/pile/*.jsonl.zst"), store, SETTINGS)
    assert collect_store(job, say=said.append, bar=False) is None
    bucket.pipe("/bucket/pile/00.jsonl.zst", packed(7))
    with pytest.raises(StoreError, match=r"made from something else \(corpus.00.jsonl.zst"):
        collect_store(job, say=said.append, bar=False)


def after(batches: int) -> Any:
    """Stops after so many batches."""
    done: list[None] = []

    def stop() -> bool:
        done.append(None)
        return len(done) == batches

    return stop


def test_a_stopped_collection_resumes_at_its_cursor(
    subject: Any, local: dict[str, Any], bucket: Any, tmp_path: Path
) -> None:
    fill(bucket, "/bucket/pile")
    store, corpus = tmp_path / "s.h5", Address("memory", "bucket/pile")
    for n in (3, 8, 12):
        assert not collect(subject, corpus, store, stop=after(n)).complete
    assert collect(subject, corpus, store).complete
    assert shared(store) == local


def test_a_file_that_changed_between_two_runs_is_noticed(subject: Any, bucket: Any, tmp_path: Path) -> None:
    fill(bucket, "/bucket/pile")
    store, corpus = tmp_path / "s.h5", Address("memory", "bucket/pile")
    collect(subject, corpus, store, stop=after(3))
    bucket.pipe("/bucket/pile/00.jsonl.zst", packed(7))
    with pytest.raises(StoreError, match="made from something else"):
        collect(subject, corpus, store)


def test_a_run_file_may_name_an_address_as_its_corpus_alone(tmp_path: Path) -> None:
    run = tmp_path / "RUN.toml"
    text = "[run]\nsubject = 'x'\ncorpus = {!r}\nstore = {!r}\n"
    run.write_text(text.format("memory://bucket/pile", "s.h5"))
    assert read_run(run).corpus == Address("memory", "bucket/pile")
    run.write_text(text.format("memory://bucket/pile", "s3://bucket/s.h5"))
    with pytest.raises(Exception, match=r"\[run\]: store = s3://bucket/s.h5: an address, where a path"):
        read_run(run)
    run.write_text(text.format("s3://me:s3cr3t@bucket/pile", "s.h5"))
    with pytest.raises(Exception, match=r"\[run\]: corpus = .* holds a user name") as refused:
        read_run(run)
    assert "s3cr3t" not in str(refused.value)


def command(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    code = "from neurolocal.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_the_command_on_s3_and_what_it_leaves(
    local: dict[str, Any], s3: Any, fixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that the run leaves or says holds the keys; it is killed once and resumes."""
    fill(s3, "bucket/pile")
    options = (
        "collect", "--subject", fixtures / "stories260k", "--corpus", "s3://bucket/pile/*.jsonl.zst",
        "--store", "s.h5", "--row-length", 32, "--batch-size", 4, "--k", 3, "--logits", 0, "--layers", "1,2",
    )  # fmt: skip
    running = subprocess.Popen(
        [sys.executable, "-c", KILLED_AFTER_A_CHECKPOINT, *map(str, options), "--checkpoint-rows", "8"], cwd=tmp_path
    )
    assert running.wait() == 9
    done = command(*options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "resuming at row" in done.stderr
    assert shared(tmp_path / "s.h5") == local
    left = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for secret in ("a-secret-key", "an-access-key"):
        assert secret not in done.stderr + done.stdout
        assert secret.encode() not in left
    refused = command("collect", *options[1:5], "--store", "s3://bucket/s.h5", cwd=tmp_path)
    assert (refused.returncode, "an address, where a path of this machine" in refused.stderr) == (1, True)
    monkeypatch.setenv("NEUROLOCAL_OFFLINE", "1")
    refused = command(*options, cwd=tmp_path)
    assert (refused.returncode, "NEUROLOCAL_OFFLINE is set" in refused.stderr) == (1, True)


@pytest.mark.slow
def test_shards_are_uploaded_and_merged_and_a_cut_one_is_collected_again(
    local: dict[str, Any], s3: Any, fixtures: Path, tmp_path: Path
) -> None:
    fill(s3, "bucket/pile")
    options = (
        "collect", "--subject", fixtures / "stories260k", "--corpus", "s3://bucket/pile/", "--row-length", 32,
        "--batch-size", 4, "--k", 3, "--logits", 0, "--layers", "1,2", "--upload", "s3://bucket/run/",
    )  # fmt: skip
    for i in range(2):
        done = command(*options, "--shard", f"{i}/2", "--store", f"part{i}.h5", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert f"part{i}.h5 is at s3://bucket/run/part{i}." in done.stderr
    (there,) = s3.glob("bucket/run/part1.*.h5")
    s3.pipe(there, s3.cat(there)[:-100])
    merged = command("merge", "s.h5", "s3://bucket/run/", cwd=tmp_path)
    assert merged.returncode == 1
    assert f"fetching s3://{there}: it is damaged" in merged.stderr
    (tmp_path / "part1.h5").unlink()
    assert command(*options, "--shard", "1/2", "--store", "part1.h5", cwd=tmp_path).returncode == 0
    merged = command("merge", "s.h5", "s3://bucket/run/", cwd=tmp_path)
    assert merged.returncode == 0, merged.stderr
    assert shared(tmp_path / "s.h5") == local
    again = command(*options, "--shard", "0/2", "--store", "part0.h5", cwd=tmp_path)
    assert (again.returncode, "nothing to do" in again.stderr, "is at s3://" in again.stderr) == (0, True, True)
    refused = command(*options[:-1], "s3://no-such-bucket/run/", "--store", "x.h5", cwd=tmp_path)
    assert refused.returncode == 1
    assert "writing to s3://no-such-bucket/run/" in refused.stderr


KILLED_AFTER_A_CHECKPOINT = """
import os
import neurolocal.pipeline.collect as collect
real, n = collect.write_store, 0
def counted(*args, **how):
    global n
    found = real(*args, **how)
    n += 1
    if n == 3:
        os._exit(9)
    return found
collect.write_store = counted
from neurolocal.cli.main import main
main()
"""


@pytest.mark.slow
def test_a_server_that_goes_away_ends_the_run_which_resumes_on_another_one(
    subject: Any, local: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "FIRST_BLOCK", 1 << 8)
    monkeypatch.setattr(stored, "BLOCK", 1 << 8)
    monkeypatch.setattr(calls, "TRIES", 2)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    store, corpus = tmp_path / "s.h5", Address("s3", "bucket/pile")
    with s3_server(monkeypatch) as system:
        fill(system, "bucket/pile")
        real, last = stored.StoredFile.block, f"{FILES - 1:02}.jsonl.zst"

        def block(self: Any, begin: int, n: int) -> bytes:
            if self.name == last and begin:
                monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
                calls._filesystem.cache_clear()
            return real(self, begin, n)

        with monkeypatch.context() as patch:
            patch.setattr(stored.StoredFile, "block", block)
            with pytest.raises(StorageError, match=rf"reading s3://bucket/pile/{last}: tried 2 times"):
                collect(subject, corpus, store)
    calls._filesystem.cache_clear()
    with s3_server(monkeypatch) as system:
        fill(system, "bucket/pile")
        assert collect(subject, corpus, store).complete
        assert shared(store) == local


def test_memory_is_one_for_the_process() -> None:
    """Guards the tests above: what one of them writes no other one sees."""
    with memory() as system:
        assert not system.store
