"""A store -> a website with Neuroscope's addresses and page form; its readers accept it, and it needs no network.

Invariant: a page shows the store's values to 6 decimals; what cannot be shown is named. Pages are written beside and
renamed, and a layer is listed when it is done, so an interrupted export can be run again.
Cost: the stored rows once through the model for each `whole_rows.MEMORY` bytes of full rows (none for a store that was
imported from pages), and some 20 bytes of page a token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from jaxtyping import Int64

from neurolocal.errors import ConfigError, StoreError
from neurolocal.files import flush_folder
from neurolocal.neuroscope.export.index_pages import put_index_pages
from neurolocal.neuroscope.export.model_folder import (
    ModelFolder,
    one_line_errors,
    open_model,
    put,
    put_model,
    ranges,
)
from neurolocal.neuroscope.export.neuron_page import NeuronPage, PageText, page_text, quoted
from neurolocal.neuroscope.export.whole_rows import Chosen, WholeRows, computed_rows, imported_rows
from neurolocal.neuroscope.form import TEXTS
from neurolocal.progress import Bar
from neurolocal.records import Side
from neurolocal.store import Store
from neurolocal.subject import Subject


@dataclass
class ExportResult:
    """What an export wrote and what it left out."""

    pages: int = 0
    """Pages written."""
    short: int = 0
    """Pages with fewer than 20 texts, which some readers refuse."""
    left_out: list[str] = field(default_factory=list)
    """Neurons without a page, and texts that their page cannot show, each with the reason."""


def export_site(
    store: Store,
    out: Path,
    *,
    subject: Callable[[], Subject],
    layers: Sequence[int] | None = None,
    neurons: Sequence[int] | None = None,
    side: Side = "largest",
    model: str | None = None,
    dataset: str | None = None,
    texts: int = TEXTS,
    bar: bool = True,
) -> ExportResult:
    """Write a store's neurons as pages.

    Args:
        store: a complete store, open at the site to export.
        out: folder of the website; made, or added to.
        subject: loads the model that the store was collected from; not called for a store of pages.
        layers: which; None is all.
        neurons: indices within each of these layers; None is all. Pages of other neurons of these layers are removed.
        side: which lists.
        model: its name on the pages; None is the subject's.
        dataset: the same of the corpus.
        texts: examples of each neuron, at most.
        bar: whether to draw a progress bar.

    Raises:
        ConfigError: fewer than one text.
        StoreError: no such layer, neuron or list; the store and the subject disagree; the folder holds something else,
            or cannot be written.
    """
    if texts < 1:
        raise ConfigError(f"exporting {store.path}: texts is {texts}; expected 1 or more, {TEXTS} as on Neuroscope.")
    _require_complete(store)
    chosen = store.require_layers(layers)
    which = {layer: _indices(store, layer, neurons) for layer in chosen}
    _require_examples(store, which, side)
    loaded = None if store.imported else subject()
    name, corpus = model or _model(store.manifest), dataset or _dataset(store.manifest)
    folder = open_model(Path(out), name, corpus, _made_from(store, side))
    result = ExportResult()
    with Bar(total=sum(map(len, which.values())), unit="page", disable=not bar) as progress:
        if loaded is None:
            rows = (one for layer in chosen for one in imported_rows(store, layer, texts, which))
        else:
            rows = computed_rows(store, loaded, which, side=side, texts=texts, progress=progress.set_postfix_str)
        put_model(folder)
        for layer, of_layer in groupby(rows, key=lambda one: one.layer):
            _put_layer(folder, layer, _pages(store, folder, of_layer, side, result, progress), result)
        put_index_pages(folder)
    return result


def _require_complete(store: Store) -> None:
    if not store.manifest["complete"]:
        raise StoreError(
            f"exporting {store.path}: its collection stopped at row {store.manifest['rows']:,}. "
            "Run the same `neurolocal collect` again to finish it."
        )


def _indices(store: Store, layer: int, neurons: Sequence[int] | None) -> Int64[np.ndarray, "_"]:
    """Where the requested neurons are in a layer's arrays, ascending.

    Raises:
        StoreError: the layer lacks one.
    """
    there = store.neurons(layer)
    if neurons is None:
        return np.arange(len(there), dtype=np.int64)
    missing = sorted(set(neurons) - set(there.tolist()))
    if missing:
        raise StoreError(
            f"exporting neuron {missing[0]} of layer {layer}: {store.path} holds {len(there):,} neurons of it, "
            f"{there.min(initial=0)} to {there.max(initial=0)}. Choose other --neurons."
        )
    return np.searchsorted(there, np.unique(np.array(neurons, np.int64)))


def _require_examples(store: Store, which: Chosen, side: Side) -> None:
    """Check that there are full rows to show, before anything is written.

    Raises:
        StoreError: no example at all, or a side that the store does not have, or of which it has no full rows.
    """
    for layer in which:
        if side not in store.sides(layer):
            how = "Pages show the largest" if store.imported else "Collect with --sign-cases"
            raise StoreError(
                f"exporting {side} of layer {layer}: {store.path} holds {', '.join(store.sides(layer))}. "
                f"{how}; choose another --side."
            )
    found = [bool((store.top(layer, side).row[some] >= 0).any()) for layer, some in which.items()]
    if not any(found):
        raise StoreError(
            f"exporting {store.path}: what is chosen of its layers holds no example of {side}. Export a store of texts."
        )
    if store.imported and side != "largest":
        raise StoreError(f"exporting {store.path}: it was imported, with full rows of the side largest only.")


def _model(manifest: dict[str, Any]) -> str:
    subject = manifest["subject"]
    return str(subject.get("name") or PurePath(str(subject.get("path") or "")).name or "model")


def _dataset(manifest: dict[str, Any]) -> str:
    """The corpus's name; of a store of pages, the one that most of them state."""
    named = _source(manifest).get("datasets")
    if isinstance(named, dict) and named:
        return str(max(named, key=lambda name: (named[name], name)))
    return PurePath(str(manifest["corpus"].get("path") or "")).name or "unknown"


