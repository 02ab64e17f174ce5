"""An imported store -> a store in a subject's token ids, which the stages that run the subject can use.

A row is cut before its first token with no known id, and an example whose peak is behind that is left out. Other sites
than the requested one are left out too, and so are sign cases.
Invariant: the examples that stay are those of the pages; `check` finds no fault.
Cost: as an import; one neuron's full rows are in memory at a time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from neurolocal.errors import StoreError
from neurolocal.neuroscope.imports.import_store import ImportedNeuron, write_import
from neurolocal.neuroscope.imports.layer_builder import NeuronActivations
from neurolocal.neuroscope.imports.row_table import ImportedCorpus
from neurolocal.neuroscope.imports.spool import disk_table, store_folder
from neurolocal.neuroscope.replay.token_ids import TokenResolver
from neurolocal.records import Place, Site
from neurolocal.store import Store, StoredRows
from neurolocal.subject import Subject


class ConversionCounts(NamedTuple):
    """How much of a store was converted."""

    examples: int
    """Examples written."""
    left_out: int
    """Examples whose peak is behind a token with no known id."""
    cut: int
    """Rows that end before such a token."""


def convert(store: Store, subject: Subject, out: Path, *, dtype: str, site: Site | None = None) -> ConversionCounts:
    """Write an imported store in a subject's ids, and name the subject in it.

    Args:
        store: imported from pages; its tokens are strings.
        subject: the model of the pages; `replay` tests whether it is.
        out: the store to write.
        dtype: that later stages compute in.
        site: where the pages were read, if that is not the store's site.

    Raises:
        StoreError: the store is no import, `out` exists already, or no example can be converted.
    """
    require_new(store, out)
    site = site or store.site
    with store_folder(out) as folder:
        resolver = TokenResolver(subject, store.vocabulary.str_tokens(range(len(store.vocabulary.tokens))))
        corpus, known = _rows(store, subject, resolver, folder)
        examples = _KeptExamples(store, known, corpus.rows.tokens.shape[1])
        neurons = {layer: [n for n in examples.neurons[layer] if examples.count(layer, n)] for layer in store.layers}
        kept = sum(examples.count(layer, n) for layer, some in neurons.items() for n in some)
        if not kept:
            raise StoreError(
                f"writing {out}: no example of {store.path} can be put into the token ids of {subject.name}."
            )
        places: dict[Place, list[int]] = {(site, layer): some for layer, some in neurons.items() if some}
        write_import(out, _manifest(store, subject, corpus, dtype, site), corpus, places, examples.neuron)
    lengths = dict(zip(store.row_index.tolist(), store.rows_stored[1].tolist(), strict=True))
    cut = sum(1 for row, n in known.items() if 0 < n < lengths[row])
    return ConversionCounts(kept, examples.total() - kept, cut)


def require_new(store: Store, out: Path) -> None:
    """Check that an imported store can be converted and written to `out`.

    Raises:
        StoreError: the store is no import, or `out` exists already.
    """
    if not store.imported:
        raise StoreError(f"writing {out}: {store.path} was collected, not imported; its tokens are ids already.")
    if out.exists():
        raise StoreError(f"writing {out}: the file exists. Give another name, or delete it.")


class _KeptExamples:
    """The examples whose peaks lie within the converted rows."""

    def __init__(self, store: Store, known: dict[int, int], width: int) -> None:
        """Examples of a store.

        Args:
            store: imported from pages.
            known: length of each row after the conversion, by row index.
            width: of the converted rows.
        """
        self._store, self._known, self._width = store, known, width
        self.neurons: dict[int, list[int]] = {layer: store.neurons(layer).tolist() for layer in store.layers}
        self._at = {(layer, n): i for layer, some in self.neurons.items() for i, n in enumerate(some)}
        self._pages = {layer: store.pages(layer) for layer in store.layers}
        self._tops = {layer: store.top(layer, "largest") for layer in store.layers}

    def total(self) -> int:
        """Examples before the conversion."""
        return sum(int((top.row >= 0).sum()) for top in self._tops.values())

    def count(self, layer: int, neuron: int) -> int:
        """Examples of a neuron that are kept."""
        at = self._at[layer, neuron]
        top = self._tops[layer]
        pairs = zip(top.row[at].tolist(), top.position[at].tolist(), strict=True)
        return sum(row >= 0 and position < self._known[row] for row, position in pairs)

    def neuron(self, place: Place, neuron: int) -> ImportedNeuron:
        """The examples of a neuron that are kept; of a place only the layer counts."""
        layer = place[1]
        at = self._at[layer, neuron]
        top, lists, values = self._tops[layer], self._pages[layer], self._store.page_activations(layer, at)
        assert lists is not None
        used = np.flatnonzero(top.row[at] >= 0)
        ends = np.array([self._known[row] for row in top.row[at][used].tolist()], np.int64)
        keep = top.position[at][used] < ends
        used, ends = used[keep], ends[keep]
        values = np.where(np.arange(values.shape[1]) < ends[:, None], values[used], np.nan).astype(np.float32)
        shown = NeuronActivations(top.row[at][used], top.position[at][used], values[:, : self._width])
        largest, smallest = lists.largest[at][used], lists.smallest[at][used]
        return ImportedNeuron(shown, lists.text[at][used], largest, smallest, float(lists.range[at]))


def _rows(
    store: Store, subject: Subject, resolver: TokenResolver, folder: Path
) -> tuple[ImportedCorpus, dict[int, int]]:
    """The rows in ids, cut; and the length of each of the store's rows after that, 0 if nothing is left."""
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
    return ImportedCorpus(rows, vocabulary, subject.bos), known


def _manifest(store: Store, subject: Subject, corpus: ImportedCorpus, dtype: str, site: Site) -> dict[str, Any]:
    there = store.manifest
    width = int(corpus.rows.tokens.shape[1])
    config = there["config"] | {"dtype": dtype, "sites": [site], "sign_cases": False, "row_length": width}
    return {
        **there,
        "subject": subject.facts(),
        "tokenizer": subject.tokenizer_facts(),
        "config": config,
        "source": there["source"] | {"tokens": "ids"},
    }
