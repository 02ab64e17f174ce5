"""Other storage than the disk: corpora and shards at an address of fsspec, such as s3://bucket/pile/*.jsonl.zst."""

from neurolocal.storage.address import Address, located, refuse_address
from neurolocal.storage.stored import StoredFile, on_disk, stored_files

__all__ = ["Address", "StoredFile", "located", "on_disk", "refuse_address", "stored_files"]
