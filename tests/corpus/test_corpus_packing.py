"""Rows against TransformerLens and a slow twin; a run that goes on behind any batch sees the same batches."""

import json
import threading
import time
import tracemalloc
from typing import Any

import numpy as np
import pytest
from corpus_twins import encode, ids, write
from hypothesis import given, settings
from hypothesis import strategies as st

from neurolocal.config import CollectConfig
from neurolocal.corpus import RowStream, batches, rest_arrays
from neurolocal.corpus import encoded as rows
from neurolocal.errors import ConfigError, CorpusError

BOS, EOS = 1, 2
TEXTS = st.lists(st.text("abc", max_size=12), min_size=1, max_size=12)
PACKINGS = st.sampled_from(["concat", "document"])
BOSES = st.sampled_from(["prepend", "none"])


def stream(path, **settings):
    config: Any = {"row_length": 5, "batch_size": 2} | settings
    return RowStream([path], encode, BOS, EOS, CollectConfig(**config))


def twin(texts, *, row_length, packing, bos):
    """The rows, the obvious way."""
    fill, head = row_length - (bos == "prepend"), [BOS] if bos == "prepend" else []
    encoded = ids(texts)
    if packing == "concat":
        joined = [t for i, one in enumerate(encoded) for t in ([EOS] if i else []) + one]
        pieces = [joined[i : i + fill] for i in range(0, len(joined) - fill + 1, fill)]
    else:
        pieces = [one[i : i + fill] for one in encoded for i in range(0, len(one), fill)]
    return [(head + p + [EOS] * (fill - len(p)), len(head) + len(p)) for p in pieces]


