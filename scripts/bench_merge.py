"""Merging whole stores: seconds and peak memory by the number of shards, and by the size of a store.

    python scripts/bench_merge.py --folder DISK        # 64 shards of SmolLM2's 46,080 neurons

The shards are real: ranges of the sample corpus, collected one after another by this process, which loads the subject
once. Windows and samples are short, so that 64 shards fit on a disk; k = 20 as by default, since the index of the
merged store grows with it. Each merge is a process of its own. The first n shards are a range; all of them are the
whole corpus, whose merge also builds the index of `find`: so 63 shards beside 64 show what the index takes. The size is
changed by the number of layers. The peak is given in MiB and in shards; what Python and its packages take is apart.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from neurolocal.config import CollectConfig
from neurolocal.corpus import Cursor, corpus_files
from neurolocal.pipeline.batch_range import BatchRange
from neurolocal.pipeline.collect import Collection, collect_store
from neurolocal.pipeline.manifest import row_stream
from neurolocal.stage import silent
from neurolocal.subject import load_subject

BATCH = 16
"""Rows a batch."""

MERGE = """
import json, sys, time
from pathlib import Path
from neurolocal.pipeline.merge import merge_stores
from neurolocal.scale.plan_start import peak_bytes
base, began, cpu = peak_bytes(), time.monotonic(), time.process_time()
merge_stores(Path(sys.argv[1]), [Path(path) for path in sys.argv[2:]], say=lambda line: None, bar=False)
print(json.dumps([time.monotonic() - began, time.process_time() - cpu, base, peak_bytes()]))
"""
"""Merges in a process of its own, and prints what that took."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subject", default="smollm2")
    parser.add_argument("--corpus", type=Path, default=Path(__file__).parents[1] / "data" / "sample.jsonl.zst")
    parser.add_argument("--shards", type=int, nargs="+", default=[4, 16, 63, 64])
    parser.add_argument("--layers", type=int, nargs="*", default=[8, 15], help="smaller stores, of 16 shards each")
    parser.add_argument("--rows", type=int, default=32, help="of a shard")
    parser.add_argument("--row-length", type=int, default=64)
    parser.add_argument("--folder", type=Path, help="where the shards are written")
    chosen = parser.parse_args()
    print(f"load average at the beginning: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    subject = load_subject(chosen.subject, dtype="bfloat16", device="cpu")
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        made = shards(Path(folder), subject, chosen, n=max(chosen.shards), layers=None)
        for n in chosen.shards:
            report(made[:n], subject.n_layers)
    few = min(16, max(chosen.shards))
    for n in chosen.layers:
        with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
            report(shards(Path(folder), subject, chosen, n=few, layers=tuple(range(n))), n)
    print(f"load average at the end: {os.getloadavg()[0]:.1f}")


def shards(
    folder: Path, subject: Any, chosen: argparse.Namespace, *, n: int, layers: tuple[int, ...] | None
) -> list[Path]:
    """Collect n shards of the corpus; the last one reaches to its end."""
    config = CollectConfig(
        row_length=chosen.row_length, dtype="bfloat16", batch_size=BATCH, before=2, after=2, sample=32, logits=0,
        layers=layers, max_rows=n * chosen.rows,
    )  # fmt: skip
    stream = row_stream(Collection(subject, chosen.corpus, folder / "none.h5", config), corpus_files(chosen.corpus))
    each, cursors = chosen.rows // BATCH, [Cursor()]
    cursors += [batch.after for batch in stream.batches() if (batch.number + 1) % each == 0]
    assert len(cursors) == n + 1, f"the corpus has {len(cursors) - 1} shards of {chosen.rows} rows, and {n} are wanted"
    made, began, cpu = list[Path](), time.monotonic(), time.process_time()
    for i, begin in enumerate(cursors[:-1]):
        path = folder / f"{i}.h5"
        part = BatchRange(begin, None if i == n - 1 else cursors[i + 1].batches)
        collect_store(Collection(subject, chosen.corpus, path, config), say=silent, bar=False, part=part)
        made.append(path)
    print(
        f"{n} shards of {chosen.rows} rows, {made[0].stat().st_size / 2**20:,.0f} MiB each, collected in "
        f"{time.monotonic() - began:,.0f} s, {time.process_time() - cpu:,.0f} of the processor",
        flush=True,
    )
    return made


class Cost(NamedTuple):
    """What a merge took."""

    wall: float
    cpu: float
    base: float
    """Bytes of memory before it."""
    peak: float
    """Bytes at its peak."""


def merged(parts: list[Path], out: Path) -> Cost:
    """Merge in a process of its own."""
    command = [sys.executable, "-c", MERGE, str(out), *map(str, parts)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Cost(*json.loads(done.stdout))


def report(parts: list[Path], layers: int) -> None:
    """Merge these shards, and print a line."""
    out = parts[0].with_name("merged.h5")
    cost = merged(parts, out)
    size, read = parts[0].stat().st_size, sum(path.stat().st_size for path in parts)
    share = cost.peak - cost.base
    print(
        f"{len(parts):3} shards of {layers} layers, {size / 2**20:,.0f} MiB each: {cost.wall:.1f} s, {cost.cpu:.1f} of "
        f"the processor, {cost.cpu / len(parts):.2f} a shard, {read / cost.cpu / 1e6:,.0f} MB read in each; peak "
        f"{cost.peak / 2**20:,.0f} MiB, {share / 2**20:,.0f} of them for the merge: {share / size:.2f} shards (all: "
        f"{cost.peak / size:.2f}); result {out.stat().st_size / 2**20:,.0f} MiB",
        flush=True,
    )
    out.unlink()


if __name__ == "__main__":
    main()
