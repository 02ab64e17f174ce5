"""Texts in every kind of file, and a tokenizer that anyone can follow."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import zstandard

KINDS = ("jsonl", "jsonl.gz", "jsonl.zst", "parquet", "dataset", "dict")


def ids(texts: list[str]) -> list[list[int]]:
    """One id a character: its code point, kept under 1,000."""
    return [[10 + ord(c) % 990 for c in text] for text in texts]


def encode(texts: list[str]) -> list[Any]:
    """`ids` with each one's place in the text."""
    return [(np.array(one, np.int32), np.arange(len(one))) for one in ids(texts)]


def encode_words(texts: list[str]) -> list[Any]:
    """One id a run of the same letter, a text with "z" in it without places."""
    found = []
    for text in texts:
        runs = list(re.finditer(r"(.)\1*", text, re.DOTALL))
        tokens = np.array([10 + ord(run[1]) % 90 + 90 * (len(run[0]) % 10) for run in runs], np.int32)
        found.append((tokens, None if "z" in text else np.array([run.start() for run in runs], np.int64)))
    return found


def plain_rows(
    documents: list[tuple[int, int, str, list[int], list[int]]], *, row_length: int, packing: str, bos: bool, eos: int
) -> list[list[tuple[int, tuple[int, int, str, int]]]]:
    """The rows, the obvious way: each token carries (file, record, subset, character).

    `documents` are (file, record, subset, ids, characters); BOS is -1 here and no padding is added.
    """
    fill, rows = row_length - bos, []
    joined: list[tuple[int, tuple[int, int, str, int]]] = []
    for i, (file, record, subset, tokens, places) in enumerate(documents):
        own = [(t, (file, record, subset, at)) for t, at in zip(tokens, places, strict=True)]
        if packing == "concat":
            joined += ([(eos, (file, record, subset, -1 if -1 in places else 0))] if i else []) + own
        else:
            rows += [own[j : j + fill] for j in range(0, len(own), fill)]
    if packing == "concat":
        rows = [joined[j : j + fill] for j in range(0, len(joined) - fill + 1, fill)]
    return [([(-1, row[0][1])] if bos else []) + row for row in rows]


def write(folder: Path, texts: list[str], kind: str, *, subset: str = "Wiki", name: str = "corpus") -> Path:
    """The texts as one corpus of a kind."""
    return write_records(folder, [{"text": t, "meta": {"pile_set_name": subset}} for t in texts], kind, name=name)


def write_records(folder: Path, records: list[dict[str, Any]], kind: str, *, name: str = "corpus") -> Path:
    """Records as they shall stand, as one corpus of a kind."""
    path = folder / f"{name}.{kind}"
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
