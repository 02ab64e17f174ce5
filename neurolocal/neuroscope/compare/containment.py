"""Do the rows of another store contain the text around an example's peak? Tokenizers and row numbers may differ.

The key of an example is 32 bytes of its row's text, centred on the peak's first byte as closely as possible. A key
holds no control token, no end of a row and no broken character (U+FFFD, which pages print for parts of characters). An
example without such bytes near by, or with fewer than 8 different bytes in them (ruled lines, blanks), has no key: for
it the answer is unknown.
Invariant: a key is found only where it occurs byte for byte in a row; the hash only selects candidates.
Cost: one pass over the other store's rows in blocks of `BLOCK` bytes, five multiplications a byte; 60 bytes of memory a
distinct example, and 8 for each row where one is found.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, Shaped, UInt8, UInt64

from neurolocal.progress import Bar
from neurolocal.store import Store
from neurolocal.words import Vocabulary

LENGTH = 32
"""Bytes of a key."""

NEAR = 128
"""Largest distance in bytes between the peak's first byte and a key's middle."""

DISTINCT = 8
"""Fewest different bytes of a key."""

MOST = 256
"""Rows that are kept for one key, at most; text that occurs in more is boilerplate."""

BLOCK = 1 << 20
"""Bytes of text that are hashed at once."""

BREAK = b"\0"
"""Written for a control token and between rows."""

FACTOR = 0x9E3779B97F4A7C15
"""The rolling hash is a polynomial in this number, modulo 2^64."""


class ExamplePlaces(NamedTuple):
    """Distinct examples of a store."""

    row: Int64[np.ndarray, "place"]
    """Number of the stored row, from 0, ascending: not its index in the corpus."""
    position: Int64[np.ndarray, "place"]
    """Position in the row, ascending within one."""


class Containment(NamedTuple):
    """Which rows of another store contain the text of each place."""

    known: Bool[np.ndarray, "place"]
    """Whether the place has a key at all."""
    offsets: Int64[np.ndarray, "place_and_1"]
    """The rows of place i are `rows[offsets[i]:offsets[i + 1]]`; an empty range means not contained."""
    rows: Int64[np.ndarray, "hit"]
    """Numbers of the other store's rows, ascending for each place, at most `MOST`."""

    @property
    def contained(self) -> Bool[np.ndarray, "place"]:
        """Whether any row contains the place's text."""
        return self.offsets[1:] > self.offsets[:-1]


def find_contained(theirs: Store, wanted: ExamplePlaces, own: Store, *, progress: bool = False) -> Containment:
    """Search the rows of the store `own` for the text of examples of the store `theirs`."""
    keys, known = keys_of(theirs, wanted)
    distinct, key_of = np.unique(keys[known].view(f"V{LENGTH}").ravel(), return_inverse=True)
    texts = distinct.view(np.uint8).reshape(-1, LENGTH)
    index, n = KeyIndex(texts), len(own.row_index)
    pairs, counts = [np.empty(0, np.int64)], np.zeros(len(texts), np.int64)
    with Bar(total=n, desc="compare: searching texts", unit="row", disable=not progress) as bar:
        for first, text, starts in _blocks(own) if len(texts) else ():
            key, at = index.find(text)
            row = first + np.searchsorted(starts, at, side="right") - 1
            pair = np.unique(key * n + row)
            key = pair // n
            nth = counts[key] + np.arange(len(key)) - np.searchsorted(key, key)
            pairs.append(pair[nth < MOST])
            counts += np.bincount(key, minlength=len(counts))
            bar.update(len(starts))
    return _by_place(*np.divmod(np.sort(np.concatenate(pairs)), max(n, 1)), known, key_of.ravel())


def _by_place(
    key: Int64[np.ndarray, "pair"],
    row: Int64[np.ndarray, "pair"],
    known: Bool[np.ndarray, "place"],
    key_of: Int64[np.ndarray, "known"],
) -> Containment:
    """From the rows of each key to the rows of each place."""
    first, stop = (np.searchsorted(key, key_of, side=side) for side in ("left", "right"))
    counts = np.zeros(len(known), np.int64)
    counts[known] = stop - first
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
    return Containment(known, offsets, row[np.repeat(first, counts[known]) + within])


def keys_of(store: Store, wanted: ExamplePlaces) -> tuple[UInt8[np.ndarray, "place 32"], Bool[np.ndarray, "place"]]:
    """The key of every place, and whether it has one."""
    pieces, widths = joinable(store.vocabulary)
    keys = np.zeros((len(wanted.row), LENGTH), np.uint8)
    known = np.zeros(len(wanted.row), bool)
    tokens, length = store.rows_stored
    rows, first = np.unique(wanted.row, return_index=True)
    stop = np.append(first[1:], len(wanted.row))[: len(rows)]
    for row, begin, end in zip(rows.tolist(), first.tolist(), stop.tolist(), strict=True):
        ids = tokens[row, : length[row]]
        starts = np.cumsum(widths[ids]) - widths[ids]
        text = np.frombuffer(b"".join(map(pieces.__getitem__, ids.tolist())) + BREAK, np.uint8)
        at, found = _nearest(text, starts[wanted.position[begin:end]])
        known[begin:end] = found
        if found.any():
            keys[begin:end] = text[at[:, None] + np.arange(LENGTH)]
    ordered = np.sort(keys, axis=1)
    return keys, known & ((ordered[:, 1:] != ordered[:, :-1]).sum(axis=1) + 1 >= DISTINCT)


