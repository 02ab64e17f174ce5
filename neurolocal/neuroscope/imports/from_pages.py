"""Saved pages of another site -> a store.

The corpus of such a store is the rows that its pages show. The store holds every example, window and full text that
could be read, at the site that the pages were made at, and under `neuroscope/` the printed figures. Its tokens are the
pages' strings; `replay` finds the token ids behind them.
Invariant: everything in the store was on a page and agreed with everything else that the pages state; what was left out
is named, and the names are kept in the store. Only these files are read.
Cost: one parse a page, shared by the processes. Memory holds one layer's lists and the index of `find`; tokens and
activations lie in temporary files, 8 bytes a token.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64, UInt32

from neurolocal.config import sha256
from neurolocal.errors import StoreError
from neurolocal.neuroscope.imports.import_store import ImportedNeuron, import_config, write_import
from neurolocal.neuroscope.imports.layer_builder import NeuronActivations
from neurolocal.neuroscope.imports.page_facts import CONVENTIONS, damaged_fact
from neurolocal.neuroscope.imports.result import ImportResult
from neurolocal.neuroscope.imports.row_table import ImportedCorpus, RowTable
from neurolocal.neuroscope.imports.spool import Spool, store_folder
from neurolocal.neuroscope.read.blob import PageError
from neurolocal.neuroscope.read.packed import PackedPage, TextColumns
from neurolocal.neuroscope.read.page_files import page_files, read_pages
from neurolocal.neuroscope.read.saved_page import Problem
from neurolocal.progress import Bar
from neurolocal.records import Place, Site


class _SpooledPage(NamedTuple):
    """A page's texts, whose activations lie in the spool."""

    content: bytes
    """A hash of the content: equal for two files with the same content."""
    texts: TextColumns
    starts: Int64[np.ndarray, "text"]
    """Where each text's activations begin in the spool."""
    range: float


def import_pages(
    paths: Sequence[Path], out: Path, *, model: str | None = None, site: Site | None = None,
    say: Callable[[str], None] = print, bar: bool = True, processes: int | None = None,
) -> ImportResult:  # fmt: skip
    """Read pages and write a store.

    Args:
        paths: page files, and folders that are searched for them.
        out: the store to write; an existing file is replaced.
        model: import only the pages of this model, as they name it.
        site: where the activations were read; None is what our own pages state, else `mid` for pages of SoLU models and
            `post` for others, the site's convention.
        say: receives lines about what was read and what was left out.
        bar: whether to show a progress bar.
        processes: how many read pages; None is one a core.

    Raises:
        StoreError: no page, no text that can be read, pages of several models, or the store cannot be written.
    """
    files = page_files(paths)
    with store_folder(out) as folder, closing(_PageCollector(folder, model)) as collector:
        pages = read_pages(files, processes=processes)
        for page in Bar(pages, "import", len(files), unit="page", disable=not bar):
            collector.add(page)
        if not collector.result.texts:
            other = ", ".join(map(repr, sorted(collector.other)))
            first = collector.result.problems[:1] or [f"they are of {other}" if other else "they hold none"]
            raise StoreError(f"importing {len(files):,} pages: no text could be read. The first problem: {first[0]}.")
        collector.write(out, paths, site or collector.site())
        return collector.result


