"""Small made-up stores to compare: real text of a word list, every neuron's examples at given places."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from neurolocal.neuroscope.compare.compare import compare
from neurolocal.provenance import Parts
from neurolocal.records import BINS, THRESHOLDS, LayerRecord, Sample, Statistics, TopK
from neurolocal.store import StoreContent, StoredRows, write_collected
from neurolocal.words import Vocabulary

BEFORE, AFTER = 2, 1


def statistics(maximum):
    n = len(maximum)
    zero = np.zeros((4, n), np.int64)
    none = np.zeros(n, np.int64)
    return Statistics(
        count=9, whole=zero, fraction=zero, minimum=np.zeros(n, np.float32), maximum=maximum.astype(np.float32),
        positive=none, above=np.zeros((len(THRESHOLDS), n), np.int64), nonfinite=none, sampled=0,
        histogram=np.zeros((n, BINS), np.int64),
    )  # fmt: skip


def top(activation, row, position):
    window = np.full((*activation.shape, BEFORE + 1 + AFTER), np.nan, np.float32)
    return TopK(activation.astype(np.float32), row.astype(np.int64), position.astype(np.int32), window)


def words(rng, n=300):
    """A vocabulary of distinct words with a space before each; id 0 is BOS."""
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    made = {"".join(rng.choice(letters, rng.integers(2, 8))) for _ in range(2 * n)}
    tokens = [b"<s>", *(f" {word}".encode() for word in sorted(made)[:n])]
    return Vocabulary(tokens, np.arange(len(tokens)) == 0)


def lists(rng, *, neurons, k, rows, length):
    """Examples at random places, one a row, falling."""
    activation = -np.sort(-rng.gamma(2.0, size=(neurons, k)), axis=1)
    row = np.argsort(rng.random((neurons, rows)), axis=1)[:, :k]
    return activation, row, rng.integers(1, length, (neurons, k))


def write_store(
    path, rng, *, vocabulary, tokens, layers, index=None, rows=None, neurons=None, site="post", subject=None, **manifest
):
    """A store of these rows; `layers` is layer -> (activation, row as in `index`, position)."""
    n, length = tokens.shape
    index = np.arange(n, dtype=np.int64) if index is None else index
    parts = Parts.of(list(range(1, n + 1)), [(0, 0, i, 0, "") for i in range(n)])
    stored = StoredRows(tokens, np.full(n, length, np.int64), index, parts.columns())
    d_mlp = [len(one[0]) for one in layers.values()]
    about = {
        "subject": {"name": "made up", "sha256": "a", "n_layers": max(layers) + 1} | (subject or {}),
        "tokenizer": {"sha256": "b"}, "corpus": {"files": [], "n_files": 0, "path": "some/text"},
        "config": {"sites": [site], "before": BEFORE, "after": AFTER, "dtype": "float32", "neurons": neurons},
        "rows": rows or n, "tokens": tokens.size, "complete": True,
    } | manifest  # fmt: skip
    assert d_mlp
    records = []
    for layer, one in layers.items():
        maximum = np.where(np.isfinite(one[0][:, 0]), one[0][:, 0], -np.inf)
        both = {side: top(*one) for side in ("largest", "smallest")}
        chosen = None if neurons is None else np.array(neurons, np.int64)
        empty = np.empty((len(one[0]), 0), np.float32)
        records.append(((site, layer), LayerRecord(both, statistics(maximum), empty, neurons=chosen)))
    write_collected(
        path,
        StoreContent(
            manifest=about, layers=records, sample=Sample(np.empty(0, np.int64), np.empty(0, np.int32)),
            rows=lambda: stored, token_count=np.ones(len(vocabulary.tokens), np.int64), vocabulary=vocabulary,
        ),
    )  # fmt: skip
    return path


GOLDEN = Path(__file__).parent / "golden"


def quiet(own, theirs, **more):
    return compare(own, theirs, say=lambda line: None, bar=False, **more)


def listed(path, layers):
    path.write_text(json.dumps([np.asarray(layer).tolist() for layer in layers]))
    return path


def random_store(path, rng, *, layers, width, **more):
    """A store with the maxima of random weights, of a given shape, with lists of two."""
    v, tokens = words(rng, 50), rng.integers(1, 51, (40, 20))
    made = {i: lists(rng, neurons=width, k=2, rows=40, length=20) for i in range(layers)}
    return write_store(path, rng, vocabulary=v, tokens=tokens, layers=made, **more)


def reordered(rng, v):
    """The same tokens under other ids, and what the old ids become."""
    order = np.concatenate([[0], 1 + rng.permutation(len(v.tokens) - 1)])
    return Vocabulary([v.tokens[i] for i in order], v.special), np.argsort(order)