def _nearest(
    text: UInt8[np.ndarray, "byte"], peak: Int64[np.ndarray, "n"]
) -> tuple[Int64[np.ndarray, "n"], Bool[np.ndarray, "n"]]:
    """Where the clean 32 bytes nearest to each peak begin, and whether there are any near enough."""
    starts = clean_starts(text)
    if not len(starts):
        return np.zeros(len(peak), np.int64), np.zeros(len(peak), bool)
    ideal = peak - LENGTH // 2
    after = np.searchsorted(starts, ideal)
    breaks = np.concatenate([np.zeros(1, np.int64), np.cumsum(text == 0)])
    found, best = np.zeros(len(peak), np.int64), np.full(len(peak), NEAR + 1)
    for at in (starts[np.maximum(after - 1, 0)], starts[np.minimum(after, len(starts) - 1)]):
        # If a control token lies between the peak and its key, the key belongs to another document.
        last = np.maximum(np.minimum(peak + 1, len(text)), at + LENGTH)
        same = breaks[last] == breaks[np.minimum(peak, at)]
        better = same & (np.abs(at - ideal) < best)
        found, best = np.where(better, at, found), np.where(better, np.abs(at - ideal), best)
    return found, best <= NEAR


def clean_starts(text: UInt8[np.ndarray, "byte"]) -> Int64[np.ndarray, "start"]:
    """Where 32 bytes begin that hold no NUL and nothing of a U+FFFD."""
    if len(text) < LENGTH:
        return np.empty(0, np.int64)
    bad = text == 0
    broken = np.flatnonzero((text[:-2] == 0xEF) & (text[1:-1] == 0xBF) & (text[2:] == 0xBD))
    for shift in range(3):
        bad[broken + shift] = True
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(bad)])
    return np.flatnonzero(before[LENGTH:] == before[:-LENGTH])


class KeyIndex:
    """Finds any of many keys in a text: hashes every 32 bytes, looks them up, and compares the candidates."""

    def __init__(self, keys: UInt8[np.ndarray, "key 32"]) -> None:
        """Sort the keys by hash, and make a table of hash prefixes that rules out most positions of a text."""
        hashed = _hash(np.ascontiguousarray(keys).ravel())[::LENGTH]
        self._order = np.argsort(hashed, kind="stable")
        self._hashed, self._keys = hashed[self._order], keys
        bits = int(np.clip(np.ceil(np.log2(max(len(keys), 1) * 16)), 16, 26))
        self._shift = np.uint64(64 - bits)
        self._maybe = np.zeros(1 << bits, bool)
        self._maybe[(self._hashed >> self._shift).astype(np.int64)] = True

    def find(self, text: UInt8[np.ndarray, "byte"]) -> tuple[Int64[np.ndarray, "hit"], Int64[np.ndarray, "hit"]]:
        """Every occurrence of a key in the text: the key's number, and where it begins."""
        none = np.empty(0, np.int64)
        if len(text) < LENGTH or not len(self._hashed):
            return none, none
        hashed = _hash(text)
        at = np.flatnonzero(self._maybe[(hashed >> self._shift).astype(np.int64)])
        first, stop = (np.searchsorted(self._hashed, hashed[at], side=side) for side in ("left", "right"))
        found = stop > first  # two keys of one hash are possible, so each is compared
        at, first, stop = at[found], first[found], stop[found]
        hits = [(none, none)]
        while len(at):
            key = self._order[first]
            same = (self._keys[key] == text[at[:, None] + np.arange(LENGTH)]).all(axis=1)
            hits.append((key[same], at[same]))
            more = first + 1 < stop
            at, first, stop = at[more], first[more] + 1, stop[more]
        return np.concatenate([key for key, _ in hits]), np.concatenate([place for _, place in hits])


def _hash(text: Shaped[np.ndarray, "byte"]) -> UInt64[np.ndarray, "start"]:
    """The polynomial hash of every 32 bytes, from the hashes of 16, of 8, …: five multiplications a byte."""
    hashed, width, factor = text.astype(np.uint64), 1, FACTOR
    hashed += np.uint64(1)
    while width < LENGTH:
        longer = hashed[:-width] * np.uint64(factor)
        longer += hashed[width:]
        hashed, width, factor = longer, 2 * width, factor * factor % (1 << 64)
    hashed ^= hashed >> np.uint64(29)
    hashed *= np.uint64(0xBF58476D1CE4E5B9)
    return hashed


def joinable(vocabulary: Vocabulary) -> tuple[list[bytes], Int64[np.ndarray, "d_vocab"]]:
    """The bytes of each token, a break for control tokens; and their lengths."""
    pairs = zip(vocabulary.tokens, vocabulary.special.tolist(), strict=True)
    pieces = [BREAK if special else bytes(token) for token, special in pairs]
    return pieces, np.array([len(piece) for piece in pieces], np.int64)


def _blocks(store: Store) -> Iterator[tuple[int, UInt8[np.ndarray, "byte"], Int64[np.ndarray, "row"]]]:
    """The text of the stored rows in blocks: the number of the first row, the text, and where each row begins."""
    pieces, _ = joinable(store.vocabulary)
    held: list[bytes] = []
    first = size = 0

    def block() -> tuple[int, UInt8[np.ndarray, "byte"], Int64[np.ndarray, "row"]]:
        ends = np.cumsum([len(row) for row in held])
        starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
        return first, np.frombuffer(b"".join(held), np.uint8), starts

    for row in store.iter_rows():
        held.append(b"".join(map(pieces.__getitem__, row.tolist())) + BREAK)
        size += len(held[-1])
        if size >= BLOCK:
            yield block()
            first, size, held = first + len(held), 0, []
    if held:
        yield block()
