"""The text between two batches: cut without a copy, stored and restored, refused where it is damaged."""

import numpy as np
import pytest
from corpus_parts_twins import BOS, EOS, REST
from corpus_twins import encode, write_records

from neurolocal.config import CollectConfig
from neurolocal.corpus import RowStream, rest_arrays, rest_from


def test_a_rest_is_cut_by_views(tmp_path):
    path = write_records(tmp_path, [{"text": "ab" * 500}], "jsonl")
    stream = RowStream([path], encode, BOS, EOS, CollectConfig(row_length=5, batch_size=2, packing="document"))
    rests = [batch.after.rest for batch in stream.batches()]
    (first,), (second,) = rests[:2]
    assert np.shares_memory(first.tokens, second.tokens)
    assert np.shares_memory(first.character, second.character)


def test_a_rest_comes_back():
    assert repr(rest_from(rest_arrays(REST))) == repr(REST)
    assert rest_from(rest_arrays(())) == ()
    assert rest_arrays(REST)["tokens"].dtype == np.uint32  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("tokens", None, "tokens is object with 0 dimensions; expected uint32 with 1"),
        ("tokens", np.array([1, 2, 3, 4, 2**31], np.uint32), "an impossible token, file or record"),
        ("tokens", np.arange(4, dtype=np.uint32), "offsets do not ascend from 0 to the 4 tokens"),
        ("character", np.arange(5, dtype=np.int32), "character is int32"),
        ("character", np.arange(4), "4 characters for 5 tokens"),
        ("character", np.array([3, 2, 9, 0, 1]), "characters of piece 0 do not ascend"),
        ("character", np.array([1, 2, 9, -1, 1]), "characters of piece 1 do not ascend"),
        ("character", np.array([-2, -2, -2, 0, 1]), "characters of piece 0 do not ascend"),
        ("offsets", np.array([0, 3, 3]), "offsets do not ascend"),
        ("offsets", np.array([0, 5, 5]), "offsets do not ascend"),
        ("offsets", np.array([1, 3, 5]), "offsets do not ascend"),
        ("offsets", np.array([0, 5]), "2 offsets, 2 files, 2 records and 2 subsets"),
        ("offsets", np.empty(0, np.int64), "0 offsets"),
        ("file", np.array([0, -1]), "an impossible token, file or record"),
        ("record", np.array([-1, 0]), "an impossible token, file or record"),
        ("subset", ["a"], "1 subsets"),
        ("subset", ["a", 1], "values that are no text"),
    ],
)
def test_a_damaged_rest_is_refused(name, value, message):
    with pytest.raises(ValueError, match=message) as caught:
        rest_from(rest_arrays(REST) | {name: value})
    assert str(caught.value).startswith("reading the text between two batches: ")
    assert "\n" not in str(caught.value)
