"""How long `find` takes: a made-up store of 50,000 neurons x k = 20, its index built, written and looked into.

Run: python scripts/bench_find.py [FOLDER]. Prints seconds to build the index and to write the store, its size and the
index's, then the median and the largest of 20 lookups, each in a process's own freshly opened store. Needs 0.6 GB of
disk in FOLDER (default: a temporary one) and 1 GB of memory.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from neurolocal.errors import StoreError
from neurolocal.provenance import Parts
from neurolocal.records import BINS, SIDES, THRESHOLDS, LayerRecord, Place, Sample, Statistics, TopK
from neurolocal.store import Store, StoreContent, StoredRows, find, write_collected
from neurolocal.store.index import IndexBuilder
from neurolocal.words import Vocabulary

LAYERS, NEURONS, K, BEFORE, AFTER = 10, 5_000, 20, 50, 10
ROWS, LENGTH, VOCABULARY = 20_000, 256, 50_000
LETTERS = "etaoinshrdlucmfwypvbgkjqxz"


def main() -> None:
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        path = Path(folder) / "made-up.h5"
        vocabulary, rows = made_up_vocabulary(rng), made_up_rows(rng)
        layers: list[tuple[Place, LayerRecord]] = [(("post", i), made_up_layer(rng)) for i in range(LAYERS)]
        report(vocabulary, rows, layers)
        start = time.perf_counter()
        write_collected(path, collected(vocabulary, rows, layers))
        print(
            f"store written, index included: {time.perf_counter() - start:.1f} s, {path.stat().st_size / 1e6:,.0f} MB"
        )
        print(f"peak memory of all this: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB")
        texts = [vocabulary.tokens[i].decode() for i in np.geomspace(1, VOCABULARY - 1, 20).astype(int).tolist()]
        times = {by: [look(path, text, word=by == "word") for text in texts] for by in ("token", "word")}
        for by, took in times.items():
            print(
                f"find by {by}: median {np.median(took) * 1e3:.0f} ms, largest {max(took) * 1e3:.0f} ms, with opening"
            )
        took = [read_one(path, int(layer), int(n)) for layer, n in rng.integers(0, LAYERS, (20, 2))]
        print(f"open, and read one neuron: median {np.median(took) * 1e3:.0f} ms, largest {max(took) * 1e3:.0f} ms")
        command = "import sys; from neurolocal.store import Store, find; print(find(Store(sys.argv[1]), sys.argv[2]))"
        took = []
        for text in texts[:5]:
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", command, str(path), text], check=True, stdout=subprocess.DEVNULL)
            took.append(time.perf_counter() - start)
        print(f"as a process of its own: median {np.median(took) * 1e3:.0f} ms")


def report(vocabulary: Vocabulary, rows: StoredRows, layers: Sequence[tuple[Place, LayerRecord]]) -> None:
    """Build the index by itself."""
    start, builder = time.perf_counter(), IndexBuilder(("post",))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for place, record in layers:
        builder.add(place, record)
    index = builder.build(rows, vocabulary)
    took = time.perf_counter() - start
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    n = [len(keyed.entries.neuron) for keyed in (index.token, index.word)]
    size = sum(column.nbytes for keyed in (index.token, index.word) for column in keyed.entries) / 1e6
    print(f"index: {took:.1f} s, {n[0]:,} entries by token, {n[1]:,} by {len(index.words):,} words, {size:.0f} MB")
    print(f"index: peak memory rose by at most {more:,.0f} MiB")


def read_one(path: Path, layer: int, neuron: int) -> float:
    """Seconds to open the store and read a neuron's examples."""
    start = time.perf_counter()
    with Store(path) as store:
        store.examples(layer, neuron)
    return time.perf_counter() - start


def look(path: Path, text: str, *, word: bool) -> float:
    """Seconds to open the store and find a text."""
    start = time.perf_counter()
    with Store(path) as store, suppress(StoreError):  # where no neuron peaks on it, what is near is looked up
        find(store, text, word=word)
    return time.perf_counter() - start


def made_up_vocabulary(rng: np.random.Generator) -> Vocabulary:
    """Different tokens of 1 to 8 letters, three in four with a space in front."""
    texts: dict[str, None] = {}
    while len(texts) < VOCABULARY:
        letters = "".join(LETTERS[i] for i in rng.integers(0, 26, rng.integers(1, 9)))
        texts[" " * int(rng.random() < 0.75) + letters] = None
    return Vocabulary([text.encode() for text in texts], np.zeros(VOCABULARY, bool))


def made_up_rows(rng: np.random.Generator) -> StoredRows:
    """Rows whose tokens are as frequent as words are: the n-th commonest 1 / n as often as the first."""
    share = 1 / np.arange(1, VOCABULARY + 1)
    tokens = rng.choice(VOCABULARY, (ROWS, LENGTH), p=share / share.sum()).astype(np.uint16)
    one = np.zeros(ROWS, np.int64)
    columns = {"file": one, "record": np.arange(ROWS), "character": one, "subset": one.astype(np.int32)}
    columns |= {"position": one.astype(np.int32), "offsets": np.arange(ROWS + 1)}
    parts = Parts.from_columns(columns | {"subsets": [""]}).columns()
    return StoredRows(tokens, np.full(ROWS, LENGTH), np.arange(ROWS), parts)


def made_up_layer(rng: np.random.Generator, neurons: int = NEURONS) -> LayerRecord:
    """Each neuron's examples anywhere: entries are as many as they can be. Both sides are the same."""
    activation = -np.sort(-rng.gamma(2, size=(neurons, K)).astype(np.float32))
    row, position = rng.integers(0, ROWS, (neurons, K)), rng.integers(0, LENGTH, (neurons, K), dtype=np.int32)
    window = np.broadcast_to(np.float32(0.5), (neurons, K, BEFORE + 1 + AFTER))
    zeros = np.zeros((4, neurons), np.int64)
    statistics = Statistics(
        1, zeros, zeros, zeros[0].astype(np.float32), zeros[0].astype(np.float32), zeros[0],
        np.zeros((len(THRESHOLDS), neurons), np.int64), zeros[0], 0, np.zeros((neurons, BINS), np.int64),
    )  # fmt: skip
    top = TopK(activation, row, position, window)
    return LayerRecord(dict.fromkeys(SIDES, top), statistics, np.empty((neurons, 0), np.float32))


def collected(vocabulary: Vocabulary, rows: StoredRows, layers: Sequence[tuple[Place, LayerRecord]]) -> StoreContent:
    """All of it as a finished collection."""
    config = {"sites": ["post"], "before": BEFORE, "after": AFTER}
    manifest = {"subject": {}, "tokenizer": {}, "corpus": {}, "config": config}
    return StoreContent(
        manifest=manifest | {"rows": ROWS, "tokens": ROWS * LENGTH, "complete": True},
        layers=layers,
        sample=Sample(np.empty(0, np.int64), np.empty(0, np.int32)),
        rows=lambda: rows,
        token_count=np.ones(VOCABULARY, np.int64),
        vocabulary=vocabulary,
    )


if __name__ == "__main__":
    main()
