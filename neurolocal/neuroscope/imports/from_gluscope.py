"""GLUScope's example files -> a store with sign cases.

A file names no row, so rows are numbered in the order of the files; a text that occurs twice is one row.
Invariant: one damaged file refuses the whole import, before anything is written.
Cost: all examples are in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from neurolocal.config import sha256
from neurolocal.neuroscope.imports.import_store import ImportedNeuron, import_config, write_import
from neurolocal.neuroscope.imports.layer_builder import NeuronActivations
from neurolocal.neuroscope.imports.result import ImportResult
from neurolocal.neuroscope.imports.row_table import ImportedCorpus, RowTable
from neurolocal.neuroscope.imports.spool import store_folder
from neurolocal.neuroscope.read.gluscope import SITES, GluscopeExample, read_example
from neurolocal.neuroscope.read.packed import StringNumbers
from neurolocal.records import Place, Site


class _NumberedExample(NamedTuple):
    """An example and the number of its row."""

    row: int
    example: GluscopeExample


def import_gluscope(
    files: Sequence[Path], out: Path, *, model: str | None = None, say: Callable[[str], None] = print
) -> ImportResult:
    """Read example files and write a store.

    Args:
        files: one or more, of one model.
        out: the store to write; an existing file is replaced.
        model: the model's name, which the files do not contain.
        say: receives a line for each file with the same text as an earlier one.

    Raises:
        StoreError: a file is damaged, or the store cannot be written.
    """
    examples = [read_example(path) for path in files]
    with store_folder(out) as folder, closing(RowTable(folder)) as rows:
        by_neuron = _numbered(files, examples, rows, say=say)
        corpus = rows.corpus(set())
    texts = sum(map(len, by_neuron.values()))
    sites: list[Site] = [site for site in SITES.values() if all(site in e.values for e in examples)]
    signed = {"post", "pre", "pre_linear"} <= set(sites)
    places: dict[Place, list[int]] = {}
    for site in sites:
        for layer, neuron in sorted(by_neuron):
            places.setdefault((site, layer), []).append(neuron)

    def neuron_of(place: Place, neuron: int) -> ImportedNeuron:
        mine = sorted(by_neuron[place[1], neuron], key=lambda one: one.row)
        whole = {site: _padded([one.example.values[site] for one in mine]) for site in sites}
        values = whole[place[0]]
        peaks = np.nanargmax(values, axis=1).astype(np.int32)
        shown = NeuronActivations(np.array([one.row for one in mine], np.int64), peaks, values)
        unprinted = np.full(len(mine), np.nan)
        signs = (whole["pre"], whole["pre_linear"]) if signed else None
        number = np.arange(len(mine), dtype=np.int32)
        return ImportedNeuron(shown, number, unprinted, unprinted, float("nan"), signs)

    config = import_config(corpus, {}, sites=sites, k=max(map(len, by_neuron.values())), cases=signed)
    write_import(out, _manifest(files, corpus, model, config), corpus, places, neuron_of)
    return ImportResult(pages=len(files), texts=texts, rows=len(corpus.rows.index), doubled=len(files) - texts)


def _numbered(
    files: Sequence[Path], examples: Sequence[GluscopeExample], rows: RowTable, *, say: Callable[[str], None]
) -> dict[tuple[int, int], list[_NumberedExample]]:
    """The examples by layer and neuron, each with the number of its row; their tokens are added to the row table."""
    numbers, strings = dict[tuple[str, ...], int](), StringNumbers()
    found: dict[tuple[int, int], list[_NumberedExample]] = {}
    for path, one in zip(files, examples, strict=True):
        row = numbers.setdefault(tuple(one.tokens), len(numbers))
        mine = found.setdefault((one.layer, one.neuron), [])
        if row in (other.row for other in mine):
            say(f"import: {path.name} has the text of an earlier file of this neuron; the first is kept")
            continue
        before = len(strings)
        codes = np.array([strings[token] for token in one.tokens], np.uint32)
        rows.add(row, "", 0, rows.number(0, strings.strings[before:], codes), whole=True)
        mine.append(_NumberedExample(row, one))
    return found


def _padded(rows: list[Float32[np.ndarray, "_"]]) -> Float32[np.ndarray, "text pos"]:
    """Rows of any lengths as one array, padded with NaN."""
    found = np.full((len(rows), max(map(len, rows))), np.nan, np.float32)
    for i, row in enumerate(rows):
        found[i, : len(row)] = row
    return found


def _manifest(
    files: Sequence[Path], corpus: ImportedCorpus, model: str | None, config: dict[str, Any]
) -> dict[str, Any]:
    words = [token.decode("utf-8", "replace") for token in corpus.vocabulary.tokens]
    return {
        "subject": {"name": model or "a gated model", "path": "", "sha256": None, "n_layers": None, "d_mlp": None,
                    "d_vocab": len(words)},
        "tokenizer": {"sha256": sha256(words), "bos": corpus.bos, "eos": None, "size": len(words)},
        "corpus": {"path": str(files[0].parent), "n_files": len(files), "files": [], "skipped": {}},
        "config": config,
        "source": {"kind": "gluscope", "files": len(files), "tokens": "strings", "own": {}},
    }  # fmt: skip
