"""From a token's text, or a word, to the neurons whose largest examples peak on it, strongest first.

Invariant: an exact token is preferred to a word (" poly" is another token than "poly"); every entry of the index that
is returned was checked against the store's layers. Cost: a binary search, and the entries of one key; in a store
without an index (a checkpoint, or one of an older writer) the index is built, which reads all lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from neurolocal.errors import StoreError
from neurolocal.records import Site
from neurolocal.store.index import Entries
from neurolocal.store.read import Store
from neurolocal.store.read_index import BuiltIndex, By, StoredIndex


@dataclass(frozen=True)
class Match:
    """One neuron whose examples peak on the text."""

    site: Site
    """Where the neuron is read."""
    layer: int
    """Index of the layer."""
    neuron: int
    """Index within the layer."""
    examples: int
    """How many of its examples peak there."""
    strength: float
    """The sum of their |activation| over that of all its largest examples, in [0, 1]."""
    activation: float
    """The largest activation among them."""
    by: By
    """Whether they peak on exactly that token, or on a token of that word."""


def find(
    store: Store,
    text: str,
    *,
    limit: int | None = 20,
    word: bool = False,
    site: Site | None = None,
    layers: Sequence[int] | None = None,
) -> list[Match]:
    """The neurons whose largest examples peak on a token, strongest first.

    Ties go to the larger activation, then to the site that the config names first, the lower layer, the lower neuron. A
    neuron whose examples there all have the activation 0 is not excited by them, and not listed.

    Args:
        store: an open store; all its sites are searched, not only the one it was opened for.
        text: a token's exact text, leading space included; where no neuron peaks on such a token, a word (stripped,
            case-folded).
        limit: how many neurons at most; None is all.
        word: look for a word only.
        site: this site alone.
        layers: these layers alone.

    Raises:
        StoreError: no neuron of the store peaks on it (the message names what is near); the store does not hold the
            site or a layer, or is damaged.
    """
    if limit is not None and limit < 1:
        raise StoreError(f"finding {text!r} in {store.path}: a limit of {limit}. Give 1 or more.")
    with ExitStack() as stack:
        at: dict[Site, Store] = {s: stack.enter_context(Store(store.path, site=s)) for s in store.sites}
        if site is not None and site not in at:
            raise StoreError(
                f"finding {text!r} in {store.path}: it holds the sites {', '.join(at)}, not {site}. Choose from these."
            )
        _require_layers([at[name] for name in at if site in (None, name)], layers)
        index = StoredIndex(store) if store.checked.has("find") else BuiltIndex(at, store)
        for by in ("word",) if word else ("token", "word"):
            key = index.token(text) if by == "token" else index.word(text)
            entries = None if key is None else index.entries(by, key)
            if entries is not None and len(entries.neuron):
                _check(entries, by=by, at=at, store=store)
                number = None if site is None else store.sites.index(site)
                chosen = _chosen(entries, number, layers)[:limit]
                columns = [column[chosen].tolist() for column in entries]
                return [Match(store.sites[row[0]], *row[1:], by=by) for row in zip(*columns, strict=True)]
        raise StoreError(_nothing(text, index, store, word=word))


def _chosen(entries: Entries, site: int | None, layers: Sequence[int] | None) -> Int64[np.ndarray, "_"]:
    """Where the entries of a site and of some layers are; None is any."""
    wanted = np.ones(len(entries.neuron), bool)
    if site is not None:
        wanted &= entries.site == site
    if layers is not None:
        wanted &= np.isin(entries.layer, np.array(layers, np.int64))
    return np.flatnonzero(wanted)


def _require_layers(stores: Iterable[Store], layers: Sequence[int] | None) -> None:
    """Check that each layer is in the store at one of these sites."""
    stores = list(stores)
    held = {layer for store in stores for layer in store.layers}
    if layers is not None and not held.issuperset(layers):
        stores[0].require_layers([layer for layer in layers if layer not in held])


def _check(entries: Entries, *, by: By, at: dict[Site, Store], store: Store) -> None:
    """Check that each entry names a neuron of the store, strongest first."""
    sites, bad = store.sites, store.checked.bad
    if (entries.strength[1:] > entries.strength[:-1]).any():
        raise bad(f"find/{by} is not in order")
    if (entries.site >= len(sites)).any():
        raise bad(f"find/{by} names a site that the store does not have")
    places = np.unique(np.stack([entries.site.astype(np.int64), entries.layer.astype(np.int64)]), axis=1)
    for number, layer in places.T.tolist():
        opened = at[sites[number]]
        mine: Int64[np.ndarray, "_"] = entries.neuron[(entries.site == number) & (entries.layer == layer)]
        if layer not in opened.layers or not np.isin(mine, opened.neurons(layer)).all():
            raise bad(f"find/{by} names a neuron of layer {layer} at {sites[number]} that the store does not have")


def _nothing(text: str, index: StoredIndex | BuiltIndex, store: Store, *, word: bool) -> str:
    """The message when nothing is found; it names similar tokens."""
    bare = text.strip()
    spellings = dict.fromkeys([bare, bare.lower(), bare.capitalize(), bare.upper()])
    near = [repr(t) for spelling in spellings for t in (f" {spelling}", spelling) if _held(index, t)]
    what = "word" if word else "token or word"
    step = 'Give a token with its leading space (" poly"), or one whole word.'
    if near:
        step = f"Near are the tokens {', '.join(near)}: give one of them{' without --word' if word else ''}."
    return f"finding {text!r} in {store.path}: no neuron's examples peak on such a {what}. {step}"


def _held(index: StoredIndex | BuiltIndex, text: str) -> bool:
    key = index.token(text) if text.strip() else None
    return key is not None and len(index.entries("token", key).neuron) > 0
