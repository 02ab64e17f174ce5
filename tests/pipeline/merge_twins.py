"""Made-up parts of a collection whose rows are long, and all rows of all parts together."""

from __future__ import annotations

import numpy as np

from neurolocal.provenance import Parts
from neurolocal.records import BINS, SIDES, THRESHOLDS, LayerRecord, Sample, Statistics, TopK
from neurolocal.store import StoreContent, StoredRows, write_collected
from neurolocal.words import Vocabulary

D_VOCAB, K, COUNT = 300, 4, 9


def rows_of(rng, index, row_length):
    """Random rows of these numbers, of one to three documents each."""
    n = len(index)
    sizes = rng.integers(1, min(4, row_length), n)
    places = [
        (row, at) for row in range(n) for at in sorted(rng.choice(np.arange(1, row_length), sizes[row] - 1, False))
    ]
    parts = [(row, 0) for row in range(n)] + [(row, int(at)) for row, at in places]
    columns = [(at, 0, int(rng.integers(99)), 0, str(rng.choice(["", "a", "b"]))) for _, at in sorted(parts)]
    tokens = rng.integers(0, D_VOCAB, (n, row_length)).astype(np.uint16)
    length = rng.integers(1, row_length + 1, n)
    return StoredRows(tokens, length, index, Parts.of(np.cumsum(sizes).tolist(), columns).columns())


def lists_of(rng, rows, neurons):
    """Lists whose examples lie anywhere in the rows, one in each."""
    row = np.stack([rng.choice(len(rows.index), K, replace=False) for _ in range(neurons)])
    position = (rng.random((neurons, K)) * rows.length[row]).astype(np.int32)
    activation = -np.sort(-rng.normal(size=(neurons, K)).astype(np.float32))
    window = np.zeros((neurons, K, 1), np.float32)
    return TopK(activation, rows.index[row], position, window)


def sample_of(rng, rows, size):
    """So many positions of the rows, by row and then position."""
    row = np.sort(rng.choice(len(rows.index), size, replace=False))
    return Sample(rows.index[row], (rng.random(size) * rows.length[row]).astype(np.int32))


def write_part(path, rng, rows, *, number, count, neurons, ranges, sample=0, layers=(0,), unreadable=0, **facts):
    """The store of a part: of a range of batches, or of every n-th batch.

    `sample`: sampled positions; `unreadable`: NaN activations of the first neuron; `facts`: entries of the manifest.
    """
    zeros = np.zeros((4, neurons), np.int64)
    extreme = np.zeros(neurons, np.float32)
    bins, above = np.zeros((neurons, BINS), np.int64), np.zeros((len(THRESHOLDS), neurons), np.int64)
    nonfinite = zeros[0].copy()
    nonfinite[0] = unreadable
    statistics = Statistics(COUNT, zeros, zeros, extreme, extreme, zeros[0], above, nonfinite, 0, bins)

    def record():
        lists = {side: lists_of(rng, rows, neurons) for side in SIDES}
        top = lists["smallest"]
        lists["smallest"] = TopK(-top.activation, top.row, top.position, top.window)
        return LayerRecord(lists, statistics, rng.normal(size=(neurons, sample)).astype(np.float32))

    config = {"sites": ["post"], "before": 0, "after": 0, "sample": sample, "seed": 0}
    config |= {"shard": 0, "shards": 1} if ranges else {"shard": number, "shards": count}
    corpus = {"files": [], "n_files": 0, "rows_sha256": ""}
    manifest = {"subject": {"sha256": ""}, "tokenizer": {"sha256": ""}, "corpus": corpus, "config": config}
    manifest |= {"rows": len(rows.index), "tokens": COUNT, "complete": True, "cursor": {}}
    if ranges:
        border = [{"file": 0, "batches": n, "rows": n, "digest": f"{n:064x}"} for n in (number, number + 1)]
        manifest["range"] = {"begin": border[0], "end": border[1], "last": number == count - 1}
    manifest |= facts
    tokens = [bytes([97 + i % 26, 97 + i // 26]) for i in range(D_VOCAB)]
    write_collected(
        path,
        StoreContent(
            manifest=manifest,
            layers=[(("post", layer), record()) for layer in layers],
            sample=sample_of(rng, rows, sample),
            rows=lambda: rows,
            token_count=np.full(D_VOCAB, number + 1, np.int64),
            vocabulary=Vocabulary(tokens, np.zeros(D_VOCAB, bool)),
        ),
    )
    return path


def write_parts(folder, rng, *, count, rows, row_length, neurons, ranges, **more):
    """So many parts of so many rows, consecutive ones or (`ranges` False) every n-th: paths, and the rows of each."""
    made = []
    for number in range(count):
        index = np.arange(rows) + number * rows if ranges else np.arange(rows) * count + number
        made.append(rows_of(rng, index.astype(np.int64), row_length))
    paths = [
        write_part(folder / f"{i}.h5", rng, some, number=i, count=count, neurons=neurons, ranges=ranges, **more)
        for i, some in enumerate(made)
    ]
    return paths, made
