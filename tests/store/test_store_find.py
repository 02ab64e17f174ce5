"""`find` by token and word, with limits and sites; forged indices are refused."""

import h5py
import numpy as np
import pytest
from find_twins import agree, asked, collection, has_no_more_than, one_neuron, twin, without_index

from neurolocal.errors import StoreError
from neurolocal.store import Match, Store, find, write_collected
from neurolocal.store.read_index import TYPES


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
        file[name] = np.asarray(values).astype("f8")
    with pytest.raises(StoreError, match="is of type float64"):
        asked(poly, " poly")
