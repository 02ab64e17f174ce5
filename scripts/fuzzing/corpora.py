"""The readers of corpora and word vectors."""

from __future__ import annotations

import gzip
import io
import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzzing.mutate import GZIP, NUMBERS, TEXTS, ZST, as_json, as_lines, compressed, flat, zst
from fuzzing.reader import Mutate, Reader, in_files, pack, put

D_VOCAB = 100

LINES = [
    {"text": "The cat sat.", "meta": {"pile_set_name": "Wiki"}},
    {"text": "Zwölf 🙂 \u2028 lines\n\nof text", "meta": {"pile_set_name": "Code", "more": [1, {"a": None}]}},
    {"messages": [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Yes."}]},
    {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]},
    {"input_ids": [1, 2, 3, 99]},
    {"content": "no text"},
]


def _jsonl() -> bytes:
    return "".join(json.dumps(line) + "\n" for line in LINES).encode()


def read(name: str) -> Callable[[bytes, Path], object]:
    """Read a file of this name as a corpus."""
    return lambda data, folder: read_files(_written(folder / name, data))


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def read_files(path: Path) -> None:
    """Every document of a corpus, as a collection reads them, and resuming in the middle."""
    from neurolocal.corpus.files import corpus_listing
    from neurolocal.corpus.readers import documents

    files = corpus_listing(path).files
    found = list(documents(files, render=_render, longest=1 << 20, d_vocab=D_VOCAB))
    assert all(isinstance(one.text, str) for one in found)
    for one in found:
        one.text.encode("utf-8")
        assert one.tokens is None or not len(one.tokens) or 0 <= one.tokens.min() <= one.tokens.max() < D_VOCAB
    if found:
        middle = found[len(found) // 2]
        again = next(
            documents(files, file=middle.file, record=middle.record, render=_render, longest=1 << 20, d_vocab=D_VOCAB)
        )
        assert (again.text, again.subset) == (middle.text, middle.subset)


def _render(messages: Any) -> tuple[str, list[Any]]:
    return "\n".join(f"{one['role']}: {one['content']}" for one in messages), []


def _parquet(*, ids: bool = False) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    meta = pa.array([{"pile_set_name": "Wiki"}, None, {"pile_set_name": "Code"}])
    columns = {"input_ids": pa.array([[1, 2], [], [3]])} if ids else {"text": pa.array(["a cat", None, "é" * 9])}
    sink = io.BytesIO()
    parquet.write_table(pa.table({**columns, "meta": meta}), sink, compression="none" if ids else "zstd")
    return sink.getvalue()


def random_table(rng: random.Random) -> Any:
    """A table with columns of the names that are looked for, of any types."""
    import pyarrow as pa

    n = rng.choice([0, 1, 5, 300])
    makers: list[Callable[[], Any]] = [
        lambda: pa.array([rng.choice(["a", None, *TEXTS]).__class__ and "t"] * n),
        lambda: pa.array([rng.choice([None, "x", "é" * 5]) for _ in range(n)], pa.large_string()),
        lambda: pa.array([rng.choice([b"\xff", b"a", None]) for _ in range(n)], pa.binary()),
        lambda: pa.array([rng.choice([None, 1, -1, 2**40]) for _ in range(n)], pa.int64()),
        lambda: pa.array([rng.choice([2**63, 5]) for _ in range(n)], pa.uint64()),
        lambda: pa.array(
            [[rng.choice([1, 99, 100, -1, None])] * rng.choice([0, 1, 9]) for _ in range(n)], pa.list_(pa.int64())
        ),
        lambda: pa.array([[1, 2]] * n, pa.list_(pa.uint8(), 2)),
        lambda: pa.array([[[1]]] * n, pa.list_(pa.list_(pa.int32()))),
        lambda: pa.array([[{"role": "user", "content": rng.choice(["x", None])}]] * n),
        lambda: pa.array([{"pile_set_name": rng.choice(["W", None])}] * n, pa.struct({"pile_set_name": pa.string()})),
        lambda: pa.array([{"pile_set_name": 1}] * n, pa.struct({"pile_set_name": pa.int8()})),
        lambda: pa.array([rng.choice([1 << 62, 0])] * n, pa.timestamp("us")),
        lambda: pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int8()), pa.array(["long " * 3000])),
        lambda: pa.nulls(n),
        lambda: pa.array([0.5] * n),
        lambda: pa.array([[b"x"]] * n),
        lambda: pa.array([[("k", "v")]] * n, pa.map_(pa.string(), pa.string())),
        lambda: pa.array([True] * n),
    ]
    names = [
        rng.choice(["text", "meta", "input_ids", "messages", "tokens", "content", ""])
        for _ in range(rng.choice([1, 2, 3]))
    ]
    return pa.Table.from_arrays([rng.choice(makers)() for _ in names], names=names)


def parquet_mutate(data: bytes, rng: random.Random) -> bytes:
    """Bytes, or a file with columns of other types."""
    if rng.random() < 0.6:
        return flat(data, rng)
    from pyarrow import parquet

    sink = io.BytesIO()
    try:
        parquet.write_table(random_table(rng), sink, compression=rng.choice(["none", "zstd", "snappy"]))
    except Exception:  # not every type can be written
        return flat(data, rng)
    return sink.getvalue() if rng.random() < 0.7 else flat(sink.getvalue(), rng)


