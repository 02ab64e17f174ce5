"""What many workers cost: the workers of a Ray cluster against independent processes, and the text that they share.

    python scripts/bench_scale.py workers --subject smollm2 --corpus FILE   rows a second, by workers and by processes
    python scripts/bench_scale.py text --subject smollm2                    the steps in which workers share the text

Workers: n independent processes at the same time, each with a corpus of its own, against n workers that read these
corpora as one; each with one thread. Both ways run on `rows` and on `times` as many rows: from the two follow what a
run costs once (start, last merge) and what a row costs (the steady part). Efficiency is what the processes took over
what the workers took, by the clock and by processor time; of processor time that of the driver and of all that Ray
starts is counted. On a busy machine both ways run in turn, or at the same time (`--together`), so that they meet the
same machine. The defaults take some 10 minutes on 2 cores; `--subject stories260k --rows 1000` takes 5.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from neurolocal.config import CollectConfig
from neurolocal.corpus import Cursor, KeptText, Section, corpus_files, find_sections, keep, link, section_size
from neurolocal.pipeline.manifest import Collection, row_stream
from neurolocal.store import Store
from neurolocal.subject import load_subject

COMMAND = [sys.executable, "-c", "from neurolocal.cli.main import main; main()", "collect"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["workers", "text"])
    parser.add_argument("--subject", default="smollm2")
    parser.add_argument("--corpus", type=Path, default=Path(__file__).parents[1] / "data" / "sample.jsonl.zst")
    parser.add_argument("--rows", type=int, default=96, help="of the shorter runs, of all workers together")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--shards", type=int, help="shards of the workers, four a worker if omitted")
    parser.add_argument("--times", type=int, default=4, help="the longer runs have so many times the rows")
    parser.add_argument("--repeats", type=int, default=2, help="pairs of both ways")
    parser.add_argument("--together", action="store_true", help="both ways at the same time, by processor time alone")
    parser.add_argument("--folder", help="where the stores are written")
    chosen = parser.parse_args()
    print(f"load average at the beginning: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if chosen.folder is not None:
        Path(chosen.folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        if chosen.what == "text":
            text(Path(folder), chosen.subject, chosen.corpus)
        else:
            workers(Path(folder), chosen)
    print(f"load average at the end: {os.getloadavg()[0]:.1f}")


def text(folder: Path, name: str, corpus: Path) -> None:
    """Processor time of each step for a token, of the whole corpus in eight sections; of one process."""
    config = CollectConfig(batch_size=32)
    subject = load_subject(name, dtype="bfloat16", device="cpu")
    stream = row_stream(Collection(subject, corpus, folder / "s.h5", config), corpus_files(corpus))
    used, size = dict[str, float](), section_size(stream, sections=8)

    def timed(step: str, work: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        began = time.process_time()
        value = work(*arguments, **named)
        used[step] = used.get(step, 0.0) + time.process_time() - began
        return value

    def rows(whole: KeptText, begin: Cursor, n: int) -> int:
        again = dataclasses.replace(stream, kept=whole)
        return sum(len(batch.rows) for batch in itertools.islice(again.batches(begin), n))

    def sections() -> list[Section]:
        return list(find_sections(stream, size=size, sections=8))

    begin, tail, tokenise = Cursor(), None, "read: tokenise and keep"
    for one in timed("the driver reads the text", sections):
        kept, _ = timed(tokenise, keep, stream, one, folder / f"{one.number}")
        whole = KeptText((kept,) if tail is None else (tail, kept))
        got = timed("link: cut and hash", link, stream, one, begin, text=whole, tail=folder / f"{one.number}.tail")
        timed("collect: rows of kept text", rows, whole, begin, got.end.batches - begin.batches)
        begin, tail = got.end, got.tail
    print(f"{begin.tokens:,} tokens")
    for step, seconds in used.items():
        print(f"{step}: {1e6 * seconds / begin.tokens:.3f} us a token, {100 * seconds / used[tokenise]:.1f} %")


def workers(folder: Path, chosen: argparse.Namespace) -> None:
    """Processor and clock seconds of workers and of processes, in turn or together, and their efficiency."""
    n, sizes = chosen.workers, (chosen.rows, chosen.times * chosen.rows)
    corpora = split(chosen.corpus, folder / "corpus", n)
    found = {side: [list[Cost]() for _ in range(chosen.repeats)] for side in ("processes", "workers")}
    for turn, rows in ((turn, rows) for turn in range(chosen.repeats) for rows in sizes):
        sides = {
            "processes": independent(folder, chosen, corpora, rows=rows),
            "workers": on_ray(folder, chosen, corpora[0].parent, rows=rows, shards=chosen.shards or 4 * n),
        }
        order = list(sides) if turn % 2 == 0 else list(reversed(sides))
        for group in [order] if chosen.together else [[side] for side in order]:
            for side, cost in zip(group, measured([sides[side] for side in group]), strict=True):
                print(f"{side}, {rows:,} rows: {cost}", flush=True)
                found[side][turn].append(cost)
        require_rows([folder / "ray.h5"], rows)
        require_rows([folder / f"{i}.h5" for i in range(n)], rows // n)
        for store in folder.glob("*.h5"):
            store.unlink()
    for side, turns in found.items():
        for short, long in turns:
            print(f"{side}: {parts(short, long, sizes)}")
    for what in ("processor",) if chosen.together else ("processor", "clock"):
        efficiency(what, found, sizes)


def require_rows(stores: list[Path], rows: int) -> None:
    """End where there was less text than was to be read."""
    for store in stores:
        with Store(store) as made:
            if made.manifest["rows"] < rows:
                sys.exit(f"{store} has {made.manifest['rows']:,} rows instead of {rows:,}: give a larger --corpus")


def parts(short: Cost, long: Cost, sizes: tuple[int, int]) -> str:
    """What a run costs once, and what a row costs, from two runs."""
    said = []
    for name in ("clock", "processor", *sorted(long.roles)):
        a, b = (cost.clock if name == "clock" else cost.of(name) for cost in (short, long))
        row = (b - a) / (sizes[1] - sizes[0])
        said.append(f"{name} {a - row * sizes[0]:.1f} s once and {1000 * row:.1f} ms a row")
    return "; ".join(said)


def efficiency(what: str, found: dict[str, list[list[Cost]]], sizes: tuple[int, int]) -> None:
    """Print what the processes took over what the workers took."""
    steady, whole = [], []
    for one, other in zip(found["processes"], found["workers"], strict=True):
        a, b = ([getattr(cost, what) for cost in side] for side in (one, other))
        steady.append((a[1] - a[0]) / (b[1] - b[0]))
        whole.append(a[1] / b[1])
    for name, values in (("steady part", steady), (f"whole run of {sizes[1]:,} rows", whole)):
        each = ", ".join(f"{value:.2f}" for value in values)
        print(f"efficiency by {what} time, {name}: {statistics.median(values):.2f} ({each})")


class Cost(NamedTuple):
    """What a run took."""

    clock: float
    """Seconds by the clock."""
    roles: dict[str, float]
    """Processor seconds by kind of process."""

    @property
    def processor(self) -> float:
        """Processor seconds in all."""
        return sum(self.roles.values())

    def of(self, role: str) -> float:
        """Processor seconds of a kind of process, or of all."""
        return self.processor if role == "processor" else self.roles.get(role, 0.0)

    def __str__(self) -> str:
        """In words."""
        parts = ", ".join(f"{role} {seconds:.1f}" for role, seconds in sorted(self.roles.items()))
        return f"{self.clock:.1f} s by the clock, {self.processor:.1f} s of processor time ({parts})"


def split(corpus: Path, folder: Path, n: int) -> list[Path]:
    """The documents of a .jsonl.zst corpus in n files, a corpus for each process; the workers read their folder."""
    import zstandard

    with zstandard.open(corpus, "rb") as file:
        lines = file.read().splitlines(keepends=True)
    folder.mkdir()
    files = [folder / f"{i}.jsonl" for i in range(n)]
    for i, path in enumerate(files):
        path.write_bytes(b"".join(lines[i * len(lines) // n : (i + 1) * len(lines) // n]))
    return files


def settings(chosen: argparse.Namespace, corpus: Path, rows: int) -> list[str]:
    """The settings of all runs; a worker has one core."""
    return ["--subject", chosen.subject, "--corpus", str(corpus), "--max-rows", str(rows), "--device", "cpu",
            "--logits", "0", "--batch-size", "4", "--dtype", "bfloat16"]  # fmt: skip


QUIET = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS", "TQDM_DISABLE"), "1")
"""One thread a process, and no progress bars."""


def independent(folder: Path, chosen: argparse.Namespace, corpora: list[Path], *, rows: int) -> list[list[str]]:
    """n processes, each a single run of its share of the rows, on a corpus of its own."""
    return [
        [*COMMAND, *settings(chosen, corpus, rows // len(corpora)), "--store", str(folder / f"{i}.h5")]
        for i, corpus in enumerate(corpora)
    ]


def on_ray(folder: Path, chosen: argparse.Namespace, corpus: Path, *, rows: int, shards: int) -> list[list[str]]:
    """A run of n workers, the cluster's start and the last merge included."""
    command = [*COMMAND, *settings(chosen, corpus, rows), "--store", str(folder / "ray.h5"), "--engine", "ray"]
    command += ["--workers", str(chosen.workers), "--cpus-per-worker", "1", "--shards", str(shards)]
    return [command]


