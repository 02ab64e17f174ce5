"""How long the static site takes: pages a second, size, and memory.

Run: python scripts/bench_site.py STORE [--layers 14,15] [--neurons 512] [--processes 2]. Writes the pages of the first
NEURONS neurons of each layer into a temporary folder, twice: the second time nothing changes. Prints pages a second of
both, the sizes of neuron pages, and the largest memory of a process after each quarter of the pages, which shows
whether it grows.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from neurolocal.machine import cores
from neurolocal.site.build import write_site
from neurolocal.site.pages import Pages
from neurolocal.store import Store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--layers", type=lambda text: [int(n) for n in text.split(",")])
    parser.add_argument("--neurons", type=int, default=1_000_000)
    parser.add_argument("--processes", type=int, default=cores())
    chosen = parser.parse_args()
    memory(chosen.store, chosen.layers, chosen.neurons)
    neurons = range(chosen.neurons)
    with tempfile.TemporaryDirectory() as folder:
        for what in ("new", "unchanged"):
            start = time.perf_counter()
            built = write_site(
                chosen.store, Path(folder), layers=chosen.layers, neurons=neurons, processes=chosen.processes
            )
            took = time.perf_counter() - start
            print(
                f"{what}: {built.written:,} of {built.files:,} files written, {built.neurons:,} neurons, {took:.1f} s"
            )
            print(
                f"{built.neurons / took:,.0f} neuron pages a second with {chosen.processes} processes, start included"
            )
        sizes = np.array([path.stat().st_size for path in Path(folder).glob("neuron/*/*.html")])
        whole = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        print(f"neuron page: median {np.median(sizes):,.0f} bytes, largest {sizes.max():,}; site {whole / 1e6:,.0f} MB")


def memory(path: Path, layers: list[int] | None, neurons: int) -> None:
    """Make the neuron pages in this process; print CPU time a page and the largest memory after each quarter."""
    with Store(path) as store:
        pages = Pages(store, layers=layers, neurons=range(neurons))
        names = [name for name in pages.names() if name.startswith("neuron/")]
        for number, part in enumerate(np.array_split(np.array(names), 4)):
            start = time.process_time()
            for name in part.tolist():
                pages.read(name)
            took = 1e3 * (time.process_time() - start) / max(len(part), 1)
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"quarter {number + 1}: {took:.2f} ms of CPU a page, largest memory {most:,.0f} MiB")


if __name__ == "__main__":
    main()
