"""Texts in every kind of file, and a tokenizer that anyone can follow."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import zstandard

KINDS = ("jsonl", "jsonl.gz", "jsonl.zst", "parquet", "dataset", "dict")


def encode(texts: list[str]) -> list[list[int]]:
    """One id a character: its code point, kept under 1,000."""
    return [[10 + ord(c) % 990 for c in text] for text in texts]


def write(folder: Path, texts: list[str], kind: str, *, subset: str = "Wiki") -> Path:
    """The texts as one corpus of a kind."""
    records = [{"text": t, "meta": {"pile_set_name": subset}} for t in texts]
    path = folder / f"corpus.{kind}"
    lines = "".join(json.dumps(r) + "\n" for r in records).encode()
    if kind == "jsonl":
        path.write_bytes(lines)
    elif kind == "jsonl.gz":
        path.write_bytes(gzip.compress(lines))
    elif kind == "jsonl.zst":
        path.write_bytes(zstandard.ZstdCompressor().compress(lines))
    elif kind == "parquet":
        parquet.write_table(pa.Table.from_pylist(records), path, row_group_size=3)
    else:
        from datasets import Dataset, DatasetDict

        half = len(records) // 2
        data = Dataset.from_list(records)
        parts: Any = {"b": data.select(range(half, len(records))), "a": data.select(range(half))}
        (DatasetDict(parts) if kind == "dict" else data).save_to_disk(str(path))
    return path
