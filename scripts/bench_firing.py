"""Does a neuron's pattern predict its firing on unseen rows better than look-up tables do?

Takes the neurons of STORE that perturbation tested. The pattern, the token look-up and the 5-gram look-up of
neurolocal/score are fitted to the explain half and tested on rows of the corpus after those collected. Prints the mean
F1 by layer, once over the first 64 fresh rows (texts in their natural proportion) and once over each neuron's ten
strongest fresh rows, as Neuron2Graph does; and the paired difference to token look-up with a 95 % bootstrap interval
over neurons. Neurons that fire nowhere in these rows are counted and left out. `--chosen` takes every fourth neuron, on
which the pattern's weights were chosen, in the first 600 fresh rows; without it the other neurons, in later rows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from bench_planted import corpus_rows
from scipy.stats import bootstrap

from neurolocal.pipeline.workspace import Workspace
from neurolocal.records import FIRING, PerturbationTable
from neurolocal.score import firing
from neurolocal.score.kernel import TokenKernel, joined
from neurolocal.score.lookup import lookup
from neurolocal.score.pattern import pattern
from neurolocal.store import Store
from neurolocal.subject import load_subject

WAYS = ("pattern", "token look-up", "5-gram look-up")

CHOSEN = 4
"""One neuron in this many was used to choose the weights."""

CHOSEN_ROWS = 600
"""Fresh rows that were used to choose the weights."""

NATURAL = 64
"""Fresh rows, the first ones, for the figure on texts in their natural proportion."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = Path(__file__).parents[1]
    parser.add_argument("store", type=Path)
    parser.add_argument("--subject", default="smollm2")
    parser.add_argument("--corpus", type=Path, default=root / "data" / "sample.jsonl.zst")
    parser.add_argument("--rows", type=int, default=600, help="fresh rows")
    parser.add_argument("--chosen", action="store_true")
    args = parser.parse_args()
    workspace = Workspace(args.store, bar=False)
    store = workspace.store
    subject = load_subject(args.subject, dtype=store.manifest["config"]["dtype"])
    first = int(store.manifest["rows"]) + (0 if args.chosen else CHOSEN_ROWS)
    rows = corpus_rows(subject, args.corpus, first + args.rows)[first:]
    tested = {i: store.evidence("perturbation", i, "largest") for i in store.layers}
    tested = {i: table for i, table in tested.items() if table is not None}
    neurons = {
        i: [n for j, n in enumerate(t.neuron.tolist()) if (j % CHOSEN == 0) == args.chosen] for i, t in tested.items()
    }
    values: dict[int, list[np.ndarray]] = {i: [] for i in tested}
    for begin in range(0, len(rows), 16):
        readers = {i: lambda x, i=i: values[i].append(x[:, :, neurons[i]].float().numpy()) for i in tested}
        subject.read(torch.from_numpy(rows[begin : begin + 16].astype(np.int64)), readers)
    print(f"{len(rows)} fresh rows, numbers {first:,} and on; firing: at half of the largest explaining activation")
    kernel = TokenKernel(store.vocabulary, workspace.centred_vectors)
    for layer, table in tested.items():
        show(store, layer, table, rows, neurons[layer], np.concatenate(values[layer]), kernel)


def show(
    store: Store, layer: int, table: PerturbationTable, rows: np.ndarray, neurons: list[int], values: np.ndarray,
    kernel: TokenKernel,
) -> None:  # fmt: skip
    """The figures of one layer."""
    found: dict[str, list[list[float]]] = {"first fresh rows": [], "ten strongest fresh rows": []}
    at, sample = np.flatnonzero(store.sample.explaining), store.sample
    silent = joined([kernel.positions(store.row(int(sample.row[i])), [int(sample.position[i])]) for i in at])
    sampled = store.sampled(layer)[:, at]
    for j, neuron in enumerate(neurons):
        own, examples = values[:, :, j], store.examples(layer, neuron)
        try:
            most = firing.scale(examples)
        except ValueError:
            continue
        if not (own / most >= FIRING).any():
            continue
        rules = [
            pattern(
                examples, kernel, neuron=neuron, substitutes=table.substitutes,
                random=(silent, sampled[store.index_of(layer, neuron)]),
            ),
            lookup(examples, 1),
            lookup(examples, 5),
        ]  # fmt: skip
        strongest = np.argsort(-own.max(axis=1), kind="stable")[:10].tolist()
        for name, chosen in zip(found, (range(NATURAL), strongest), strict=True):
            some = [(rows[i], own[i]) for i in chosen]
            if any((values / most >= FIRING).any() for _, values in some):
                found[name].append([firing.count(rule, most, some).f1 for rule in rules])
    for name, scores in found.items():
        f1 = np.array(scores)
        gain = f1[:, 0] - f1[:, 1]
        interval = bootstrap((gain,), np.mean, rng=np.random.default_rng(0)).confidence_interval
        means = ", ".join(f"{way} {mean:.3f}" for way, mean in zip(WAYS, f1.mean(axis=0), strict=True))
        print(
            f"layer {layer}, {name} ({len(f1)} of {len(neurons)} neurons fire there): F1 {means}; "
            f"above token look-up by {gain.mean():+.3f} (95 %: {interval.low:+.3f} to {interval.high:+.3f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
