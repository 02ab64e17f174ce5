"""How fast pages are imported, compared with a bare parse of their JSON, and how much memory that needs.

Run: python scripts/bench_neuroscope.py [--pages 1000] [--processes 2] [--folder FOLDER]. It first makes pages in
Neuroscope's own form (20 texts of 1,024 tokens, words with natural frequencies), which is not timed. Then it runs, each
in its own process: (a) a bare loop that reads the files and parses their JSON with the standard library on one core,
(b) the import. It prints pages a second, their ratio, and the peak memory of the import at a tenth of the pages and at
all of them. It needs 0.6 MB of disk a page in FOLDER (default: a temporary one).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

TEXTS, LENGTH, WORDS, LAYERS = 20, 1024, 30_000, 6
LETTERS = "etaoinshrdlucmfwypvbgkjqxz"
BLOB = re.compile(r"ColoredTokens, (\{.*\}) \)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--shared", type=float, default=0.5, help="share of texts whose row is also on other pages")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--part", choices=["parse", "import"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        print(json.dumps(parse(args.folder) if args.part == "parse" else imported(args.folder, args.processes)))
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        small, whole = Path(folder) / "small", Path(folder) / "whole"
        for place, pages in ((small, args.pages // 10), (whole, args.pages)):
            make(place, pages, args.shared)
        size = sum(path.stat().st_size for path in whole.rglob("*.html")) / 1e6
        print(f"{args.pages:,} pages of {TEXTS} x {LENGTH:,} tokens, {size:,.0f} MB; load {os.getloadavg()[0]:.1f}")
        bare = own(whole, "parse", args.processes)
        few, all_of_them = (own(place, "import", args.processes) for place in (small, whole))
    rate = {name: found["pages"] / found["seconds"] for name, found in (("bare", bare), ("import", all_of_them))}
    print(f"json.loads alone, one core:   {rate['bare']:6.0f} pages/s   load {bare['load']:.1f}")
    said = f"load {all_of_them['load']:.1f}   {rate['import'] / rate['bare']:.2f} of it"
    print(f"import, {args.processes} processes:          {rate['import']:6.0f} pages/s   {said}")
    print(f"of that reading {all_of_them['reading']:.1f} s, writing {all_of_them['writing']:.1f} s; ", end="")
    print(f"store {all_of_them['store']:,.0f} MB")
    print(f"{'pages':>8}{'rows':>10}{'main, MiB':>12}{'largest reader, MiB':>22}")
    for found in (few, all_of_them):
        print(f"{found['pages']:8,}{found['rows']:10,}{found['main']:12,.0f}{found['reader']:22,.0f}")


def own(folder: Path, part: str, processes: int) -> dict[str, float]:
    """Run a part in its own process, so that each has its own peak memory."""
    command = [sys.executable, __file__, "--part", part, "--folder", str(folder), "--processes", str(processes)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def parse(folder: Path) -> dict[str, float]:
    """The minimum for any reader: read each file, and parse its 40 JSON objects."""
    files, start = sorted(folder.rglob("*.html")), time.perf_counter()
    for path in files:
        for blob in BLOB.findall(path.read_text(encoding="utf-8")):
            json.loads(blob)
    return {"pages": len(files), "seconds": time.perf_counter() - start, "load": os.getloadavg()[0]}


def imported(folder: Path, processes: int) -> dict[str, float]:
    """The import, with the peak memory of this process and of the reading processes."""
    from neurolocal.neuroscope.imports import from_pages

    out, marks = folder.with_suffix(".h5"), [time.perf_counter()]
    write = from_pages.write_import

    def timed(*args: object, **more: object) -> None:
        marks.append(time.perf_counter())
        write(*args, **more)  # pyright: ignore[reportArgumentType]

    from_pages.write_import = timed
    found = from_pages.import_pages([folder], out, bar=False, processes=processes)
    marks.append(time.perf_counter())
    assert not found.problems, found.problems[:3]
    peak = {
        name: resource.getrusage(which).ru_maxrss / 1024
        for name, which in (("main", resource.RUSAGE_SELF), ("reader", resource.RUSAGE_CHILDREN))
    }
    return peak | {
        "pages": found.pages, "rows": found.rows, "seconds": marks[2] - marks[0], "reading": marks[1] - marks[0],
        "writing": marks[2] - marks[1], "store": out.stat().st_size / 1e6, "load": os.getloadavg()[0],
    }  # fmt: skip


def make(folder: Path, pages: int, shared: float) -> None:
    """Write pages in Neuroscope's own form: their JSON escapes only what JSON must."""
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, WORDS + 1)
    words = np.array(["<|endoftext|>", *made_up_words(rng)], object)
    cumulated = np.cumsum(share / share.sum())
    rows = int(pages * TEXTS * (1 - shared)) + TEXTS

    def row(index: int) -> list[str]:
        own = np.random.default_rng(index).random(LENGTH - 1)
        return ["<|endoftext|>", *words[1 + np.minimum(np.searchsorted(cumulated, own), WORDS - 1)].tolist()]

    for i in range(pages):
        place = folder / str(i % LAYERS) / f"{i // LAYERS}.html"
        place.parent.mkdir(parents=True, exist_ok=True)
        texts = []
        for index in rng.choice(rows, TEXTS, replace=False).tolist():
            values = np.round(rng.normal(0, 0.2, LENGTH), 6)
            values[rng.integers(LENGTH)] = np.round(rng.uniform(2, 4), 6)
            texts.append((index, row(index), values.tolist()))
        place.write_text(page(i % LAYERS, i // LAYERS, texts), encoding="utf-8")


def made_up_words(rng: np.random.Generator) -> list[str]:
    """Different strings of 1 to 9 letters, three in four with a space in front; some that JSON escapes."""
    found: dict[str, None] = {}
    while len(found) < WORDS:
        letters = "".join(LETTERS[i] for i in rng.integers(0, 26, rng.integers(1, 10)))
        found[
            " " * int(rng.random() < 0.75) + letters + ("", '"', "\n", "é")[int(rng.choice(4, p=[0.94, *[0.02] * 3]))]
        ] = None
    return list(found)


def page(layer: int, neuron: int, texts: list[tuple[int, list[str], list[float]]]) -> str:
    """One page."""
    x = max(max(values) for _, _, values in texts)
    sections = [
        f"<html><body>\n<h1>Model: made-up</h1>\n<h1>Dataset: pile</h1>\n<h2>Neuron {neuron} in Layer {layer} </h2>\n",
        "\n",
    ]
    for i, (index, tokens, values) in enumerate(texts):
        at = int(np.argmax(values))
        low, high = max(at - 50, 0), at + 11
        sections.append(
            f"<h2>Text #{i}</h2>\n<h4>Max Range: <b>{x:.4f}</b>. Min Range: <b>{-x:.4f}</b></h4>\n"
            f"<h4>Max Act: <b>{max(values):.4f}</b>. Min Act: <b>{min(values):.4f}</b></h4>\n"
            f"<h4>Data Index: <b>{index}</b> (pile)</h4>\n<h4>Max Activating Token Index: <b>{at}</b></h4>\n"
            f"<details><summary>Click<h3>Truncated</h3>\n{blob(tokens[low:high], values[low:high], x)}\n</summary>\n"
            f"<h3>Full Text #{i}</h3>\n{blob(tokens, values, x)}\n</details>\n"
        )
    return "<hr>\n".join(sections) + "</body></html>\n"


def blob(tokens: list[str], values: list[float], x: float) -> str:
    """One text's script."""
    said = json.dumps({"tokens": tokens, "values": values, "minValue": -x, "maxValue": x}, ensure_ascii=False)
    return (
        '<div id="t"></div>\n<script crossorigin type="module">\n'
        'import { render, ColoredTokens } from "https://unpkg.com/circuitsvis";\n'
        f'render( "t", ColoredTokens, {said} )\n</script>'
    )


if __name__ == "__main__":
    main()
