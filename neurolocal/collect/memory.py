"""The most memory that a collection takes, computed before it starts: the formula of FORMAT.md, "Memory".

Invariant: depends on the model and the config, never on the corpus. Python and its packages come on top (some 700 MiB
with torch and transformers). Cost: none.
"""

from __future__ import annotations

from collections.abc import Sequence

from neurolocal.collect.rows import SLACK
from neurolocal.config import CollectConfig
from neurolocal.errors import ConfigError
from neurolocal.records import BINS, CASES, N_BANDS, SIDES, THRESHOLDS

ELEMENT = {"float32": 4, "bfloat16": 2, "float16": 2}


def neuron_bytes(config: CollectConfig) -> int:
    """Bytes of a neuron at one site during a run; in the store a list has 4 k bytes less."""
    sides = len(SIDES) + (len(CASES) if config.sign_cases else 0)
    example = 4 * (config.before + 1 + config.after) + 4 + 8 + 4 + 4  # window, strength, row, position, slot
    sums = 2 * 4 * 8 + 2 * 4 + 8 * (2 + len(THRESHOLDS)) + (3 * len(CASES) * 8 if config.sign_cases else 0)
    example += 8 if config.dedupe else 0  # what names the text
    return sides * config.k * example + sums + 4 * BINS + 4 * config.sample + _band_bytes(config)


def _band_bytes(config: CollectConfig) -> int:
    """Bytes of a neuron's bands: entries of activation, row, position and rank; counts, and the maximum's bin."""
    return N_BANDS * (24 * config.bands + 8) + 4


def device_bytes(neurons: Sequence[int], config: CollectConfig) -> int:
    """Bytes that the states of a collection take on a GPU: windows and sample in the subject's own dtype.

    Args:
        neurons: collected neurons of each layer on the device.
        config: `resolved`.
    """
    sides = len(SIDES) + (len(CASES) if config.sign_cases else 0)
    own = ELEMENT[config.dtype]
    example = own * (config.before + 1 + config.after) + 4 + 8 + 4 + (8 if config.dedupe else 0)
    sums = 2 * 4 * 8 + 2 * 4 + 8 * (2 + len(THRESHOLDS)) + (3 * len(CASES) * 8 if config.sign_cases else 0)
    neuron = sides * config.k * example + sums + 4 * BINS + own * config.sample + _band_bytes(config)
    # What `scan` leaves for `merge`, of one layer at a time: extremes with positions, and sums, of each row.
    row = sides * 8 + 16 + (16 if config.sign_cases else 0)
    return len(config.sites or ("post",)) * sum(neurons) * neuron + config.batch_size * max(neurons) * row


def expected_bytes(
    d_mlp: Sequence[int], config: CollectConfig, *, weights: int, d_model: int, d_vocab: int, rows: int | None = None
) -> int:
    """The most bytes that a collection takes.

    Args:
        d_mlp: width of each layer's MLP.
        config: `resolved`.
        weights: bytes of the model's weights.
        d_model: width of the residual stream.
        d_vocab: entries of the vocabulary.
        rows: rows of the run; None assumes as many as the lists can refer to.
    """
    layers = [d_mlp[i] for i in (range(len(d_mlp)) if config.layers is None else config.layers)]
    neurons = [width if config.neurons is None else len(config.neurons) for width in layers]
    sites, sides = len(config.sites or ("post",)), 6 if config.sign_cases else 2
    state = sites * sum(neurons) * neuron_bytes(config)
    one_layer = 2 * max(neurons) * neuron_bytes(config)  # a copy in the store's order, and HDF5's own while it writes
    token = 2 if d_vocab <= 1 << 16 else 4
    referred = sites * sum(neurons) * (sides * config.k + N_BANDS * config.bands) + config.sample
    kept = min(referred, config.max_rows or referred, rows or referred) * config.row_length * token
    slack = 2 * min(max(kept, SLACK * token), (rows or config.max_rows or 1 << 40) * config.row_length * token)
    batch = config.batch_size * row_bytes(d_mlp, config, d_model=d_model)
    return weights + state + one_layer + kept + slack + batch


def row_bytes(d_mlp: Sequence[int], config: CollectConfig, *, d_model: int) -> int:
    """The bytes that each row of a batch takes in a forward pass."""
    return config.row_length * (4 * max(d_mlp) + 8 * d_model) * ELEMENT[config.dtype]


def require_memory(d_mlp: Sequence[int], config: CollectConfig, *, total: int) -> None:
    """Refuse settings whose lists and batches alone, which are made at once, are larger than the machine's memory.

    Args:
        d_mlp: width of each layer's MLP.
        config: `resolved`.
        total: bytes of memory that the machine has.

    Raises:
        ConfigError: they are.
    """
    layers = range(len(d_mlp)) if config.layers is None else [i for i in config.layers if i < len(d_mlp)]
    neurons = sum(d_mlp[i] if config.neurons is None else len(config.neurons) for i in layers)
    lists = len(config.sites or ("post",)) * neurons * neuron_bytes(config)
    rows = config.batch_size * config.row_length * 8
    if lists + rows > total:
        raise ConfigError(
            f"k = {config.k:,}, before = {config.before:,}, after = {config.after:,}, sample = {config.sample:,}, "
            f"batch_size = {config.batch_size:,}, row_length = {config.row_length:,}: the lists of {neurons:,} neurons "
            f"need {lists / 2**30:,.1f} GiB and a batch {rows / 2**30:,.1f}; the machine has {total / 2**30:,.1f}. "
            "Choose smaller ones, or fewer neurons with --layers or --neurons."
        )


def shortage(d_mlp: Sequence[int], config: CollectConfig, *, expected: int, free: int, row: int) -> str | None:
    """What the user should know where a collection may take more memory than there is; None where it fits.

    Args:
        d_mlp: width of each layer's MLP.
        config: `resolved`.
        expected: bytes that it takes, at most, beside the weights.
        free: bytes that there are.
        row: bytes of them for each row of a batch.
    """
    if expected <= free:
        return None
    layers = range(len(d_mlp)) if config.layers is None else config.layers
    neurons = sum(d_mlp[i] if config.neurons is None else len(config.neurons) for i in layers)
    fits = config.batch_size - -(-(expected - free) // row)
    batch = f"Give --batch-size {fits:,}, which fits; or choose" if fits > 0 else "Choose"
    return (
        f"{neurons:,} neurons in {len(layers)} layers at {len(config.sites or ('post',))} sites may take "
        f"{expected / 2**30:,.1f} GiB of memory, {free / 2**30:,.1f} are free. {batch} some of them with --layers or "
        "--neurons, or less of each with --k, --sample, --before"
    )
