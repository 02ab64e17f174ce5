"""An imported store in a subject's token ids, so that the stages that run the subject can use it.

Rows are kept as far as their ids are known: a row is cut before its first unknown token, and an example whose peak
stands behind that is left out; so are sites other than the one given, and sign cases. Invariant: what stays is what
the pages said; `check` finds no fault.
Cost: as an import.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from neurolocal.errors import StoreError
from neurolocal.neuroscope.gathered import Stored, disk_table, folder_of
from neurolocal.neuroscope.known import Known
from neurolocal.neuroscope.known_store import Told, write_known
from neurolocal.neuroscope.resolve import Resolver
from neurolocal.records import Place, Site
from neurolocal.store import Store, StoredRows
from neurolocal.subject import Subject


class Adopted(NamedTuple):
    """What was written."""

    examples: int
    left_out: int
    """Examples whose peak stands behind a token with no known id."""
    cut: int
    """Rows that end before such a token."""


def adopt(store: Store, subject: Subject, out: Path, *, dtype: str, site: Site | None = None) -> Adopted:
    """Write an imported store in a subject's ids, and name the subject in it.

    Args:
        store: imported from pages, its tokens strings.
        subject: that the pages are of; `replay` says whether they are.
        out: the store to write.
        dtype: that later stages compute in.
        site: where the pages were read, if not where the import took it to be.

    Raises:
        StoreError: the store is no import, `out` is there already, or no example can be put into ids.
    """
    require_new(store, out)
    with folder_of(out) as folder:
        return _adopt(store, subject, out, folder, dtype=dtype, named=site or store.site)


def require_new(store: Store, out: Path) -> None:
    """That an imported store can be written there in a subject's ids.

    Raises:
        StoreError: the store is no import, or `out` is there already.
    """
    if not store.imported:
        raise StoreError(f"writing {out}: {store.path} was collected, not imported; its tokens are ids already.")
    if out.exists():
        raise StoreError(f"writing {out}: the file exists. Give another name, or delete it.")


def _adopt(store: Store, subject: Subject, out: Path, folder: Path, *, dtype: str, named: Site) -> Adopted:
    vocabulary = store.vocabulary
    resolver = Resolver(subject, vocabulary.str_tokens(range(len(vocabulary.tokens))))
    stored, known = _rows(store, subject, resolver, folder)
    layers: dict[Place, list[int]] = {(store.site, layer): store.neurons(layer).tolist() for layer in store.layers}
    pages = {place: store.pages(place[1]) for place in layers}
    tops = {place: store.top(place[1], "largest") for place in layers}
    counts = {"kept": 0, "all": 0}

    def told(place: Place, neuron: int) -> Told:
        at = int(np.searchsorted(layers[place], neuron))
        top, lists, values = tops[place], pages[place], store.page_activations(place[1], at)
        assert lists is not None
        used = np.flatnonzero(top.row[at] >= 0)
        ends = np.array([known[row] for row in top.row[at][used].tolist()], np.int64)
        keep = top.position[at][used] < ends
        used, ends = used[keep], ends[keep]
        values = np.where(np.arange(values.shape[1]) < ends[:, None], values[used], np.nan).astype(np.float32)
        printed = np.stack([lists.largest[at][used], lists.smallest[at][used]], axis=1)
        width = stored.rows.tokens.shape[1]
        return Told(
            Known(top.row[at][used], top.position[at][used], values[:, :width]), lists.text[at][used], printed,
            float(lists.range[at]),
        )  # fmt: skip

    kept = {p: [n for n in some if len(told(p, n).known.row)] for p, some in layers.items()}
    for place in layers:
        counts["all"] += int((tops[place].row >= 0).sum())
        counts["kept"] += sum(len(told(place, n).known.row) for n in kept[place])
    if not counts["kept"]:
        raise StoreError(f"writing {out}: no example of {store.path} can be put into the token ids of {subject.name}.")
    write_known(
        out, _manifest(store, subject, stored, dtype, named), stored,
        {(named, layer): some for (_, layer), some in kept.items() if some},
        lambda place, neuron: told((store.site, place[1]), neuron),
    )  # fmt: skip
    lengths = dict(zip(store.row_index.tolist(), store.rows_stored[1].tolist(), strict=True))
    cut = sum(1 for row, n in known.items() if 0 < n < lengths[row])
    return Adopted(counts["kept"], counts["all"] - counts["kept"], cut)


def _rows(store: Store, subject: Subject, resolver: Resolver, folder: Path) -> tuple[Stored, dict[int, int]]:
    """The rows in ids, cut; and how long each of the store's rows is then, 0 where nothing is left."""
    tokens, length = store.rows_stored
    vocabulary = subject.vocabulary
    small = len(vocabulary.tokens) <= 1 << 16
    table = disk_table(folder, "<u2" if small else "<u4", tokens.shape)
    known: dict[int, int] = {}
    for i, index in enumerate(store.row_index.tolist()):
        row = resolver.resolve(tokens[i, : length[i]])
        known[index] = row.known
        table[i, : row.known] = row.ids[: row.known]
    lengths = np.array(list(known.values()), np.int64)
    keep = np.flatnonzero(lengths > 0)
    parts = store.parts.take(keep)
    rows = StoredRows(table[keep], lengths[keep], store.row_index[keep], parts.columns())
    return Stored(rows, vocabulary, subject.bos), known


def _manifest(store: Store, subject: Subject, stored: Stored, dtype: str, site: Site) -> dict[str, Any]:
    there = store.manifest
    width = int(stored.rows.tokens.shape[1])
    config = there["config"] | {"dtype": dtype, "sites": [site], "sign_cases": False, "row_length": width}
    return {
        **there,
        "subject": subject.facts(),
        "tokenizer": subject.tokenizer_facts(),
        "config": config,
        "source": there["source"] | {"tokens": "ids"},
    }
