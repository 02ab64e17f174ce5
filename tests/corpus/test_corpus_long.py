"""Long documents: the same rows in parts as at once, resumed anywhere; cut where they must be, which is counted."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from corpus_twins import encode, write
from hypothesis import given, settings
from hypothesis import strategies as st

from neurolocal.config import CollectConfig
from neurolocal.corpus import RowStream, documents, rest_arrays
from neurolocal.corpus import parts as cutting


def encode_context(texts: list[str]) -> list[Any]:
    """`encode` of a tokenizer that puts an id before every text, as SentencePiece puts a space."""
    return [(np.append(np.int32(7), one), np.append(0, at)) for one, at in encode(texts)]


def stream(path, *, encoder=encode_context, cuttable=True, **more) -> RowStream:
    config: Any = {"row_length": 6, "batch_size": 2, "bos": "none"} | more
    return RowStream([path], encoder, None, 2, CollectConfig(**config), cuttable=cuttable)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(cutting, "PART", 16)
    monkeypatch.setattr("neurolocal.corpus.encoded.PART", 16)


@settings(max_examples=80)
@given(text=st.text(st.sampled_from("ab \n.é"), max_size=300), longest=st.integers(8, 80), cuttable=st.booleans())
def test_parts_are_the_text_and_depend_on_where_they_begin_alone(text, longest, cuttable) -> None:
    before, cutting.PART = cutting.PART, 16
    try:
        found = list(cutting.parts(text, cuttable=cuttable, longest=longest))
        assert "".join(text[part.begin : part.end] for part in found) == text
        for i, part in enumerate(found):
            assert part.end - part.begin <= max(longest, 16)
            assert part.exact or part.end - part.begin > longest // 2
            assert part.context <= part.begin
            assert i == 0 or list(cutting.parts(text, part.begin, cuttable=cuttable, longest=longest)) == found[i:]
            exact = cuttable and part.context < part.begin
            assert not exact or cutting.PLACE.match(text, part.begin - 1)
    finally:
        cutting.PART = before


@pytest.mark.parametrize("packing", ["concat", "document"])
def test_rows_in_parts_are_those_of_the_whole(small, tmp_path, packing, rng, monkeypatch) -> None:
    def texts(n):
        return "".join(rng.choice(["a b ", "ab ", "a", "b\n", ". "], n).tolist()) + "a b"

    path = write(tmp_path, ["a b", texts(90), "", "b a", texts(40), texts(3)], "jsonl")
    in_parts = list(stream(path, packing=packing).batches())
    long = list(cutting.parts(texts(90), cuttable=True, longest=1 << 22))
    assert len(long) > 5
    monkeypatch.setattr(cutting, "PART", 1 << 18)
    monkeypatch.setattr("neurolocal.corpus.encoded.PART", 1 << 18)
    whole = list(stream(path, packing=packing).batches())
    assert [b.tokens.tolist() for b in in_parts] == [b.tokens.tolist() for b in whole]
    one, other = (found[-1].after.facts() for found in (in_parts, whole))
    assert one == other


@pytest.mark.parametrize("packing", ["concat", "document"])
@pytest.mark.parametrize(("cuttable", "longest"), [(True, 1 << 22), (False, 24)])
def test_a_run_resumes_inside_a_long_document(small, tmp_path, packing, cuttable, longest) -> None:
    path = write(tmp_path, ["a b", "ab a ba. " * 30 + "a b", "b a"], "jsonl")
    how: Any = {"packing": packing, "cuttable": cuttable, "longest_text": longest}
    whole = list(stream(path, **how).batches())
    assert any(batch.after.character for batch in whole)
    shares = [batch.after.share for batch in whole]
    assert shares == sorted(shares)
    assert 0 < shares[len(shares) // 2] < 1
    for i, batch in enumerate(whole):
        tail = list(stream(path, **how).batches(batch.after))
        assert [b.tokens.tolist() for b in tail] == [b.tokens.tolist() for b in whole[i + 1 :]]
        for a, b in zip(tail, whole[i + 1 :], strict=True):
            assert a.after.facts() == b.after.facts()
            assert a.parts == b.parts
            ours, theirs = rest_arrays(a.after.rest), rest_arrays(b.after.rest)
            assert all(np.array_equal(column, theirs[name]) for name, column in ours.items())


def test_a_text_without_places_is_cut_at_white_space_and_counted(small, tmp_path) -> None:
    path = write(tmp_path, ["1 2. " * 20, "a b"], "jsonl")
    made = stream(path, encoder=encode, cuttable=True, longest_text=40, packing="document")
    list(made.batches())
    assert made.skipped.cut == {str(path): 2}
    made = stream(path, encoder=encode, cuttable=True, longest_text=100, packing="document")
    list(made.batches())
    assert not made.skipped.cut


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.zst", "parquet", "dataset"])
def test_memory_does_not_grow_with_the_tokens_of_a_document(tmp_path, kind) -> None:
    """Four million ids of this tokenizer would take 80 MB; the text itself takes 4."""
    path = write(tmp_path, ["ab a ba " * 500_000], kind)
    made = stream(path, row_length=1024, max_rows=8)
    next(made.batches())
    tracemalloc.start()
    list(made.batches())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40e6


def test_a_string_that_many_rows_refer_to_is_held_once(tmp_path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    text = "ab a ba " * 125_000
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 300, pa.int32()), pa.array([text]))
    talk = pa.array([[{"role": "user", "content": text}]] * 300)
    pool = pa.default_memory_pool()
    for name, values in (("text", column), ("messages", talk)):
        path = tmp_path / f"{name}.parquet"
        parquet.write_table(pa.table({name: values}), path)
        before = pool.bytes_allocated()
        found = documents([path], render=lambda said: (said[0]["content"], ()), most=40)
        for document in found:
            assert document.text == text
            assert pool.bytes_allocated() - before < 20e6
