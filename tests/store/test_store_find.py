"""`find` against a slow twin that keeps a dict over all examples, on random stores and a real one; forged indices."""

import dataclasses
from collections import defaultdict

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_twins import made_up, parts_of, top

from neurolocal.errors import StoreError
from neurolocal.store import Match, Store, StoredRows, find, write_collected
from neurolocal.store.find import TYPES
from neurolocal.words import Vocabulary

TOKENS = [b"<s>", b" a", b"a", b"A", b" caf", b"\xc3", b"\xa9", b"  ", b"Cat s", b"'", b"\n", b"a", b"", b"\xff", b"!"]
VOCABULARY = Vocabulary(TOKENS, np.arange(len(TOKENS)) == 0)
SEEDS = st.integers(0, 2**32 - 1)


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


@settings(max_examples=12, deadline=None)
@given(seed=SEEDS, ties=st.booleans(), sites=st.sampled_from([("post",), ("pre", "post")]), chosen=st.booleans())
def test_find_equals_the_twin(tmp_path_factory, seed, ties, sites, chosen):
    rng, path = np.random.default_rng(seed), tmp_path_factory.mktemp("s") / "a.h5"
    write_collected(path, collection(rng, ties=ties, sites=sites, neurons=np.array([2, 3, 11]) if chosen else None))
    true = agree(path, rng)
    has_no_more_than(true, path)
    agree(without_index(path), rng, true=true, most=1)


def test_find_on_a_real_store_equals_the_twin(stories, tmp_path, rng):
    true = agree(stories, rng, most=25)
    assert len(true["word"]) > 10
    has_no_more_than(true, stories)
    copy = tmp_path / "copy.h5"
    copy.write_bytes(stories.read_bytes())
    agree(without_index(copy), rng, true=true, most=2)


def test_sites_layers_and_a_limit(rng, tmp_path):
    path = tmp_path / "a.h5"
    write_collected(path, collection(rng, sites=("pre", "post")))
    true, text = twin(path)["token"], None
    token = max(true, key=lambda t: len(true[t]))
    text = token.decode("utf-8", "surrogateescape")
    for options in ({"site": "post"}, {"layers": [2]}, {"site": "pre", "layers": (0,)}, {"layers": [0, 2]}):
        assert asked(path, text, **options) == twin(path, **options)["token"].get(token, [])
    with Store(path, site="post") as store:
        assert find(store, text, limit=2) == true[token][:2]
        assert find(store, text) == true[token][:20]
        with pytest.raises(StoreError, match=r"finding .* holds the sites pre, post, not mid"):
            find(store, text, site="mid")
        with pytest.raises(StoreError, match=r"looking for layer 1 in .* it holds layers 0,2"):
            find(store, text, layers=[0, 1])
        with pytest.raises(StoreError, match=r"a limit of 0\. Give 1 or more"):
            find(store, text, limit=0)


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


def test_strength_examples_and_activation(tmp_path):
    """Worked by hand: activations 6, 3 and -1 on ` po`, `ly` and ` po`."""
    path = one_neuron(tmp_path / "a.h5", [b" po", b"ly", b" x"], [0, 1, 0], activation=[6, 3, -1])
    assert asked(path, " po") == [Match("post", 0, 4, 2, float(np.float32(0.7)), 6.0, "token")]
    assert asked(path, "ly") == [Match("post", 0, 4, 1, float(np.float32(0.3)), 3.0, "token")]
    assert asked(path, "POLY") == [Match("post", 0, 4, 3, 1.0, 6.0, "word")]


def test_a_token_comes_before_a_word(tmp_path):
    path = one_neuron(tmp_path / "a.h5", [b" poly", b".", b"poly", b"!", b" Poly"], [0, 2, 2, 4])
    assert [(f.by, f.examples) for f in asked(path, " poly")] == [("token", 1)]
    assert [(f.by, f.examples) for f in asked(path, "poly")] == [("token", 2)]
    assert [(f.by, f.examples) for f in asked(path, "poly", word=True)] == [("word", 4)]
    assert [(f.by, f.examples) for f in asked(path, " POLY ")] == [("word", 4)]


