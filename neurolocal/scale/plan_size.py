"""Bytes of a store, a checkpoint and the rows that they hold, dataset by dataset, before any of them exists.

Invariant: shapes, types and chunks are those that `neurolocal.store.write` writes (FORMAT.md); a test compares the sum
with real files. What depends on the text (which rows, how many peak tokens) is estimated, and marked so. The sizes of
experts' groups, two small datasets a layer, are not counted.
Cost: none.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

from neurolocal.config import CollectConfig
from neurolocal.records import BINS, CASES, N_BANDS, SIDES, THRESHOLDS
from neurolocal.store.datasets import CHUNK

HEADER = 290
"""Bytes of HDF5's own for a dataset. Measured with random numbers: 282, and 352 for a dataset of 8 MB."""

PARTS_A_ROW = 1.2
"""Documents that a packed row is made of. Measured: 1.10 to 1.27 with rows of 256; longer rows have more."""

DISTINCT = 0.68
"""Entries of an index of `find` for each example. Measured: 0.67 and 0.68 on SmolLM2-135M; 0.17 and 0.54 on
stories260k, whose vocabulary is tiny."""


class StoreSize(NamedTuple):
    """Bytes of a store by part."""

    lists: int
    """Lists, statistics, sample and logit effects: of the neurons alone, whatever the corpus."""
    rows: int
    """Token rows with their documents."""
    find: int
    """The index of `find`."""
    vocabulary: int
    """The tokenizer's texts, token counts and the sample's positions."""

    @property
    def total(self) -> int:
        """The whole file."""
        return sum(self)


def dataset_bytes(shape: tuple[int, ...], item: int) -> int:
    """Bytes that a dataset takes in the file: whole chunks (the last one too) with a checksum each, and HDF5's own."""
    n = math.prod(shape)
    if not n or not shape:
        return HEADER
    rows = max(1, min(shape[0], CHUNK * shape[0] // (n * item)))
    return -(-shape[0] // rows) * (rows * n // shape[0] * item + 24) + HEADER


def layer_bytes(neurons: int, config: CollectConfig, *, effects: bool) -> int:
    """Bytes of one layer at one site.

    Args:
        neurons: those collected.
        config: `resolved`.
        effects: whether logit effects are stored.
    """
    n, k, window = neurons, config.k, config.before + 1 + config.after
    one_list = [((n, k), 4), ((n, k), 8), ((n, k), 4), ((n, k, window), 4), *([((n, k), 8)] if config.dedupe else [])]
    powers = [((4, n), 8)] * 2
    statistics = [*powers, ((n,), 4), ((n,), 4), ((n,), 8), ((len(THRESHOLDS), n), 8), ((n,), 8), ((n, BINS), 8)]
    moments = [((n,), 8)] * 4
    own = one_list * (len(SIDES) + (len(CASES) if config.sign_cases else 0)) + statistics + moments
    own += [((n, config.sample), 4)] + [((4, n), 8)] * (5 if config.sign_cases else 0)
    if config.bands:
        own += [((n, N_BANDS, config.bands), item) for item in (4, 8, 4)] + [((n, N_BANDS), 8)]
    own += [((n,), 8)] * (config.neurons is not None) + [((n, config.logits), 4)] * (4 if effects else 0)
    return sum(dataset_bytes(shape, item) for shape, item in own)


def stored_rows(references: int, rows: int) -> int:
    """Distinct rows that so many references hit if each is equally likely: rows (1 - exp(-references / rows)).

    Lists of real models come to 0.93 to 1.01 of it (random neurons of stories260k over 2,000 rows and of SmolLM2-135M
    over 600).
    """
    return round(rows * -math.expm1(-references / rows)) if rows else 0


def references(neurons: int, config: CollectConfig) -> int:
    """Rows that all lists and the sample name, each row counted as often as it is named."""
    sides = len(SIDES) + (len(CASES) if config.sign_cases else 0)
    return neurons * len(config.sites or ("post",)) * sides * config.k + config.sample


def store_size(
    widths: list[int], config: CollectConfig, *, rows: int, d_vocab: int, complete: bool = True
) -> StoreSize:
    """Bytes of the store of a collection, or of a checkpoint of it (`complete` False): no index, no logit effects.

    Args:
        widths: neurons of each layer of the model.
        config: `resolved`.
        rows: rows of the corpus that it has read.
        d_vocab: token ids.
        complete: whether it is finished.
    """
    layers = range(len(widths)) if config.layers is None else config.layers
    neurons = [widths[i] if config.neurons is None else len(config.neurons) for i in layers]
    sites = config.sites or ("post",)
    counted = rows * (config.row_length - (config.bos == "prepend" and not config.count_bos))
    config = dataclasses.replace(config, sample=min(config.sample, counted))
    lists = sum(
        layer_bytes(
            n, config, effects=complete and config.logits > 0 and not config.shard and site in ("post", "mid")
        )
        for site in sites
        for n in neurons
    )  # fmt: skip
    kept = stored_rows(references(sum(neurons), config), rows)
    token = 2 if d_vocab <= 1 << 16 else 4
    parts = round(kept * PARTS_A_ROW)
    tables = [((kept, config.row_length), token), *[((kept,), 8)] * 3, *[((parts,), 4)] * 2, *[((parts,), 8)] * 3]
    found = 0
    if complete:
        examples = sum(neurons) * len(sites) * min(config.k, rows)
        entries = round(min(examples * DISTINCT, sum(neurons) * len(sites) * d_vocab))
        keyed = [((entries,), 1), *[((entries,), 4)] * 5]
        found = sum(dataset_bytes(shape, item) for shape, item in [*keyed, ((d_vocab + 1,), 8), *keyed])
    vocabulary = [
        *[((d_vocab,), 8)] * 2,
        ((d_vocab,), 7),
        ((d_vocab,), 1),
        ((config.sample,), 8),
        ((config.sample,), 4),
    ]
    return StoreSize(
        lists,
        sum(dataset_bytes(shape, item) for shape, item in tables),
        found,
        sum(dataset_bytes(shape, item) for shape, item in vocabulary),
    )
