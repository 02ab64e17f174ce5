"""A slow reference of `find`, and stores to compare with."""

from __future__ import annotations

import dataclasses
from collections import defaultdict

import h5py
import numpy as np
import pytest
from store_twins import made_up, parts_of, top

from neurolocal.errors import StoreError
from neurolocal.store import Match, Store, StoredRows, find, write_collected
from neurolocal.words import Vocabulary

TOKENS = [b"<s>", b" a", b"a", b"A", b" caf", b"\xc3", b"\xa9", b"  ", b"Cat s", b"'", b"\n", b"a", b"", b"\xff", b"!"]
VOCABULARY = Vocabulary(TOKENS, np.arange(len(TOKENS)) == 0)


def twin(path, *, site=None, layers=None):
    """Token bytes, and case-folded words, to what is to be found there: all from the examples, one by one."""
    by = {"token": defaultdict(list), "word": defaultdict(list)}
    with Store(path) as store:
        sites = store.sites
    for number, name in enumerate(sites):
        with Store(path, site=name) as store:
            tokens = store.vocabulary.tokens
            for layer in store.layers:
                lists = store.example_lists(layer)
                for neuron, examples in zip(store.neurons(layer).tolist(), lists, strict=True):
                    total = sum(abs(e.activation) for e in examples)
                    groups = {"token": defaultdict(list), "word": defaultdict(list)}
                    for e in examples:
                        row = store.row(e.row)
                        groups["token"][tokens[row[e.position]]].append(e.activation)
                        word = store.vocabulary.word_at(row, e.position).text
                        groups["word"][word.casefold()].append(e.activation)
                    for kind, group in groups.items():
                        for key, values in group.items():
                            mass = sum(abs(v) for v in values)
                            if mass and site in (None, name) and (layers is None or layer in layers):
                                strength = float(np.float32(min(mass / total, 1.0)))
                                found = Match(name, layer, neuron, len(values), strength, max(values), kind)
                                by[kind][key].append((-strength, -max(values), number, layer, neuron, found))
    return {kind: {key: [f[-1] for f in sorted(of)] for key, of in keyed.items()} for kind, keyed in by.items()}


def asked(path, text, **options):
    with Store(path) as store:
        return find(store, text, limit=None, **options)


def agree(path, rng, *, true=None, most=6):
    """Some of the twin's tokens and words are found just so, and nothing where it has nothing."""
    true = twin(path) if true is None else true
    with Store(path) as store:
        for token in some(store.vocabulary.tokens, rng, most):
            text = token.decode("utf-8", "surrogateescape")
            if token in true["token"]:
                assert find(store, text, limit=None) == true["token"][token]
            elif (text.strip() or text).casefold() not in true["word"]:
                with pytest.raises(StoreError, match="no neuron's examples peak on such a token or word"):
                    find(store, text, limit=None)
        for word in some(true["word"], rng, most):
            assert find(store, word, limit=None, word=True) == true["word"][word]
            if word.strip() and word.upper().casefold() == word:
                assert find(store, f" {word.upper()}\n", limit=None, word=True) == true["word"][word]
    return true


def some(keys, rng, most):
    keys = sorted(keys)
    return [keys[i] for i in rng.permutation(len(keys))[:most]]


def has_no_more_than(true, path):
    """The index holds as many entries as the twin, and as many words."""
    with h5py.File(path) as file:
        for by in ("token", "word"):
            assert len(file[f"find/{by}/strength"]) == sum(map(len, true[by].values()))
        words = len(file["find/word/text/offsets"]) - 1
    assert words >= len(true["word"])


def without_index(path):
    """The same store as an older program would have left it."""
    with h5py.File(path, "r+") as file:
        del file["find"]
    return path


def collection(rng, *, ties=False, **more):
    """Rows of awkward tokens, and lists over them; with `ties` few different activations, some of them 0."""
    rows = StoredRows(rng.integers(0, len(TOKENS), (5, 9)), rng.integers(3, 10, 5), np.arange(0, 50, 10), {})
    rows = dataclasses.replace(rows, parts=parts_of(rng).columns())
    made = made_up(rng, vocabulary=VOCABULARY, token_count=np.ones(len(TOKENS), np.int64), rows=rows, rest={}, **more)
    for _, record in made.layers:
        lists = top(rng, len(record.sample), k=6)
        lists = dataclasses.replace(lists, row=np.where(lists.row >= 0, lists.row * 10, -1))
        if ties:
            lists = dataclasses.replace(lists, activation=np.round(np.clip(lists.activation, -1, 1)) + np.float32(0))
        record.lists["largest"] = lists
    return made


def one_neuron(path, tokens, peaks, *, activation=None):
    """A store of one row, whose only neuron peaks at these positions."""
    n = len(peaks)
    vocabulary = Vocabulary(tokens, np.zeros(len(tokens), bool))
    rng = np.random.default_rng(0)
    rows = StoredRows(np.arange(len(tokens))[None], np.array([len(tokens)]), np.array([7]), parts_of(rng, 1).columns())
    made = made_up(rng, vocabulary=vocabulary, token_count=np.ones(len(tokens), np.int64), rows=rows, rest={},
                   layers=(0,), neurons=np.array([4]))  # fmt: skip
    values = np.arange(n, 0, -1, dtype=np.float32) if activation is None else np.array(activation, np.float32)
    lists = top(rng, 1, k=n)
    window = np.zeros_like(lists.window)
    made.layers[0][1].lists["largest"] = dataclasses.replace(
        lists, activation=values[None], row=np.full((1, n), 7), position=np.array([peaks], np.int32), window=window
    )
    write_collected(path, made)
    return path
