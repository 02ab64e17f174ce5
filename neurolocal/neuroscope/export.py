"""A store -> a site with Neuroscope's addresses and page form, which its readers accept and which needs no network.

Invariant: a page says what the store says, to 6 decimals; what has no place on a page is named. Pages are written
beside and renamed, and a layer is in the lists when it is done: a stopped export is run again.
Cost: the stored rows once through the model for each GiB of whole rows (none for a store that was imported from
pages), then some 60 pages of 20 texts of 1,024 tokens a second, 400 kB each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from neurolocal.errors import ConfigError, StoreError
from neurolocal.files import flush_folder
from neurolocal.neuroscope.site_pages import ModelFolder, open_model, put, put_lists, put_model, ranges, writing
from neurolocal.neuroscope.whole_rows import Rows, computed_rows, imported_rows
from neurolocal.neuroscope.writing import TEXTS, Page, PageText, page_text
from neurolocal.pipeline.workspace import Workspace
from neurolocal.records import Side, Site

if TYPE_CHECKING:
    from neurolocal.store import Store


@dataclass(frozen=True)
class Exported:
    """How an export went."""

    pages: int
    """Pages written."""
    short: int
    """Pages with fewer than 20 texts, which some readers refuse."""
    left_out: tuple[str, ...]
    """Neurons without a page, and texts without a place on theirs, each with the reason."""


def export_site(
    store: Path,
    out: Path,
    *,
    subject: str | None = None,
    device: str | None = None,
    layers: Sequence[int] | None = None,
    site: Site | None = None,
    side: Side = "largest",
    model: str | None = None,
    dataset: str | None = None,
    texts: int = TEXTS,
    say: Callable[[str], None],
    bar: bool = True,
) -> Exported:
    """Write a store's neurons as pages.

    Args:
        store: a complete store.
        out: folder of the site; made, or added to.
        subject: what the store was collected from; None is the one that it names. A store of pages needs none.
        device: where the subject runs.
        layers: which; None is all.
        site: None is the store's first.
        side: which lists.
        model: its name on the pages; None is the subject's.
        dataset: the same of the corpus.
        texts: examples of each neuron, at most.
        say: is told what loading the subject has to say.
        bar: whether to draw a progress bar.

    Raises:
        ConfigError: fewer than one text.
        StoreError: no such layer, site or list; the store and the subject disagree; the folder holds something else, or
            cannot be written.
    """
    from tqdm import tqdm

    if texts < 1:
        raise ConfigError(f"exporting {store}: texts is {texts}; expected 1 or more, {TEXTS} as on Neuroscope.")
    workspace = Workspace(Path(store), site=site, sides=(side,), subject=subject, device=device, say=say, bar=bar)
    opened, _ = workspace.store, workspace.collection
    chosen = opened.require_layers(None if layers is None else list(layers))
    for layer in chosen:
        workspace.require_sides(layer)
    there = opened.manifest
    name, corpus = model or _model(there), dataset or _dataset(there)
    rows_of = there["corpus"].get("rows_sha256") or _source(there).get("sha256")
    of = {"subject": there["subject"].get("sha256"), "rows": rows_of, "site": opened.site}
    _require_shown(workspace, chosen, side)
    folder = open_model(Path(out), name, corpus, of | {"side": side})
    written = _Written()
    with tqdm(total=sum(len(opened.neurons(n)) for n in chosen), unit="page", disable=not bar) as progress:
        rows = _all_rows(workspace, chosen, side=side, texts=texts, said=lambda line: progress.set_postfix_str(line))
        put_model(folder)
        for layer, of_layer in groupby(rows, key=lambda one: one.layer):
            _put_layer(folder, layer, _pages(opened, name, corpus, of_layer, side, written, progress), written)
        put_lists(folder)
    return Exported(written.pages, written.short, tuple(written.left_out))


def _model(manifest: dict[str, Any]) -> str:
    subject = manifest["subject"]
    return str(subject.get("name") or PurePath(str(subject.get("path") or "")).name or "model")


def _dataset(manifest: dict[str, Any]) -> str:
    """What the corpus is called: of a store of pages, what most of them say."""
    named = _source(manifest).get("datasets")
    if isinstance(named, dict) and named:
        return str(max(named, key=lambda name: (named[name], name)))
    return PurePath(str(manifest["corpus"].get("path") or "")).name or "unknown"


def _source(manifest: dict[str, Any]) -> dict[str, Any]:
    """What pages a store was imported from; empty of any other."""
    source = manifest.get("source")
    return source if isinstance(source, dict) else {}


@dataclass
class _Written:
    """What has been written so far."""

    pages: int = 0
    short: int = 0
    left_out: list[str] = field(default_factory=list)


def _all_rows(
    workspace: Workspace, layers: Sequence[int], *, side: Side, texts: int, said: Callable[[str], None]
) -> Iterator[Rows]:
    """Of every neuron of the layers, in order, its examples over whole rows."""
    if workspace.store.imported:
        for layer in layers:
            yield from imported_rows(workspace.store, layer, texts)
    else:
        yield from computed_rows(workspace.store, workspace.loaded_subject, layers, side=side, texts=texts, said=said)


def _require_shown(workspace: Workspace, layers: Sequence[int], side: Side) -> None:
    """That there is something to show, and whole rows of it, before anything is written.

    Raises:
        StoreError: no example at all, or a side that pages do not show; see also `Workspace.loaded_subject`.
    """
    store = workspace.store
    if not any((store.top(layer, side).row >= 0).any() for layer in layers):
        raise StoreError(f"exporting {workspace.path}: its layers hold no example of {side}. Export a store of texts.")
    if store.imported and side != "largest":
        raise StoreError(f"exporting {workspace.path}: it was imported, with whole rows of the side largest alone.")
    if not store.imported:
        _ = workspace.loaded_subject


def _pages(
    store: Store, model: str, dataset: str, rows: Iterator[Rows], side: Side, written: _Written, progress: Any
) -> Iterator[Page]:
    """The pages of a layer; what has no place on one is named."""
    tokens, length = store.rows_stored
    strings = np.array(store.vocabulary.str_tokens(range(len(store.vocabulary.tokens))), object)
    index, facts = store.row_index, _facts(store, side)
    for one in rows:
        progress.update()
        where, kept = f"layer {one.layer} neuron {one.neuron}", list[PageText]()
        for rank, (at, position) in enumerate(zip(one.at.tolist(), one.position.tolist(), strict=True)):
            n = int(length[at])
            if np.isfinite(one.values[rank, :n]).all():
                kept.append(PageText(int(index[at]), position, strings[tokens[at, :n]].tolist(), one.values[rank, :n]))
            else:
                written.left_out.append(
                    f"{where} rank {rank} (row {index[at]}): activations that are NaN, infinite or unknown"
                )
        if not kept:
            written.left_out.append(
                f"{where}: no " + ("example" if not len(one.at) else "text whose activations are all finite")
            )
            continue
        ids = np.unique(tokens[one.at])
        special = [str(strings[i]) for i in ids[store.vocabulary.special[ids]]]
        yield Page(model, dataset, one.layer, one.neuron, kept, facts | {"special": special})


def _facts(store: Store, side: Side) -> dict[str, Any]:
    """What our own reader finds on a page."""
    subject, tokenizer, config = (store.manifest[name] for name in ("subject", "tokenizer", "config"))
    return {
        "site": store.site,
        "side": side,
        "dtype": config.get("dtype"),
        "bos": config.get("bos"),
        "count_bos": config.get("count_bos"),
        "skip_special": config.get("skip_special"),
        "subject": subject.get("sha256"),
        "tokenizer": tokenizer.get("sha256"),
        "d_mlp": subject.get("d_mlp"),
        "n_layers": subject.get("n_layers"),
        "row_length": config.get("row_length"),
    }


def _put_layer(folder: ModelFolder, layer: int, pages: Iterator[Page], written: _Written) -> None:
    """Write a layer's pages, each with links to its neighbours that have one; older pages of others are removed."""
    path, done, last = folder.path / str(layer), list[int](), None
    with writing(path):
        path.mkdir(exist_ok=True)

    def put_page(page: Page, following: int | None) -> None:
        put(
            path / f"{page.neuron}.html",
            page_text(replace(page, previous=done[-1] if done else None, following=following)),
        )
        done.append(page.neuron)
        written.pages += 1
        written.short += len(page.texts) < TEXTS

    for page in pages:
        if last is not None:
            put_page(last, page.neuron)
        last = page
    if last is not None:
        put_page(last, None)
    kept = set(done)
    with writing(path):
        for old in path.glob("*.html"):
            if old.stem.isdecimal() and int(old.stem) not in kept:
                old.unlink()
        flush_folder(path)
    folder.layers[layer] = ranges(done)
    put_model(folder)
