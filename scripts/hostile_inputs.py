"""Hostile corpora and vector files, for `hostile.py`: each maker writes one, and returns the command that reads it.

Cost: tens of MB on the disk for the largest, and a tiny random model for each.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "subject"))

GOOD = json.dumps({"text": "The cat sat on the mat. " * 20}) + "\n"
"""A line without a fault."""


def collect(folder: Path, corpus: Path, *options: str) -> list[str]:
    """The command that collects a corpus with a tiny random model, whose tokenizer is of GPT-2's kind."""
    from subject_twins import tiny_model
    from tokenizer_twins import byte_level

    library = byte_level("GPT-2")
    model = tiny_model("GPT2", larger={"vocab_size": library.get_vocab_size()})
    model.save_pretrained(folder / "model")
    library.save(str(folder / "model" / "tokenizer.json"))
    rows = ("--row-length", "32", "--batch-size", "4", "--max-rows", "8", "--k", "2", "--bos", "none")
    rows += ("--packing", "document")
    return ["collect", "--subject", "model", "--corpus", str(corpus), "--store", "store.h5", *rows, *options]


def good_corpus(folder: Path) -> list[str]:
    """A corpus without a fault."""
    path = folder / "corpus.jsonl"
    path.write_text(GOOD * 4)
    return collect(folder, path)


def deep_json(folder: Path) -> list[str]:
    """A line of 100,000 brackets among good ones."""
    path = folder / "corpus.jsonl"
    path.write_text(GOOD + '{"text": "x", "meta": ' + "[" * 100_000 + "\n" + GOOD * 3)
    return collect(folder, path)


def long_line(folder: Path, text: str, *, name: str = "corpus.jsonl") -> list[str]:
    """A document of one line, and a good one after it."""
    data = (json.dumps({"text": text}, ensure_ascii=False) + "\n" + GOOD).encode()
    if name.endswith(".zst"):
        import zstandard

        data = zstandard.ZstdCompressor().compress(data)
    (folder / name).write_bytes(data)
    return collect(folder, folder / name)


def beyond_the_limit(folder: Path) -> list[str]:
    """A compressed line of 300 MB, which is skipped, and good ones after it."""
    return long_line(folder, "a" * 300_000_000, name="corpus.jsonl.zst")


def many_escapes(folder: Path) -> list[str]:
    """A line of 100 MB in which every third character is written as an escape, and one is beyond U+FFFF."""
    (folder / "corpus.jsonl").write_bytes(
        b'{"text": "\xf0\x9f\x98\x80' + b"ab\\n" * 25_000_000 + b'"}\n' + GOOD.encode()
    )
    return collect(folder, folder / "corpus.jsonl")


def text_file(folder: Path) -> list[str]:
    """A `.txt` of 250 MB in one line without a space."""
    (folder / "corpus.txt").write_bytes(b"a" * 250_000_000)
    return collect(folder, folder / "corpus.txt")


def dictionary_strings(folder: Path, *, column: str = "text") -> list[str]:
    """A parquet of some KB in which 300 rows refer to one string of 30 MB."""
    import pyarrow as pa
    from pyarrow import parquet

    text = "abc def " * 4_000_000
    refers = pa.DictionaryArray.from_arrays(pa.array([0] * 300, pa.int32()), pa.array([text]))
    if column == "meta":
        subset = pa.StructArray.from_arrays([refers], ["pile_set_name"])
        table = pa.table({"text": ["The cat sat on the mat. " * 20] * 300, "meta": subset})
    else:
        table = pa.table({"text": refers})
    parquet.write_table(table, folder / "corpus.parquet", compression="zstd")
    return collect(folder, folder / "corpus.parquet")


def far_dates(folder: Path, *, field: str = "text") -> list[str]:
    """A parquet with dates in the year 146,000 in `meta`, or as the text."""
    import pyarrow as pa
    from pyarrow import parquet

    when = pa.array([1 << 62] * 4, pa.timestamp("us"))
    meta = pa.StructArray.from_arrays([pa.array(["Wiki"] * 4), when], ["pile_set_name", "when"])
    table = pa.table({"text": ["The cat sat on the mat. " * 20] * 4, "when": when, "meta": meta})
    parquet.write_table(table, folder / "corpus.parquet")
    return collect(folder, folder / "corpus.parquet", "--text-field", field)


