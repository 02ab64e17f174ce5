"""How many tokens a second does the feed give, and where does its time go?

Reading, tokenising and packing of a corpus, without a model: in one thread (plain), in a thread ahead, in a process
ahead; from `.jsonl.zst`, from `.parquet` with the text, from `.parquet` and a saved data set with token ids. Each is
run on one core and on two, several times in turn; the median is printed, by the clock and by processor time, which
other work on the machine does not change. Then what that gives for 16 cores: the tokenizer's library runs in parallel,
the Python of the process does not.

    python scripts/bench_feed.py                             SmolLM2's tokenizer, the sample corpus
    python scripts/bench_feed.py --subject ./pythia-70m --corpus pile.jsonl.zst --cores 1 4 16
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from neurolocal.config import CollectConfig
from neurolocal.corpus import RowStream, batches, corpus_files, documents
from neurolocal.corpus.encoded import GROUP
from neurolocal.pipeline.demo import sample_corpus
from neurolocal.pipeline.manifest import Collection, row_stream
from neurolocal.subject import Subject, load_subject

DEMAND = {"SmolLM2-135M": 600_000, "solu-8l": 1_750_000}
"""Tokens a second that the decoder body alone takes on one H100."""

CORES = 16
"""Cores beside one H100."""


class Rate(NamedTuple):
    """Tokens a second."""

    clock: float
    """By the clock."""
    processor: float
    """Of this process's processor time."""


def main() -> None:
    """Measure and print."""
    options = arguments()
    subject = load_subject(options.subject, dtype="bfloat16", device="cpu")
    print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, {subject.name}, {options.corpus}")
    with tempfile.TemporaryDirectory(dir=".") as folder:
        corpora = written(subject, options.corpus, Path(folder))
        n_tokens = where_it_goes(subject, options)
        allowed = sorted(os.sched_getaffinity(0))
        for cores in options.cores:
            os.sched_setaffinity(0, allowed[:cores])
            tokenising_alone(subject, options, cores, n_tokens)
            whole_feed(subject, options, corpora, cores)
        os.sched_setaffinity(0, allowed)