def _arrow(table: Any) -> bytes:
    import pyarrow as pa

    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as out:
        out.write_table(table)
    return sink.getvalue()


def _datasets() -> list[bytes]:
    import pyarrow as pa

    table = pa.table({"text": ["a cat", "é" * 9], "meta": [{"pile_set_name": "W"}] * 2})
    state, info = (
        {"_data_files": [{"filename": "data.arrow"}]},
        {"features": {"text": {"dtype": "string", "_type": "Value"}}},
    )
    one = {
        "state.json": json.dumps(state).encode(),
        "dataset_info.json": json.dumps(info).encode(),
        "data.arrow": _arrow(table),
    }
    splits = {f"{name}/{file}": data for name in ("train", "test") for file, data in one.items()}
    ids = one | {"data.arrow": _arrow(pa.table({"input_ids": [[1, 2], [3]]}))}
    return [pack(one), pack(ids), pack({"dataset_dict.json": b'{"splits": ["train", "test"]}', **splits})]


def arrow_mutate(data: bytes, rng: random.Random) -> bytes:
    """Bytes, or a stream with columns of other types."""
    if rng.random() < 0.6:
        return flat(data, rng)
    try:
        made = _arrow(random_table(rng))
    except Exception:  # not every type can be written
        return flat(data, rng)
    return made if rng.random() < 0.6 else flat(made, rng)


def _load_vectors(name: str) -> Callable[[bytes, Path], object]:
    def call(data: bytes, folder: Path) -> None:
        from neurolocal.similarity.vectors import load_vectors

        found = load_vectors(_written(folder / name, data))
        found.neighbours("cat", 3)
        found.find("cats")
        found.coverage({"cat": 2, "x": 1})

    return call


GLOVE = b"cat 1 2 3\nsat 4 5 6\nmat 1 1 2\nthe -1 0 2e-3\n"


def _word2vec() -> bytes:
    words = ("cat", "sat", "\u00e9t\u00e9")
    return b"3 4\n" + b"".join(
        word.encode() + b" " + struct.pack("<4f", 1, 2, i, -1) + b"\n" for i, word in enumerate(words)
    )


def _fasttext() -> bytes:
    """A fastText .bin of three words, dimension 2, 4 buckets."""
    args = struct.pack("<12i", 2, 5, 5, 1, 5, 1, 2, 2, 4, 3, 6, 100) + struct.pack("<d", 1e-4)
    head = struct.pack("<2i", 793712314, 12)
    words = [("cat", 5), ("sat", 3), ("mat", 1)]
    dictionary = struct.pack("<3i2q", 3, 3, 0, 9, -1)
    dictionary += b"".join(w.encode() + b"\0" + struct.pack("<qb", n, 0) for w, n in words)
    matrix = struct.pack("<?2q", False, 7, 2) + struct.pack("<14f", *[i / 7 for i in range(14)])
    output = struct.pack("<?2q", False, 3, 2) + struct.pack("<6f", *range(6))
    return head + args + dictionary + matrix + output


def _fasttext_mutate(data: bytes, rng: random.Random) -> bytes:
    """A number of the head, or bytes."""
    if rng.random() < 0.5:
        return flat(data, rng)
    at = 4 * rng.randrange(28)
    number = rng.choice([*NUMBERS, -1])
    changed = bytearray(data)
    changed[at : at + 8] = (
        struct.pack("<Q", number & (2**64 - 1))
        if rng.random() < 0.5
        else struct.pack("<I", number & (2**32 - 1)) + changed[at + 4 : at + 8]
    )
    return bytes(changed)


TEXT = "One day a cat sat on the mat.\n\nZwölf 🙂 Boxkämpfer.\n" * 3

_in_dataset: dict[str, Mutate] = {".json": as_json, ".arrow": arrow_mutate}

READERS: dict[str, Reader] = {
    "corpus-jsonl": Reader(lambda: [_jsonl(), _jsonl().replace(b"text", b"txt")], as_lines, read("c.jsonl")),
    "corpus-json": Reader(lambda: [_jsonl(), json.dumps(LINES).encode()], as_json, read("c.json")),
    "corpus-gz": Reader(lambda: [gzip.compress(_jsonl(), mtime=0)], compressed(as_lines, *GZIP), read("c.jsonl.gz")),
    "corpus-zst": Reader(lambda: [zst(_jsonl())], compressed(as_lines, *ZST), read("c.jsonl.zst")),
    "corpus-txt": Reader(lambda: [TEXT.encode(), TEXT.encode("utf-16")], flat, read("c.txt")),
    "corpus-parquet": Reader(lambda: [_parquet(), _parquet(ids=True)], parquet_mutate, read("c.parquet"), guided=False),
    "corpus-dataset": Reader(
        _datasets,
        in_files(_in_dataset, otherwise=flat),
        lambda data, folder: read_files(put(data, folder)),
        guided=False,
    ),
    "vectors-text": Reader(lambda: [GLOVE, b"4 3\n" + GLOVE], flat, _load_vectors("v.txt")),
    "vectors-gz": Reader(lambda: [gzip.compress(GLOVE, mtime=0)], compressed(flat, *GZIP), _load_vectors("v.txt.gz")),
    "vectors-word2vec": Reader(lambda: [_word2vec()], flat, _load_vectors("v.bin")),
    "vectors-fasttext": Reader(lambda: [_fasttext()], _fasttext_mutate, _load_vectors("v.bin")),
}
"""Name -> reader."""