class _PageCollector:
    """The content of the pages so far."""

    def __init__(self, folder: Path, wanted: str | None) -> None:
        self.wanted, self.result = wanted, ImportResult()
        self.rows, self._values = RowTable(folder), Spool(folder, "<f4")
        self._pages: dict[tuple[int, int], _SpooledPage] = {}
        self._own: list[dict[str, Any]] = []
        self._models, self._datasets, self.other = Counter[str](), Counter[str](), Counter[str]()
        self._digest, self._special = hashlib.sha256(), set[str]()

    def add(self, packed: PackedPage) -> None:
        """Add one page."""
        page, problems = packed.page, [*packed.problems]
        codes = self.rows.number(packed.reader, packed.new, packed.codes)
        self._digest.update(f"{packed.file}\0{packed.sha256}\n".encode("utf-8", "surrogateescape"))
        if page is not None and self.wanted is not None and page.model not in ("", self.wanted):
            self.other[page.model] += 1
            return
        strange = None if page is None else damaged_fact(page.own)
        if strange is not None:
            problems.append(Problem(None, f"what it states about its making is damaged ({strange}); it is left out"))
        elif page is not None and len(packed.texts.number) and not page.model and (self.wanted or any(self._models)):
            problems.append(Problem(None, "it does not name its model, as other pages do; it is left out"))
        elif page is not None and len(packed.texts.number):
            self._require_one_export(packed.file, page.model, page.own)
            content, old = _content(packed, codes), self._pages.get((page.layer, page.neuron))
            if old is not None and old.content == content:
                self.result.doubled += 1
                return
            if old is None:
                self._keep(packed, codes, content, problems)
            else:
                problems.append(Problem(None, "an earlier file has other texts of this neuron; this one is left out"))
        self.result.problems += [f"{packed.file}: {problem}" for problem in problems]

    def _require_one_export(self, file: str, model: str, own: dict[str, Any]) -> None:
        """Refuse a page of another model or of another export than the earlier pages."""
        if self._models and model not in self._models:
            other = next(iter(self._models))
            raise StoreError(
                f"importing {file}: it is a page of {model!r}, earlier ones are of {other!r}. Import each model into "
                "a store of its own: give only its folder, or --model NAME."
            )
        if own.get("side", "largest") != "largest":
            raise StoreError(
                f"importing {file}: it shows the list {own['side']!r}; a store's pages are of the largest activations. "
                "Export that side again without --side."
            )
        conventions = {name: own.get(name) for name in CONVENTIONS}
        if self._own and conventions != self._own[0]:
            raise StoreError(
                f"importing {file}: it states {conventions}, earlier pages {self._own[0]}. Import pages of one export."
            )
        self._own = self._own or [conventions]
        self._models[model] += 1

    def _keep(
        self, packed: PackedPage, codes: UInt32[np.ndarray, "token"], content: bytes, problems: list[Problem]
    ) -> None:
        """Keep the texts of a page whose rows agree with those of earlier pages."""
        page, texts = packed.page, packed.texts
        assert page is not None
        begins = np.cumsum([0, *texts.length])
        kept, starts, taken = list[int](), list[int](), set[int]()
        for i, index in enumerate(texts.data_index.tolist()):
            mine = slice(int(begins[i]), int(begins[i + 1]))
            try:
                if index in taken:
                    raise PageError(f"data index {index} is there twice; the first is kept")
                self.rows.add(index, packed.datasets[i], int(texts.first[i]), codes[mine], whole=bool(texts.whole[i]))
            except PageError as error:
                problems.append(Problem(int(texts.number[i]), str(error)))
                continue
            taken.add(index)
            kept.append(i)
            starts.append(self._values.add(packed.values[mine]))
        if not kept:
            return
        self._special.update(page.own.get("special", ()))
        self._datasets[page.dataset] += 1
        self._pages[page.layer, page.neuron] = _SpooledPage(
            content, texts.take(kept), np.array(starts, np.int64), page.range
        )
        self.result.pages += 1
        self.result.texts += len(kept)

    @property
    def own(self) -> dict[str, Any]:
        """What our own pages state about their making; empty for other pages."""
        return {name: value for name, value in self._own[0].items() if value is not None}

    def site(self) -> Site:
        """Where the activations were read: as the pages state, else by the site's convention."""
        stated = self.own.get("site")
        if stated in ("post", "mid", "pre", "pre_linear"):
            return stated
        return "mid" if next(iter(self._models)).lower().startswith("solu") else "post"

    def write(self, out: Path, paths: Sequence[Path], site: Site) -> None:
        """Write the store."""
        corpus = self.rows.corpus(self._special)
        self.result.rows = len(corpus.rows.index)
        of_layer: dict[tuple[Site, int], list[int]] = {}
        for layer, neuron in sorted(self._pages):
            of_layer.setdefault((site, layer), []).append(neuron)
        k = max(len(page.starts) for page in self._pages.values())
        manifest = self._manifest(paths, corpus, site, k)
        write_import(out, manifest, corpus, of_layer, self._neuron, problems=self.result.problems)

    def _neuron(self, place: Place, neuron: int) -> ImportedNeuron:
        """A page's texts in its own order."""
        page = self._pages[place[1], neuron]
        texts, starts = page.texts, page.starts.tolist()
        values = np.full((len(starts), int((texts.first + texts.length).max())), np.nan, np.float32)
        for i, (first, length) in enumerate(zip(texts.first.tolist(), texts.length.tolist(), strict=True)):
            values[i, first : first + length] = self._values.read(starts[i], length)
        shown = NeuronActivations(texts.data_index, texts.position.astype(np.int32), values)
        return ImportedNeuron(shown, texts.number.astype(np.int32), texts.largest, texts.smallest, page.range)

    def _manifest(self, paths: Sequence[Path], corpus: ImportedCorpus, site: Site, k: int) -> dict[str, Any]:
        own, vocabulary = self.own, corpus.vocabulary
        skipped = {"texts and pages left out": len(self.result.problems)} if self.result.problems else {}
        words = [token.decode("utf-8", "replace") for token in vocabulary.tokens]
        return {
            "subject": {
                "name": next(iter(self._models)), "path": "", "sha256": own.get("subject"),
                "n_layers": own.get("n_layers"), "d_mlp": own.get("d_mlp"), "d_vocab": len(words),
            },
            "tokenizer": {"sha256": sha256(words), "bos": corpus.bos, "eos": None, "size": len(words)},
            "corpus": {
                "path": " ".join(map(str, paths)), "n_files": self.result.pages, "files": [],
                "documents": len(corpus.rows.index), "skipped": skipped,
            },
            "config": import_config(corpus, own, sites=[site], k=k),
            "source": {
                "kind": "pages", "pages": self.result.pages, "sha256": self._digest.hexdigest(),
                "model": next(iter(self._models)), "datasets": dict(self._datasets), "tokens": "strings", "own": own,
            },
        }  # fmt: skip

    def close(self) -> None:
        """Delete the temporary files."""
        self.rows.close()
        self._values.close()


def _content(packed: PackedPage, codes: UInt32[np.ndarray, "token"]) -> bytes:
    """A hash of a page's texts: equal for two files with the same content."""
    page = packed.page
    digest = hashlib.sha256(repr((page and page.model, packed.datasets)).encode("utf-8", "surrogatepass"))
    for array in (*packed.texts, codes, packed.values):
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()
