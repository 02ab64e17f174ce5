"""Does a neuron's pattern predict its firing on rows that nothing has seen, better than look-up tables do?

For the neurons of STORE that perturbation tested: the pattern, token look-up and 5-gram look-up of
neurolocal/summary/firing.py, fitted to the explain half, tested on rows of the corpus behind those collected. Mean F1
by layer, once over all fresh rows (texts in their natural proportion), once over each neuron's ten strongest fresh
rows, which is what Neuron2Graph tests on; and the paired difference to token look-up with a 95 % bootstrap interval
over neurons. Neurons that fire nowhere in the fresh rows are counted and left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from bench_planted import corpus_rows
from scipy.stats import bootstrap

from neurolocal.records import PerturbationTable
from neurolocal.store import Store
from neurolocal.subject import load_subject
from neurolocal.summary import firing

WAYS = ("pattern", "token look-up", "5-gram look-up")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = Path(__file__).parents[1]
    parser.add_argument("store", type=Path)
    parser.add_argument("--subject", default="smollm2")
    parser.add_argument("--corpus", type=Path, default=root / "data" / "sample.jsonl.zst")
    parser.add_argument("--rows", type=int, default=400, help="fresh rows")
    args = parser.parse_args()
    with Store(args.store) as store:
        subject = load_subject(args.subject, dtype=store.manifest["config"]["dtype"])
        first = int(store.manifest["rows"])
        rows = corpus_rows(subject, args.corpus, first + args.rows)[first:]
        tested = {i: store.evidence("perturbation", i, "largest") for i in store.layers}
        tested = {i: table for i, table in tested.items() if table is not None}
        values: dict[int, list[np.ndarray]] = {i: [] for i in tested}
        for begin in range(0, len(rows), 16):
            readers = {i: lambda x, i=i: values[i].append(x[:, :, tested[i].neuron].float().numpy()) for i in tested}
            subject.read(torch.from_numpy(rows[begin : begin + 16].astype(np.int64)), readers)
        ids = {t.decode("utf-8"): i for i, t in enumerate(store.vocabulary.tokens) if whole(t)}
        print(f"{len(rows)} fresh rows, numbers {first:,} and on; firing: at half of the largest explaining activation")
        for layer, table in tested.items():
            show(store, layer, table, rows, np.concatenate(values[layer]), ids)


def whole(token: bytes) -> bool:
    """Whether a token is text by itself."""
    try:
        return bool(token.decode("utf-8"))
    except UnicodeDecodeError:
        return False


def show(
    store: Store, layer: int, table: PerturbationTable, rows: np.ndarray, values: np.ndarray, ids: dict[str, int]
) -> None:
    """The figures of one layer."""
    found: dict[str, list[list[float]]] = {"all fresh rows": [], "ten strongest fresh rows": []}
    for j, neuron in enumerate(table.neuron.tolist()):
        own = values[:, :, j]
        try:
            known = firing.seen(store.examples(layer, neuron))
        except ValueError:
            continue
        if not (own >= known.threshold).any():
            continue
        rules = [
            firing.pattern(known, neuron, table.substitutes, ids),
            firing.lookup(known, 1),
            firing.lookup(known, 5),
        ]
        strongest = np.argsort(-own.max(axis=1), kind="stable")[:10]
        for name, chosen in zip(found, (range(len(rows)), strongest), strict=True):
            some = [(rows[i], own[i]) for i in chosen]
            found[name].append([firing.score(r, known.threshold, some).f1 for r in rules])
    for name, scores in found.items():
        f1 = np.array(scores)
        gain = f1[:, 0] - f1[:, 1]
        interval = bootstrap((gain,), np.mean, rng=np.random.default_rng(0)).confidence_interval
        means = ", ".join(f"{way} {mean:.3f}" for way, mean in zip(WAYS, f1.mean(axis=0), strict=True))
        print(
            f"layer {layer}, {name} ({len(f1)} of {len(table.neuron)} neurons fire there): F1 {means}; "
            f"above token look-up by {gain.mean():+.3f} (95 %: {interval.low:+.3f} to {interval.high:+.3f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
