"""Addresses: which are taken, and that no credentials are shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from neurolocal.errors import StorageError
from neurolocal.storage import Address, located, refuse_address
from neurolocal.storage.address import scrubbed


def at(text: str) -> Path | Address:
    return located(text, doing="reading the corpus")


def test_paths_and_addresses_are_told_apart() -> None:
    assert at("pile/a.jsonl") == Path("pile/a.jsonl")
    assert at("file:///data/pile") == Path("/data/pile")
    assert at("memory://bucket/pile/*.zst") == Address("memory", "bucket/pile/*.zst")
    assert str(Address("memory", "bucket/pile/*.zst")) == "memory://bucket/pile/*.zst"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("s3://AKIA123:s3cr3t@bucket/pile", "s3cr3t"),
        ("s3://AKIA123@bucket/pile", "AKIA123"),
        ("sftp://me:passw0rd@host/pile", "passw0rd"),
        ("https://host/pile.jsonl?X-Amz-Signature=deadbeef", "deadbeef"),
        ("abfs://container@account.dfs.core.windows.net/pile?sig=deadbeef", "deadbeef"),
        ("simplecache::s3://key:s3cr3t@bucket/pile", "s3cr3t"),
    ],
)
def test_an_address_with_credentials_is_refused_and_does_not_show_them(text: str, secret: str) -> None:
    with pytest.raises(StorageError) as refused:
        at(text)
    assert secret not in str(refused.value)
    with pytest.raises(StorageError) as refused:
        refuse_address(text, doing="collecting into")
    assert secret not in str(refused.value)


def test_a_container_is_no_user_and_a_pattern_no_query(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neurolocal.storage.address._require_package", lambda *_, **__: None)
    container = "container@account.dfs.core.windows.net/pile"
    assert at(f"abfs://{container}") == Address("abfs", container)
    assert at("s3://bucket/part-0?.jsonl") == Address("s3", "bucket/part-0?.jsonl")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nothing://bucket/x", "fsspec knows no protocol nothing. Check the address"),
        ("memory://", "the address names nothing. Give a bucket and a path: memory://BUCKET/PATH"),
        ("zip://a::s3://bucket/b.zip", "an address of several protocols. Give one"),
    ],
)
def test_what_is_no_address(text: str, says: str) -> None:
    with pytest.raises(StorageError, match=says):
        at(text)


def test_a_protocol_whose_package_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(protocol: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.get_filesystem_class", missing)
    with pytest.raises(StorageError, match=r"not installed .* pip install 'neurolocal\[s3\]'"):
        at("s3://bucket/pile")


def test_offline_refuses_every_network_before_anything_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROLOCAL_OFFLINE", "1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("it connects"))
    for text in ("s3://bucket/pile", "http://127.0.0.1/pile.jsonl"):
        with pytest.raises(StorageError, match=r"NEUROLOCAL_OFFLINE is set, .* not even one of this machine"):
            at(text)
    assert at("memory://bucket/pile") == Address("memory", "bucket/pile")


def test_a_store_at_an_address_is_refused() -> None:
    with pytest.raises(StorageError, match=r"a store is written and read in place. Give a path on a disk or on NFS"):
        refuse_address("s3://bucket/s.h5", doing="collecting into")
    refuse_address("file:///data/s.h5", doing="collecting into")
    refuse_address("/data/s.h5", doing="collecting into")


def test_credentials_are_removed_from_what_a_library_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    monkeypatch.setitem(__import__("fsspec").config.conf, "s3", {"secret": "inTheConfig1", "endpoint_url": "http://h"})
    said = scrubbed(
        "GET http://me:pw@h/x?Signature=abc: wJalrXUtnFEMI, inTheConfig1 refused by http://h/x?a=1 and /b?c"
    )
    assert said == "GET http://***@h/x?*** ***, *** refused by http://h/x?*** and /b?c"