def saved_dataset(folder: Path, *, names: str | None = None, picture: bool = False, state: str = "") -> list[str]:
    """A saved data set whose state.json names another file, or whose text is a picture with an address."""
    import pyarrow as pa

    path = folder / "sets" / "corpus"
    path.mkdir(parents=True)
    one = {"bytes": None, "path": "http://127.0.0.1:9/x.png"}
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    text = pa.array([one] * 4, kind) if picture else pa.array(["The cat sat on the mat. " * 20] * 4)
    features = {"text": {"_type": "Image"} if picture else {"dtype": "string", "_type": "Value"}}
    table = pa.table({"text": text}).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    for file in (path / "data.arrow", folder / "x.arrow" if names else path / "data.arrow"):
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as out:
            out.write_table(table)
    stated = json.dumps({"_data_files": [{"filename": names or "data.arrow"}]})
    (path / "state.json").write_text(state or stated)
    (path / "dataset_info.json").write_text(json.dumps({"features": features}))
    return collect(folder, path)


def damaged(folder: Path, data: bytes, name: str) -> list[str]:
    """A corpus file of some bytes."""
    (folder / name).write_bytes(data)
    return collect(folder, folder / name)


def vectors(folder: Path, data: bytes) -> list[str]:
    """A vector file, loaded as a stage would; `similarity` reads it after the store, which is made here once."""
    (folder / "vectors.txt").write_bytes(data)
    return ["similarity", str(small_store(folder)), "--vectors", str(folder / "vectors.txt")]


def small_store(folder: Path) -> Path:
    """A store of a good corpus."""
    import subprocess

    arguments = [sys.executable, "-m", "neurolocal", *good_corpus(folder)]
    subprocess.run(arguments, cwd=folder, check=True, capture_output=True)
    return folder / "store.h5"


LETTERS = b"cat 1 2 3\nsat 4 5 6\nmat 1 1 2\n"

INPUTS: dict[str, Callable[[Path], list[str]]] = {
    "corpus: JSON 100,000 deep": deep_json,
    "corpus: a line of 20 MB": lambda folder: long_line(folder, "The cat sat on it. " * 1_000_000),
    "corpus: a line of 250 MB": lambda folder: long_line(folder, "The cat sat on it. " * 13_000_000),
    "corpus: 250 MB of one letter in a zst": lambda folder: long_line(folder, "a" * 250_000_000, name="c.jsonl.zst"),
    "corpus: 300 MB of one letter in a zst": beyond_the_limit,
    "corpus: 100 MB of escapes": many_escapes,
    "corpus: a .txt of 250 MB without a space": text_file,
    "corpus: 300 rows of one string of 30 MB": dictionary_strings,
    "corpus: 300 subsets of one string of 30 MB": lambda folder: dictionary_strings(folder, column="meta"),
    "corpus: dates in the year 146,000 in meta": far_dates,
    "corpus: dates in the year 146,000 as the text": lambda folder: far_dates(folder, field="when"),
    "corpus: a picture with an address": lambda folder: saved_dataset(folder, picture=True),
    "corpus: state.json names ../../x.arrow": lambda folder: saved_dataset(folder, names="../../x.arrow"),
    "corpus: state.json 100,000 deep": lambda folder: saved_dataset(folder, state="[" * 100_000),
    "corpus: a parquet that is none": lambda folder: damaged(folder, b"PAR1" + b"x" * 999 + b"PAR1", "c.parquet"),
    "corpus: a zst that is none": lambda folder: damaged(folder, b"\x28\xb5\x2f\xfd" + b"x" * 999, "c.jsonl.zst"),
    "corpus: UTF-16 lines": lambda folder: damaged(folder, GOOD.encode("utf-16"), "c.jsonl"),
    "corpus: latin-1 text": lambda folder: damaged(folder, "caf\u00e9 d\u00e9j\u00e0 ".encode("latin-1") * 99, "c.txt"),
    "vectors: a byte order mark": lambda folder: vectors(folder, b"\xef\xbb\xbf" + LETTERS),
    "vectors: a header of three numbers": lambda folder: vectors(folder, b"3 3 1\n" + LETTERS),
    "vectors: a cut first line": lambda folder: vectors(folder, b"e 0.1\n" + LETTERS),
    "vectors: UTF-16": lambda folder: vectors(folder, LETTERS.decode().encode("utf-16")),
}
"""Name -> what makes the input in a folder, and returns the arguments of the command that reads it."""