def _source(manifest: dict[str, Any]) -> dict[str, Any]:
    """The pages that a store was imported from; empty for a collected store."""
    source = manifest.get("source")
    return source if isinstance(source, dict) else {}


def _made_from(store: Store, side: Side) -> dict[str, Any]:
    """What all pages of one model's folder must agree in."""
    manifest = store.manifest
    rows = manifest["corpus"].get("rows_sha256") or _source(manifest).get("sha256")
    return {"subject": manifest["subject"].get("sha256"), "rows": rows, "site": store.site, "side": side}


def _pages(
    store: Store, folder: ModelFolder, rows: Iterator[WholeRows], side: Side, result: ExportResult, progress: Any
) -> Iterator[NeuronPage]:
    """The pages of a layer; what cannot be shown is added to `result.left_out`."""
    tokens, length = store.rows_stored
    strings = np.array(store.vocabulary.str_tokens(range(len(store.vocabulary.tokens))), object)
    encoded = np.array([quoted(text) for text in strings], object)
    index, facts, special_ids = store.row_index, _facts(store, side), store.vocabulary.special
    for one in rows:
        progress.update()
        where, kept = f"layer {one.layer} neuron {one.neuron}", list[PageText]()
        for rank, (at, position) in enumerate(zip(one.at.tolist(), one.position.tolist(), strict=True)):
            n = int(length[at])
            if np.isfinite(one.values[rank, :n]).all():
                ids, values = tokens[at, :n], one.values[rank, :n]
                kept.append(PageText(int(index[at]), position, strings[ids].tolist(), values, encoded[ids].tolist()))
            else:
                result.left_out.append(
                    f"{where} rank {rank} (row {index[at]}): activations that are NaN, infinite or unknown"
                )
        if not kept:
            reason = "text whose activations are all finite" if len(one.at) else "example"
            result.left_out.append(f"{where}: no {reason}")
            continue
        ids = tokens[one.at]
        special = [str(strings[i]) for i in np.unique(ids[special_ids[ids]])]
        yield NeuronPage(folder.model, folder.dataset, one.layer, one.neuron, kept, facts | {"special": special})


def _facts(store: Store, side: Side) -> dict[str, Any]:
    """What our own reader finds in a page's comment."""
    subject, tokenizer, config = (store.manifest[name] for name in ("subject", "tokenizer", "config"))
    return {
        "site": store.site,
        "side": side,
        "dtype": _source(store.manifest)["own"].get("dtype") if store.imported else config.get("dtype"),
        "bos": config.get("bos"),
        "count_bos": config.get("count_bos"),
        "skip_special": config.get("skip_special"),
        "subject": subject.get("sha256"),
        "tokenizer": tokenizer.get("sha256"),
        "d_mlp": subject.get("d_mlp"),
        "n_layers": subject.get("n_layers"),
        "row_length": config.get("row_length"),
    }


def _put_layer(folder: ModelFolder, layer: int, pages: Iterator[NeuronPage], result: ExportResult) -> None:
    """Write a layer's pages, each with links to its neighbours that have one; pages of other neurons are removed."""
    path, done, last = folder.path / str(layer), list[int](), None
    with one_line_errors(path):
        path.mkdir(exist_ok=True)

    def put_page(page: NeuronPage, following: int | None) -> None:
        linked = replace(page, previous=done[-1] if done else None, following=following)
        put(path / f"{page.neuron}.html", page_text(linked))
        done.append(page.neuron)
        result.pages += 1
        result.short += len(page.texts) < TEXTS

    for page in pages:
        if last is not None:
            put_page(last, page.neuron)
        last = page
    if last is not None:
        put_page(last, None)
    kept = set(done)
    with one_line_errors(path):
        for old in path.glob("*.html"):
            if old.stem.isdecimal() and int(old.stem) not in kept:
                old.unlink()
        flush_folder(path)
    folder.layers[layer] = ranges(done)
    put_model(folder)