def test_words_are_case_folded_and_not_only_lowered(tmp_path):
    path = one_neuron(tmp_path / "a.h5", [b" ", "Straße".encode(), b"."], [1])
    assert asked(path, "STRASSE") == asked(path, "straße") == [Match("post", 0, 4, 1, 1.0, 1.0, "word")]


def test_what_is_not_found_names_what_is_near(tmp_path):
    path = one_neuron(tmp_path / "a.h5", [b" Po", b"ly", b" po", b" x"], [0, 1])
    with pytest.raises(StoreError, match=r"finding 'po' in .*such a token or word\. Near are the tokens ' Po': give"):
        asked(path, "po")
    with pytest.raises(StoreError, match=r"such a word\. Near are the tokens ' Po': give one of them without --word"):
        asked(path, " po", word=True)
    for text in ("zebra", "", "\ud800", "\x00"):
        with pytest.raises(StoreError, match=r'Give a token with its leading space \(" poly"\), or one whole word'):
            asked(path, text)


def test_examples_of_nothing_are_not_found(tmp_path):
    path = one_neuron(tmp_path / "a.h5", [b" a", b" b"], [0, 1], activation=[0, 0])
    with pytest.raises(StoreError, match="no neuron's examples peak"):
        asked(path, " a")


def test_a_checkpoint_has_no_index_and_is_searched_all_the_same(rng, tmp_path):
    whole, stopped = tmp_path / "a.h5", tmp_path / "b.h5"
    made = collection(rng)
    write_collected(whole, made)
    write_collected(stopped, dataclasses.replace(made, manifest=made.manifest | {"complete": False}))
    with h5py.File(stopped) as file:
        assert "find" not in file
    agree(stopped, rng, true=twin(whole))


@pytest.fixture
def poly(tmp_path):
    return one_neuron(tmp_path / "a.h5", [b" poly", b".", b" x"], [0, 1, 0, 2])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("site", 1, "names a site that the store does not have"),
        ("layer", 1, "names a neuron of layer 1 at post that the store does not have"),
        ("layer", -1, "names a neuron of layer -1"),
        ("neuron", 3, "names a neuron of layer 0 at post that the store does not have"),
        ("neuron", -1, "names a neuron of layer 0"),
        ("examples", 0, "holds impossible figures"),
        ("strength", 1.5, "holds impossible figures"),
        ("strength", -0.5, "holds impossible figures"),
        ("strength", np.nan, "holds impossible figures"),
        ("activation", np.inf, "holds impossible figures"),
        ("activation", np.nan, "holds impossible figures"),
        ("offsets", 4, "offsets points outside its columns"),
        ("offsets", -1, "offsets points outside its columns"),
    ],
)
@pytest.mark.parametrize("by", ["token", "word"])
def test_forged_entries_are_refused(poly, by, name, value, message):
    key = 0 if by == "token" else 1
    assert asked(poly, " poly", word=by == "word")
    with h5py.File(poly, "r+") as file:
        column = file[f"find/{by}/{name}"]
        column[key] = value
    with pytest.raises(StoreError, match=message) as caught:
        asked(poly, " poly", word=by == "word")
    assert "\n" not in str(caught.value)


def test_entries_out_of_order_are_refused(poly):
    with h5py.File(poly, "r+") as file:
        file["find/token/offsets"][1:] = 2
        file["find/token/strength"][:] = [0.1, 0.2, 0.3]
    with pytest.raises(StoreError, match="find/token is not in order"):
        asked(poly, " poly")


@pytest.mark.parametrize("name", [*(f"find/token/{c}" for c in (*TYPES, "offsets")), "find/word/text/bytes"])
def test_columns_of_another_length_or_type_are_refused(poly, name):
    with h5py.File(poly, "r+") as file:
        values = file[name][()]
        del file[name]
        file[name] = values[:-1]
    with pytest.raises(StoreError, match=r"differ in length|does not fit"):
        asked(poly, " poly")
    with h5py.File(poly, "r+") as file:
        del file[name]
        file[name] = values.astype("f8")
    with pytest.raises(StoreError, match="is of type float64"):
        asked(poly, " poly")


def test_lists_that_lead_nowhere_are_refused_when_the_index_is_made_of_them(poly):
    with h5py.File(without_index(poly), "r+") as file:
        file["collect/post/0/largest/position"][0, 0] = 3
    with pytest.raises(StoreError, match="not in rows"):
        asked(poly, " poly")
