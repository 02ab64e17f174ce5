"""Stores that are truncated, flipped or forged give a StoreError of one line, or equal content."""

import h5py
import numpy as np
import pytest
from content_twins import EVIDENCE, LIST, STATISTICS, everything
from hypothesis import given, settings
from hypothesis import strategies as st
from store_twins import evidence, made_up

from neurolocal.errors import StoreError
from neurolocal.store import add_evidence, write_collected


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A store's bytes and all that it says."""
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("whole") / "a.h5"
    write_collected(path, made_up(rng, cases=True, effects=True, sites=("post", "pre")))
    add_evidence(path, evidence(rng), site="post")
    return path.read_bytes(), everything(path)


def refused_or_equal(path, content, wanted):
    path.write_bytes(content)
    try:
        said = everything(path)
    except StoreError as error:
        said = str(error)
    if isinstance(said, str):
        assert str(path) in said
        assert "again" in said
        assert "\n" not in said
    else:
        assert said == wanted
    return isinstance(said, str)


def test_cut_at_any_place(whole, tmp_path):
    content, wanted = whole
    for n in np.linspace(0, len(content) - 1, 50, dtype=int):
        assert refused_or_equal(tmp_path / "cut.h5", content[:n], wanted)


@settings(max_examples=60)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_flipped_bit(whole, tmp_path_factory, place, bit):
    content, wanted = bytearray(whole[0]), whole[1]
    content[int(place * len(content))] ^= 1 << bit
    refused_or_equal(tmp_path_factory.mktemp("flip") / "a.h5", bytes(content), wanted)


@settings(max_examples=15)
@given(place=st.floats(0, 1, exclude_max=True), junk=st.binary(min_size=4, max_size=200))
def test_a_torn_page(whole, tmp_path_factory, place, junk):
    content, wanted = bytearray(whole[0]), whole[1]
    at = int(place * (len(content) - len(junk)))
    content[at : at + len(junk)] = junk
    refused_or_equal(tmp_path_factory.mktemp("torn") / "a.h5", bytes(content), wanted)


FORGED = {
    "big-endian": (f"{LIST}/activation", lambda old: old.astype(">f4"), "is of type >f4"),
    "float64": (f"{LIST}/activation", lambda old: old.astype("f8"), "is of type float64, expected f4"),
    "three dimensions": (f"{LIST}/row", lambda old: old[:, :, None], "has 3 dimensions, expected 2"),
    "another k": (f"{LIST}/row", lambda old: old[:, 1:], "differ in shape"),
    "another window": (f"{LIST}/window", lambda old: old[:, :, 1:], "not as long as the manifest says"),
    "a hole": (f"{LIST}/row", lambda old: np.where(np.arange(old.size).reshape(old.shape) == 0, -1, 1), "have holes"),
    "no activation": (f"{LIST}/activation", lambda old: old * np.nan, "have holes"),
    "unknown row": (f"{LIST}/row", lambda old: np.where(old < 0, -1, 77), "row 77, which is not in rows/index"),
    "behind the row": (f"{LIST}/position", lambda old: np.where(old < 0, old, 9), "stands at position 9 of row"),
    "before the row": (f"{LIST}/position", lambda old: np.where(old < 0, old, -2), "stands before its row"),
    "index falls": ("rows/index", lambda old: old[::-1], "does not ascend"),
    "index wraps": ("rows/index", lambda old: np.array([2**62, -(2**62) - 9, 5, 6, 7]), "does not ascend"),
    "long row": ("rows/length", lambda old: old + 9, "rows/length is outside the rows"),
    "rows missing": ("rows/tokens", lambda old: old[1:], "rows/tokens has 4 rows, rows/index 5"),
    "signed tokens": ("rows/tokens", lambda old: old.astype("i2"), "no table of uint16 or uint32"),
    "token ids": ("rows/tokens", lambda old: old + 4, "the vocabulary 4 tokens"),
    "offsets": ("tokenizer/tokens/offsets", lambda old: old[::-1], "offsets does not fit"),
    "offsets wrap": (
        "tokenizer/tokens/offsets",
        lambda old: np.array([0, 2**62, -(2**62), 5, 6]),
        "does not fit",
    ),
    "special": ("tokenizer/special", lambda old: old[1:], "has the shape (3,), expected (4,)"),
    "counts": (f"{STATISTICS}/positive", lambda old: old + 99, "counts more positions than there were"),
    "sums": (f"{STATISTICS}/whole", lambda old: old[:1], "has the shape (1, 4), expected (4, 4)"),
    "strings": ("rows/index", lambda old: np.array([b"a"] * 5), "is of type |S1"),
    "float rank": (f"{EVIDENCE}/rank", lambda old: old.astype("f8"), "rank is of type float64, expected i8"),
    "other neurons": (f"{EVIDENCE}/neuron", lambda old: old + 9, "neurons that the layer does not have"),
    "negative neuron": (f"{EVIDENCE}/neuron", lambda old: old - 1, "neurons that the layer does not have"),
    "short column": (f"{EVIDENCE}/score", lambda old: old[1:], "differ in length"),
    "verdict": (f"{EVIDENCE}/verdict/bytes", lambda old: old[::-1], "unknown verdict"),
    "above": (f"{STATISTICS}/above", lambda old: old + 99, "counts more positions than there were"),
    "thresholds": (f"{STATISTICS}/above", lambda old: old[1:], "has the shape (3, 4), expected (4, 4)"),
    "bins": (f"{STATISTICS}/histogram", lambda old: old[:, 1:], "has the shape (4, 95), expected (4, 96)"),
    "histogram": (f"{STATISTICS}/histogram", lambda old: old + 1, "counts more positions than were drawn"),
    "histogram wraps": (f"{STATISTICS}/histogram", lambda old: old + 2**62, "counts more positions than were drawn"),
    "sampled": (f"{STATISTICS}/sampled", lambda old: np.int64(99), "counts more positions than were drawn"),
    "sample falls": ("sample/row", lambda old: old[::-1], "sample is not in order"),
    "sample twice": ("sample/position", lambda old: old * 0, "sample is not in order"),
    "sampled activations": ("collect/post/2/sample", lambda old: old[:, 1:], "has the shape (4, 5), expected (4, 6)"),
    "case counts": ("collect/post/2/cases/count", lambda old: old - 9, "cases/count is negative"),
    "case lists": ("collect/post/2/gate+_in-/row", lambda old: old[1:], "differ in shape"),
    "logit tokens": ("collect/post/2/logits/promoted", lambda old: old + 4, "ids that the vocabulary does not have"),
    "logit columns": ("collect/post/2/logits/suppressed_effect", lambda old: old[:, 1:], "differ in shape"),
    "subset neurons": ("collect/post/2/neuron", lambda old: old[::-1], "does not ascend from 0 or more"),
    "parts": ("rows/parts/offsets", lambda old: old[::-1], "offsets that do not count the parts"),
    "scalar": (f"{STATISTICS}/count", lambda old: np.array([old]), "has 1 dimensions, expected 0"),
}


@pytest.mark.parametrize("kind", FORGED)
def test_forged_values(store_path, kind):
    name, forge, message = FORGED[kind]
    with h5py.File(store_path, "r+") as file:
        old = file[name]
        assert isinstance(old, h5py.Dataset)
        new = forge(old[()])
        if new.dtype == old.dtype.newbyteorder("=") and new.dtype.kind != "f":
            new = new.astype(old.dtype)
        del file[name]
        file[name] = new
    with pytest.raises(StoreError) as caught:
        everything(store_path)
    assert message in str(caught.value)
    assert str(store_path) in str(caught.value)