def measured(sides: list[list[list[str]]]) -> list[Cost]:
    """Run the commands of every side at the same time; what each side took, up to the end of its last command.

    Processes are looked at twice a second, so what one does in its last half second is missed.
    """
    began, ended = time.monotonic(), [0.0] * len(sides)
    seen = [dict[int, tuple[str, float]]() for _ in sides]
    with tempfile.TemporaryFile() as said:
        running = [
            [subprocess.Popen(command, stderr=said, env=os.environ | QUIET) for command in side] for side in sides
        ]
        while not all(ended):
            time.sleep(0.5)
            for i, side in enumerate(running):
                for process in side:
                    look(process.pid, seen[i])
                if not ended[i] and all(process.poll() is not None for process in side):
                    ended[i] = time.monotonic() - began
        if any(process.returncode for side in running for process in side):
            said.seek(0)
            sys.exit(said.read().decode())
    costs = []
    for clock, one in zip(ended, seen, strict=True):
        roles: dict[str, float] = {}
        for role, seconds in one.values():
            roles[role] = roles.get(role, 0.0) + seconds
        costs.append(Cost(clock, roles))
    return costs


def look(pid: int, seen: dict[int, tuple[str, float]]) -> None:
    """Note the processor seconds so far of a process and of all that it started."""
    with contextlib.suppress(psutil.Error):
        first = psutil.Process(pid)
        for one in (first, *first.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                used = one.cpu_times()
                seen[one.pid] = role_of(one, first), used.user + used.system


def role_of(process: psutil.Process, first: psutil.Process) -> str:
    """What a process is for."""
    if process == first:
        return "driver" if "--engine" in process.cmdline() else "runs"
    name = process.name() + " ".join(process.cmdline()[:3])
    kinds = {"ray::Worker": "workers", "ray::IDLE": "idle workers", "gcs_server": "gcs", "raylet": "raylet"}
    return next((role for mark, role in kinds.items() if mark in name), "other")


if __name__ == "__main__":
    main()
