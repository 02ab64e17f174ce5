"""What many workers cost: merging by number of parts, and workers of a Ray cluster against independent processes.

    python scripts/bench_scale.py merge --parts 4 16 64 --neurons 4608      time and peak memory of one merge
    python scripts/bench_scale.py workers --subject smollm2 --corpus FILE   rows a second, by workers and by processes

Merging takes made-up parts of `neurons` neurons (k = 20), each of rows of its own, in a process of its own; the peak is
given in MiB and in parts. Workers: n processes of `collect --shard I/n` are started together, and after them n workers.
Each way runs on `rows` and on twice as many rows; the difference is free of what starting costs. Efficiency is the
workers' rate over the processes'. A run of the workers with four times as many shards shows what a shard costs.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import bench_find as made_up
import numpy as np

from neurolocal.store import write_collected

COMMAND = [sys.executable, "-c", "from neurolocal.cli.main import main; main()", "collect"]
MERGE = """
import resource, sys, time
from pathlib import Path
from neurolocal.pipeline.merge import merge_stores
base, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
cpu = time.process_time()
merge_stores(Path(sys.argv[1]), [Path(p) for p in sys.argv[2:]], say=lambda line: None, bar=False)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(time.monotonic() - began, time.process_time() - cpu, base / 1024, peak / 1024)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["merge", "workers"])
    parser.add_argument("--parts", type=int, nargs="+", default=[4, 16, 64])
    parser.add_argument("--neurons", type=int, default=4608)
    parser.add_argument("--subject", default="smollm2")
    parser.add_argument("--corpus", type=Path, default=Path(__file__).parents[1] / "data" / "sample.jsonl.zst")
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", help="where the stores are written")
    chosen = parser.parse_args()
    print(f"load average at the beginning: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if chosen.folder is not None:
        Path(chosen.folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        if chosen.what == "merge":
            merging(Path(folder), chosen.parts, neurons=chosen.neurons)
        else:
            workers(Path(folder), chosen)
    print(f"load average at the end: {os.getloadavg()[0]:.1f}")


def merging(folder: Path, counts: list[int], *, neurons: int) -> None:
    """Merge the first n of some parts, for each n."""
    parts = [made_up_part(folder / f"{i}.h5", i, max(counts), neurons=neurons) for i in range(max(counts))]
    size = parts[0].stat().st_size / 2**20
    print(f"{len(parts)} parts of {neurons:,} neurons, {size:.0f} MiB each")
    for n in counts:
        out = folder / "merged.h5"
        done = subprocess.run(
            [sys.executable, "-c", MERGE, str(out), *map(str, parts[:n])], check=True, capture_output=True, text=True
        )
        seconds, cpu, base, peak = map(float, done.stdout.split())
        print(
            f"{n:3} parts: {seconds:6.1f} s, {cpu:6.1f} of the processor, {cpu / n:5.2f} a part; peak {peak:,.0f} MiB, "
            f"{peak - base:,.0f} of them for the merge: {(peak - base) / size:.2f} parts; result "
            f"{out.stat().st_size / 2**20:,.0f} MiB",
            flush=True,
        )
        out.unlink()


def made_up_part(path: Path, number: int, count: int, *, neurons: int) -> Path:
    """A part of a collection, in layers of 1,536 neurons, whose rows no other part has."""
    rng = np.random.default_rng(number)
    vocabulary, rows = made_up.made_up_vocabulary(np.random.default_rng(0)), made_up.made_up_rows(rng)
    first = number * made_up.ROWS
    content = made_up.collected(vocabulary, dataclasses.replace(rows, index=rows.index + first), [])
    layers = []
    for layer in range(-(-neurons // 1536)):
        record = made_up.made_up_layer(rng, min(1536, neurons - 1536 * layer))
        lists = {side: dataclasses.replace(top, row=top.row + first) for side, top in record.lists.items()}
        layers.append((("post", layer), dataclasses.replace(record, lists=lists)))
    border = [{"file": 0, "batches": n, "rows": n * made_up.ROWS, "digest": f"{n:064x}"} for n in (number, number + 1)]
    manifest = dict(content.manifest)
    manifest["subject"] = manifest["tokenizer"] = {"sha256": ""}
    manifest["corpus"] = {"files": [], "n_files": 0, "rows_sha256": ""}
    manifest["config"] = {**manifest["config"], "sample": 0, "seed": 0, "shard": 0, "shards": 1}
    manifest |= {"range": {"begin": border[0], "end": border[1], "last": number == count - 1}, "cursor": {}}
    write_collected(path, dataclasses.replace(content, manifest=manifest, layers=layers))
    return path


def workers(folder: Path, chosen: argparse.Namespace) -> None:
    """Rows a second of workers and of processes, and what a shard costs."""
    n, rows = chosen.workers, chosen.rows
    alone = [independent(folder, chosen, rows=r) for r in (rows, 2 * rows)]
    ray = [on_ray(folder, chosen, rows=r, shards=2 * n) for r in (rows, 2 * rows)]
    rates = [rows / (two - one) for one, two in (alone, ray)]
    print(f"{n} independent processes: {alone[0]:.1f} and {alone[1]:.1f} s, {rates[0]:.2f} rows/s")
    print(f"{n} workers: {ray[0]:.1f} and {ray[1]:.1f} s, {rates[1]:.2f} rows/s; efficiency {rates[1] / rates[0]:.2f}")
    more = on_ray(folder, chosen, rows=2 * rows, shards=8 * n)
    print(f"{8 * n} shards in place of {2 * n}: {more:.1f} s, {(more - ray[1]) / (6 * n):.2f} s a shard")


def settings(chosen: argparse.Namespace, rows: int) -> list[str]:
    """The settings of all runs; a worker has one core."""
    return ["--subject", chosen.subject, "--corpus", str(chosen.corpus), "--max-rows", str(rows), "--device", "cpu",
            "--logits", "0", "--batch-size", "4"]  # fmt: skip


def independent(folder: Path, chosen: argparse.Namespace, *, rows: int) -> float:
    """Seconds of n processes, each with its share of the batches."""
    began, n = time.monotonic(), chosen.workers
    running = [
        subprocess.Popen(
            [*COMMAND, *settings(chosen, rows), "--store", str(folder / f"{rows}-{i}.h5"), "--shard", f"{i}/{n}"],
            stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
        )
        for i in range(n)
    ]  # fmt: skip
    assert not any(process.wait() for process in running)
    return time.monotonic() - began


def on_ray(folder: Path, chosen: argparse.Namespace, *, rows: int, shards: int) -> float:
    """Seconds of a run of n workers, the cluster's start and the last merge included."""
    began = time.monotonic()
    store = folder / f"{rows}-{shards}-ray.h5"
    command = [*COMMAND, *settings(chosen, rows), "--store", str(store), "--engine", "ray"]
    command += ["--workers", str(chosen.workers), "--cpus-per-worker", "1", "--shards", str(shards)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, env=environment)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