def same(a, b):
    assert (a.number, a.after.facts()) == (b.number, b.after.facts())
    for name in ("tokens", "length", "rows"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert a.parts == b.parts
    ours, theirs = rest_arrays(a.after.rest), rest_arrays(b.after.rest)
    for name, column in ours.items():
        np.testing.assert_array_equal(column, theirs[name])


@settings(max_examples=60)
@given(texts=TEXTS, packing=PACKINGS, bos=BOSES, row_length=st.integers(2, 7), batch_size=st.integers(1, 4))
def test_rows_equal_the_twin(tmp_path_factory, texts, packing, bos, row_length, batch_size):
    path = write(tmp_path_factory.mktemp("p"), texts, "jsonl")
    wanted = twin(texts, row_length=row_length, packing=packing, bos=bos)
    made = stream(path, row_length=row_length, packing=packing, bos=bos, batch_size=batch_size)
    if not wanted:
        with pytest.raises(CorpusError, match="no rows in"):
            list(made.batches())
        return
    found = list(made.batches())
    assert [(row.tolist(), int(n)) for b in found for row, n in zip(b.tokens, b.length, strict=True)] == wanted
    assert np.concatenate([b.rows for b in found]).tolist() == list(range(len(wanted)))
    assert [len(b.rows) for b in found[:-1]] == [batch_size] * (len(found) - 1)
    last = found[-1].after
    assert (last.rows, last.batches) == (len(wanted), len(found))
    assert last.tokens == sum(n for _, n in wanted) - (bos == "prepend") * len(wanted)


@settings(max_examples=40)
@given(texts=TEXTS, packing=PACKINGS, group=st.sampled_from([1, 9, 1000]), broken=st.integers(0, 12), data=st.data())
def test_going_on_behind_any_batch(tmp_path_factory, texts, packing, group, broken, data):
    """Numbers, rows, digest, skip counts and what is left over: all as in the run that was never stopped."""
    path = write(tmp_path_factory.mktemp("p"), [*texts, "abcabc"], "jsonl")
    lines = path.read_text().splitlines()
    lines.insert(min(broken, len(lines)), "broken")
    path.write_text("\n".join(lines))
    limit = data.draw(st.none() | st.integers(1, 9))
    was, rows.GROUP = rows.GROUP, group
    try:
        config = {"packing": packing, "max_rows": limit}
        whole = list(stream(path, **config).batches())
        for i, batch in enumerate(whole):
            going_on = stream(path, **config)
            tail = list(going_on.batches(batch.after))
            assert len(tail) == len(whole) - i - 1
            for a, b in zip(tail, whole[i + 1 :], strict=True):
                same(a, b)
            if limit is None:
                assert going_on.skipped.counts == {"not JSON": 1}
    finally:
        rows.GROUP = was


def test_the_digest_names_the_rows(tmp_path):
    texts = ["abcabcabcabc", "cba", "abcabc"]
    digests = {}
    for i, kind in enumerate(("jsonl", "jsonl.gz", "parquet")):
        (tmp_path / str(i)).mkdir()
        digests[kind] = [b.after.digest for b in stream(write(tmp_path / str(i), texts, kind)).batches()]
    assert digests["jsonl"] == digests["jsonl.gz"] == digests["parquet"]
    other = [b.after.digest for b in stream(write(tmp_path, ["abcabcabcabc", "cba", "bbcabc"], "jsonl")).batches()]
    assert other[:-1] == digests["jsonl"][:-1]
    assert other[-1] != digests["jsonl"][-1]


@pytest.mark.parametrize("bos", [True, False])
def test_concat_is_transformer_lens(fixtures, tmp_path, bos):
    """All documents in one of its batches, as its convention has it."""
    from datasets import Dataset
    from transformer_lens.utilities.tokenize_utils import tokenize_and_concatenate
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(fixtures / "stories260k")
    texts = [f"Once there were {n} cats. {'They slept. ' * n}" for n in range(1, 30)] + ["", "The end"]
    theirs = tokenize_and_concatenate(
        Dataset.from_dict({"text": texts}), tokenizer, max_length=16, add_bos_token=bos, num_proc=None
    )["tokens"]
    path = write(tmp_path, texts, "jsonl")
    config = CollectConfig(row_length=16, batch_size=7, bos="prepend" if bos else "none")

    def tokens(texts):
        found = tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
        return [(np.array(one, np.int32), None) for one in found]

    ours = RowStream([path], tokens, tokenizer.bos_token_id, tokenizer.eos_token_id, config).batches()
    np.testing.assert_array_equal(np.concatenate([b.tokens for b in ours]), np.stack(list(theirs)))


@pytest.mark.parametrize("shards", [2, 3, 50])
def test_shards_take_every_nth_batch(tmp_path, shards):
    path = write(tmp_path, ["abcabcabc"] * 9, "jsonl")
    whole = list(stream(path).batches())
    parts = [list(batches(stream(path, shard=i, shards=shards))) for i in range(shards)]
    assert [[b.number for b in part] for part in parts] == [list(range(len(whole)))[i::shards] for i in range(shards)]
    for part in parts:
        for batch in part:
            same(batch, whole[batch.number])


def test_an_error_in_the_thread_reaches_the_reader_behind_what_came_before(tmp_path):
    path = write(tmp_path, ["abcabc"] * 4, "jsonl")
    with path.open("a") as file:
        file.write("broken\n")
    got = []
    with pytest.raises(CorpusError, match="record 5: not JSON"):
        got.extend(batches(stream(path, strict=True)))
    assert len(got) == 3
    with pytest.raises(ZeroDivisionError):
        list(batches(RowStream([path], lambda texts: 1 // 0, BOS, EOS, CollectConfig(row_length=5))))  # type: ignore


@pytest.mark.parametrize("what", ["gone", "cut"])
def test_a_file_that_vanishes_between_batches(tmp_path, monkeypatch, what):
    """What came before it is handed out, the error names it, and the run goes on when it is back."""
    monkeypatch.setattr(rows, "GROUP", 1000)
    texts = ["abcabcabc" * 30] * 40
    for i in range(3):
        write(tmp_path, texts, "jsonl", name=str(i))

    def running(cursor=None):
        files = sorted(tmp_path.glob("*.jsonl"))
        return RowStream(files, encode, BOS, EOS, CollectConfig(row_length=64, batch_size=2)).batches(cursor)

    whole, made = list(running()), running()
    got = [next(made)]
    path = tmp_path / "1.jsonl"
    content = path.read_bytes()
    if what == "gone":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2 - 5])
    with pytest.raises(CorpusError) as caught:
        got.extend(made)
    assert str(path) in str(caught.value)
    assert "what was collected is kept" in str(caught.value)
    assert len(got) >= len(whole) // 3 - 1
    path.write_bytes(content)
    got.extend(running(got[-1].after))
    for a, b in zip(got, whole, strict=True):
        same(a, b)


def test_the_thread_stops_when_nobody_reads_on(tmp_path):
    path = write(tmp_path, ["abcabcabc"] * 500, "jsonl")
    running = batches(stream(path))
    next(running)
    assert any(t.name == "rows" for t in threading.enumerate())
    running.close()  # type: ignore[attr-defined]
    until = time.monotonic() + 120
    while any(t.name == "rows" for t in threading.enumerate()) and time.monotonic() < until:
        time.sleep(0.01)
    assert not any(t.name == "rows" for t in threading.enumerate())


def test_the_share_read_grows_to_one(tmp_path):
    path = write(tmp_path, ["abcabcabc"] * 200, "jsonl")
    shares = [b.after.share for b in stream(path).batches()]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    middle = len(shares) // 2
    assert abs(shares[middle] - 0.5) < 0.05


def test_memory_does_not_follow_the_corpus(tmp_path, monkeypatch):
    """Ten times the text, the same peak: nothing is kept but a group of documents and the batches ahead."""
    monkeypatch.setattr(rows, "GROUP", 1 << 12)
    peaks = []
    for n in (100, 1000):
        path = tmp_path / f"{n}.jsonl"
        path.write_text((json.dumps({"text": "abcdefgh" * 100}) + "\n") * n)
        tracemalloc.start()
        running = batches(stream(path, row_length=128, batch_size=4))
        n_rows = len(next(running).rows)
        time.sleep(1)  # the thread must wait, not run ahead
        n_rows += sum(len(b.rows) for b in running)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert n_rows == (801 * n - 1) // 127
    assert peaks[1] < peaks[0] + 300_000  # the text alone has 720,000 more, its ids eight times that


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"it holds no document \(it is empty\)"),
        (
            '{"content": "x"}',
            r'1 records: no text in the field "text"; .*"content"\). Pass --text-field NAME',
        ),
        ("broken", "1 records: not JSON"),
        ('{"text": "ab"}', r"1 documents hold 2 tokens, a row needs 5. Pass a smaller --row-length"),
    ],
)
def test_a_corpus_without_a_row(tmp_path, content, message):
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with pytest.raises(CorpusError, match=message) as caught:
        list(batches(stream(path)))
    assert f"no rows in {path}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_without_special_tokens(tmp_path):
    path = write(tmp_path, ["abcabcabc"], "jsonl")
    with pytest.raises(ConfigError, match="pass --bos none"):
        RowStream([path], encode, None, None, CollectConfig())
    with pytest.raises(ConfigError, match="pass --packing document"):
        RowStream([path], encode, None, None, CollectConfig(bos="none"))
    (batch,) = RowStream(
        [path], encode, None, None, CollectConfig(row_length=12, bos="none", packing="document")
    ).batches()
    assert batch.length.tolist() == [9]
    assert batch.tokens[0, 9:].tolist() == [0, 0, 0]