def written(subject: Subject, corpus: Path, folder: Path) -> dict[str, Path]:
    """The corpus in every kind: as it is, as parquet, and as token ids."""
    texts = [document.text for document in documents(corpus_files(corpus))]
    ids = pa.array([tokens for tokens, _ in subject.encode_documents(texts)], pa.list_(pa.int32()))
    found = {".jsonl.zst, text": corpus}
    for name, column, of in ((".parquet, text", "text", pa.array(texts)), (".parquet, input_ids", "input_ids", ids)):
        found[name] = folder / f"{column}.parquet"
        parquet.write_table(pa.table({column: of}), found[name], row_group_size=1000)
    rows = np.concatenate(ids.to_numpy(zero_copy_only=False))
    rows = rows[: len(rows) // 2049 * 2049]
    found["saved data set, rows of 2049 ids"] = path = folder / "rows"
    path.mkdir()
    (path / "state.json").write_text(json.dumps({"_data_files": [{"filename": "a.arrow"}]}), encoding="utf-8")
    made = pa.table({"input_ids": pa.FixedSizeListArray.from_arrays(pa.array(rows), 2049).cast(pa.list_(pa.int32()))})
    with pa.OSFile(str(path / "a.arrow"), "wb") as sink, pa.ipc.new_stream(sink, made.schema) as out:
        out.write_table(made, max_chunksize=1000)
    return found


def where_it_goes(subject: Subject, options: argparse.Namespace) -> int:
    """Print the parts of a document's time in one thread, by processor time; returns the tokens."""
    stream, spent = made_stream(subject, options, options.corpus), dict[str, float]()
    backend, encode = subject.tokenizer.backend, stream.encode
    with timing(spent, "reading: unpacking, JSON"):
        for _ in documents(stream.files):
            pass
    bounded = "_bounded" if hasattr(backend, "_bounded") else "encode"  # the call of the library, without its ids' list
    setattr(backend, bounded, timed_calls(getattr(backend, bounded), spent, "the tokenizer's library"))
    stream.encode = timed_calls(encode, spent, "ids to arrays, offsets")
    with timing(spent, "packing into rows, provenance, digest"):
        last = list(stream.batches())[-1].after
    delattr(backend, bounded)
    inner = list(spent.values())
    parts = dict(zip(spent, (inner[0], inner[1], inner[2] - inner[1], inner[3] - inner[2] - inner[0]), strict=True))
    total, n = inner[3], last.tokens
    print(f"\nWhere a document's time goes, in one thread: {total / n * 1e6:.2f} us a token")
    for name, seconds in parts.items():
        print(f"  {name:<40} {seconds / total:6.1%}  {seconds / n * 1e6:.3f} us a token")
    python = total - parts["the tokenizer's library"]
    per_core, serial = n / total, n / python
    limit = min(serial, n * CORES / total)
    print(f"  on {CORES} cores at most {limit:,.0f} tokens/s: Python's {serial:,.0f}, {CORES} x {per_core:,.0f}")
    for name, demand in DEMAND.items():
        print(f"  {name} asks for {demand:,}: {demand / per_core:.1f} cores, {demand / serial:.0%} of the Python")
    return n


def timed_calls(call: Callable[..., Any], spent: dict[str, float], name: str) -> Callable[..., Any]:
    """A function whose processor time is added up."""
    spent[name] = 0.0

    def timed(*args: Any, **more: Any) -> Any:
        with timing(spent, name):
            return call(*args, **more)

    return timed


@contextmanager
def timing(spent: dict[str, float], name: str) -> Generator[None, None, None]:
    """Add the processor time of a block."""
    began = time.process_time()
    yield
    spent[name] = spent.get(name, 0.0) + time.process_time() - began


def tokenising_alone(subject: Subject, options: argparse.Namespace, cores: int, n_tokens: int) -> None:
    """The library alone: one call at a time, in its own threads; several calls, in threads and in processes."""
    library = getattr(subject.tokenizer.backend, "tokenizer", None)
    if library is None:
        print("\nNo threads to compare: the tokenizer is SentencePiece's")
        return
    groups = grouped([document.text for document in documents(corpus_files(options.corpus))])
    runs: dict[str, Callable[[], Any]] = {
        "one call at a time": lambda: [library_call(library, group) for group in groups],
        "its own threads": lambda: [library_call(library, group) for group in groups],
        f"{cores} threads": lambda: list(threads.map(lambda group: library_call(library, group), groups)),
        f"{cores} processes": lambda: list(processes.imap(in_process, groups)),
    }
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    context = multiprocessing.get_context("spawn")
    with ThreadPoolExecutor(cores) as threads, context.Pool(cores, begin_process, (library.to_str(),)) as processes:
        print(f"\nTokenising alone, on {cores} cores: tokens/s by the clock")
        found: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(options.times + 1):
            for name, run in runs.items():
                os.environ["TOKENIZERS_PARALLELISM"] = "true" if name == "its own threads" else "false"
                began = time.perf_counter()
                run()
                found[name].append(n_tokens / (time.perf_counter() - began))
    for name, rates in found.items():  # the first time fills the library's cache
        print(f"  {name:<34} {statistics.median(rates[1:]):12,.0f}  {min(rates[1:]):,.0f} to {max(rates[1:]):,.0f}")


def library_call(library: Any, texts: list[str]) -> list[Any]:
    """The ids, as the library's own objects."""
    return library.encode_batch_fast(texts, add_special_tokens=False)


def begin_process(state: str) -> None:
    """Make the tokenizer of a process."""
    from tokenizers import Tokenizer

    globals()["LIBRARY"] = Tokenizer.from_str(state)


def in_process(texts: list[str]) -> list[Any]:
    """The ids of some texts, sent back as arrays."""
    found = library_call(globals()["LIBRARY"], texts)
    return [np.array(one.ids, np.int32) for one in found]


def grouped(texts: list[str]) -> list[list[str]]:
    """The texts in groups as the feed makes them."""
    groups, size = [list[str]()], 0
    for text in texts:
        groups[-1].append(text)
        size += len(text)
        if size >= GROUP:
            groups.append([])
            size = 0
    return [group for group in groups if group]


def whole_feed(subject: Subject, options: argparse.Namespace, corpora: dict[str, Path], cores: int) -> None:
    """The batches of each kind of corpus, made in each way."""
    ways: dict[str, Callable[[RowStream], Iterator[Any]]] = {
        "plain": lambda stream: stream.batches(),
        f"plain, {max(2, cores)} threads": lambda s: dataclasses.replace(s, threads=max(2, cores)).batches(),
        "thread ahead": batches,
        "process ahead": lambda stream: batches(stream, process=True),
    }
    print(f"\nThe feed, on {cores} cores: tokens/s by the clock, and of the reading process's processor time")
    for kind, corpus in corpora.items():
        found: dict[str, list[Rate]] = {name: [] for name in ways}
        for _ in range(options.times):
            for name, way in ways.items():
                found[name].append(rate(way(made_stream(subject, options, corpus))))
        for name, rates in found.items():
            clock, processor = (statistics.median(one) for one in zip(*rates, strict=True))
            print(f"  {kind:<34} {name:<18} {clock:12,.0f} {processor:14,.0f}", flush=True)


def made_stream(subject: Subject, options: argparse.Namespace, corpus: Path) -> RowStream:
    """The rows of a corpus, as a collection has them."""
    config = CollectConfig(row_length=options.row_length, batch_size=options.batch_tokens // options.row_length)
    return row_stream(Collection(subject, corpus, Path("unused.h5"), config), corpus_files(corpus))


def rate(made: Iterator[Any]) -> Rate:
    """The rate from the first batch to the last: what starting a process takes is said elsewhere."""
    first = next(made).after.tokens
    began, used, last = time.perf_counter(), time.process_time(), first
    for batch in made:
        last = batch.after.tokens
    n = last - first
    return Rate(n / (time.perf_counter() - began), n / max(1e-9, time.process_time() - used))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="How many tokens a second does the feed give?")
    parser.add_argument("--subject", default="smollm2")
    parser.add_argument("--corpus", type=Path, default=sample_corpus())
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--row-length", type=int, default=256)
    parser.add_argument("--batch-tokens", type=int, default=32768, help="tokens a batch (default 32768)")
    parser.add_argument("--times", type=int, default=3, help="runs of each")
    return parser.parse_args()


if __name__ == "__main__":
    main()
