"""Texts found in another store's rows, against `key in text`."""

import numpy as np
import pytest
from compare_twins import lists, words, write_store

from neurolocal.neuroscope.compare import containment
from neurolocal.neuroscope.compare.containment import (
    LENGTH,
    ExamplePlaces,
    KeyIndex,
    clean_starts,
    find_contained,
    keys_of,
)
from neurolocal.store import Store
from neurolocal.words import Vocabulary


def store(path, rng, vocabulary, tokens):
    made = lists(rng, neurons=3, k=2, rows=len(tokens), length=tokens.shape[1])
    return write_store(path, rng, vocabulary=vocabulary, tokens=tokens, layers={0: made})


def texts(opened):
    """Each row's text, as it is cut by control tokens, and where each token begins."""
    v = opened.vocabulary
    pieces = [b"\0" if end else piece for piece, end in zip(v.tokens, v.special, strict=True)]
    rows = [[pieces[t] for t in row] for row in opened.iter_rows()]
    return [b"".join(row) for row in rows], [[len(b"".join(row[:i])) for i in range(len(row))] for row in rows]


def slow_key(text, peak):
    """The clean 32 bytes whose middle is nearest to the peak, or None."""
    best = None
    for start in range(len(text) - LENGTH + 1):
        key = text[start : start + LENGTH]
        low, high = min(peak, start), max(peak, start + LENGTH)
        if b"\0" in text[low : max(high, low + 1)] or text[peak : peak + 1] == b"\0":
            continue
        broken = any(
            text[i : i + 3] == b"\xef\xbf\xbd" and i < start + LENGTH and i + 3 > start
            for i in range(max(start - 2, 0), start + LENGTH)
        )
        far = abs(start - (peak - LENGTH // 2))
        if not broken and far <= 128 and (best is None or far < best[0]):
            best = far, key
    return best[1] if best and len(set(best[1])) >= 8 else None


@pytest.fixture
def pair(rng, tmp_path):
    """Two stores: theirs shares a passage with a third of our rows, at another place, in other tokens."""
    v = words(rng, 80)
    broken = ["\ufffd".encode(), b"\xe2\x82", "é".encode(), b" " * 30, b""]
    tokens = [*v.tokens, *broken]
    v = Vocabulary(tokens, np.isin(np.arange(len(tokens)), [0, 7]))
    ours = rng.integers(0, len(tokens), (60, 50))
    theirs = rng.integers(0, len(tokens), (30, 40))
    for row in range(0, 30, 3):
        ours[rng.integers(60), 5:35] = theirs[row, 2:32]
    order = rng.permutation(len(tokens))
    other = Vocabulary([tokens[i] for i in order], v.special[order])
    a, b = tmp_path / "own.h5", tmp_path / "theirs.h5"
    store(a, rng, v, ours)
    store(b, rng, other, np.argsort(order)[theirs])
    with Store(a) as own, Store(b) as opened:
        yield own, opened


@pytest.mark.parametrize("block", [100, 1 << 20])
def test_against_brute_force(pair, monkeypatch, block):
    monkeypatch.setattr(containment, "BLOCK", block)
    own, theirs = pair
    rows, starts = texts(theirs)
    ours, _ = texts(own)
    row, position = (x.ravel() for x in np.meshgrid(np.arange(30), np.arange(40), indexing="ij"))
    wanted = ExamplePlaces(row, position)
    keys, known = keys_of(theirs, wanted)
    found = find_contained(theirs, wanted, own)
    assert (found.known == known).all()
    n = 0
    for i, (r, p) in enumerate(zip(row.tolist(), position.tolist(), strict=True)):
        key = slow_key(rows[r] + b"\0", starts[r][p])
        assert known[i] == (key is not None)
        if key is not None:
            assert keys[i].tobytes() == key
            in_rows = [number for number, text in enumerate(ours) if key in text]
            assert found.rows[found.offsets[i] : found.offsets[i + 1]].tolist() == in_rows
            assert found.contained[i] == bool(in_rows)
            n += bool(in_rows)
    assert n > 20
    assert 0 < known.sum() < len(known)
    assert not found.contained[~known].any()


def test_a_store_is_contained_in_itself(pair):
    own, _ = pair
    wanted = ExamplePlaces(np.repeat(np.arange(60), 5), np.tile(np.arange(10, 35, 5), 60))
    found = find_contained(own, wanted, own)
    assert found.contained[found.known].all()
    assert found.known.mean() > 0.5


def test_the_rows_of_one_key_are_limited(rng, tmp_path, monkeypatch):
    v = words(rng, 60)
    tokens = np.tile(np.arange(1, 41), (30, 1))
    path = store(tmp_path / "a.h5", rng, v, tokens)
    with Store(path) as opened:
        place = ExamplePlaces(np.array([3]), np.array([20]))
        monkeypatch.setattr(containment, "BLOCK", 500)
        assert find_contained(opened, place, opened).rows.tolist() == list(range(30))
        monkeypatch.setattr(containment, "MOST", 4)
        assert find_contained(opened, place, opened).rows.tolist() == [0, 1, 2, 3]


def test_no_places_to_search_for(pair):
    own, theirs = pair
    none = np.empty(0, np.int64)
    found = find_contained(theirs, ExamplePlaces(none, none), own)
    assert found.offsets.tolist() == [0]
    assert not len(found.known)


def test_the_index_finds_every_key_at_every_place(rng):
    text = rng.integers(97, 100, 5000).astype(np.uint8)
    text[2000:2400] = text[100:500]
    keys = np.unique(np.stack([text[i : i + LENGTH] for i in rng.integers(0, 4900, 200)]), axis=0)
    keys = np.concatenate([keys, rng.integers(97, 123, (50, LENGTH)).astype(np.uint8)])
    key, at = KeyIndex(keys).find(text)
    data = text.tobytes()
    expected = {
        (i, start)
        for i, one in enumerate(keys)
        for start in range(len(data))
        if data[start : start + LENGTH] == one.tobytes()
    }
    assert set(zip(key.tolist(), at.tolist(), strict=True)) == expected
    assert len(key) == len(expected)


def test_keys_with_equal_hashes_are_distinguished(rng, monkeypatch):
    monkeypatch.setattr(
        containment, "_hash", lambda text: np.zeros(max(len(text) - LENGTH + 1, 0), np.uint64) + np.uint64(5)
    )
    text = rng.integers(97, 123, 300).astype(np.uint8)
    keys = np.stack([text[i : i + LENGTH] for i in (3, 50, 200)])
    key, at = KeyIndex(keys).find(text)
    assert sorted(zip(key.tolist(), at.tolist(), strict=True)) == [(0, 3), (1, 50), (2, 200)]


def test_clean_starts_against_a_loop(rng):
    text = rng.integers(97, 123, 400).astype(np.uint8)
    for at in rng.integers(0, 390, 4):
        text[at : at + 3] = list("\ufffd".encode())
    text[rng.integers(0, 400, 3)] = 0
    bad = {i for i in range(400) if text[i] == 0}
    bad |= {i + j for i in range(398) for j in range(3) if text[i : i + 3].tobytes() == "\ufffd".encode()}
    expected = [i for i in range(400 - LENGTH + 1) if not bad & set(range(i, i + LENGTH))]
    assert clean_starts(text).tolist() == expected
