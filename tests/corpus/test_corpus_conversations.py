"""Records of messages: read in every form, rendered, and their roles kept by position."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from corpus_twins import encode, ids

from neurolocal.config import CollectConfig
from neurolocal.corpus import RowStream, documents
from neurolocal.corpus.conversations import messages_of
from neurolocal.provenance import role_of
from neurolocal.words.counted import counted_positions

BOS, EOS = 1, 2


def render(messages: list[dict[str, Any]]) -> tuple[str, list[tuple[int, int, str]]]:
    """`<user>hello<assistant>hi`."""
    text, places = "", list[tuple[int, int, str]]()
    for one in messages:
        text += f"<{one['role']}>"
        places.append((len(text), len(text) + len(one["content"]), one["role"]))
        text += one["content"]
    return text, places


def test_every_form_of_a_conversation() -> None:
    wanted = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    sharegpt = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    in_parts = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image"}]}, wanted[1]]
    for value in ({"messages": wanted}, {"conversations": sharegpt}, {"chat": wanted}, {"messages": in_parts}):
        assert messages_of(value, "chat") == wanted
    called = {"role": "assistant", "content": None, "tool_calls": [{"name": "f"}]}
    assert messages_of({"messages": [called]}, "text") == [called | {"content": ""}]
    for value in ({}, {"messages": []}, {"messages": ["a"]}, {"messages": "a"}):
        assert messages_of(value, "text") is None
    for one in ({"role": "user"}, {"content": "a"}, {"role": 1, "content": "a"}, {"role": "user", "content": 7}):
        with pytest.raises(ValueError, match="expected role and content"):
            messages_of({"messages": [one]}, "text")


def test_read_from_lines_and_tables(tmp_path) -> None:
    chats = [[{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": f"a{i}"}] for i in range(3)]
    lines = [json.dumps({"messages": c, "meta": {"pile_set_name": "chat"}}) for c in chats]
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, json.dumps({"text": "plain"}), '{"messages": [{"x": 1}]}']))
    parquet.write_table(pa.table({"messages": chats}), tmp_path / "b.parquet")
    found = list(documents([tmp_path / "a.jsonl", tmp_path / "b.parquet"], render=render))
    assert [d.text for d in found] == [*(f"<user>q{i}<assistant>a{i}" for i in range(3)), "plain",
                                       *(f"<user>q{i}<assistant>a{i}" for i in range(3))]  # fmt: skip
    assert [bool(d.roles) for d in found] == [True] * 3 + [False] + [True] * 3
    assert found[0].subset == "chat"
    assert [d.text for d in documents([tmp_path / "a.jsonl"])] == ["plain"]


@pytest.mark.parametrize("packing", ["concat", "document"])
def test_roles_by_position_equal_a_plain_loop(packing, tmp_path, rng) -> None:
    """Each token carries the role of the message that it begins in; rows, resuming and counting follow."""
    records: list[dict[str, Any]] = []
    for _ in range(40):
        if rng.random() < 0.3:
            records.append({"text": "p" * int(rng.integers(0, 9))})
            continue
        roles = rng.choice(["user", "assistant", "system"], int(rng.integers(1, 4))).tolist()
        messages = [{"role": role, "content": "xyz"[: int(rng.integers(0, 4))]} for role in roles]
        records.append(
            {"messages": messages, "meta": {"pile_set_name": "set"}} if rng.random() < 0.5 else {"messages": messages}
        )
    path = tmp_path / "c.jsonl"
    path.write_text("\n".join(map(json.dumps, records)))
    n = int(rng.integers(4, 12))
    config = CollectConfig(row_length=n, batch_size=3, packing=packing, count_roles=("assistant",))

    def stream() -> RowStream:
        return RowStream([path], encode, BOS, EOS, config, render=render)

    flat, per_document = list[tuple[int, str]](), list[list[tuple[int, str]]]()
    for record in records:
        if "text" in record:
            own = [(token, "") for token in ids([record["text"]])[0]]
        else:
            text, places = render(record["messages"])
            own = [
                (token, next((role for a, b, role in places if a <= i < b), "(template)"))
                for i, token in enumerate(ids([text])[0])
            ]
        per_document.append(own)
        flat += [(EOS, own[0][1] if own else "")] * bool(per_document[1:]) + own
    fill = n - 1
    if packing == "concat":
        rows = [flat[i : i + fill] for i in range(0, len(flat) - fill + 1, fill)]
    else:
        rows = [own[i : i + fill] for own in per_document for i in range(0, len(own), fill)]
    batches = list(stream().batches())
    at = 0
    for batch in batches:
        counted = counted_positions(
            batch.tokens, batch.length, special=np.zeros(2000, bool), config=vars(config), parts=batch.parts
        )
        for row in range(len(batch.rows)):
            length = int(batch.length[row])
            assert batch.tokens[row, 1:length].tolist() == [token for token, _ in rows[at]]
            places = batch.parts.at(np.full(length - 1, row), np.arange(1, length))
            subsets = [batch.parts.subsets[batch.parts.subset[i]] for i in places]
            said = [role_of(name) for name in subsets]
            for i, (mine, (token, true)) in enumerate(zip(said, rows[at], strict=True)):
                assert mine == true or token == EOS
                assert bool(counted[row, i + 1]) == (mine == "assistant")
            assert not counted[row, 0]
            assert not counted[row, length:].any()
            at += 1
    assert at == len(rows)
    for i, batch in enumerate(batches):  # a run that resumes behind any batch makes the same ones
        again = list(stream().batches(batch.after))
        assert [b.after.digest for b in again] == [b.after.digest for b in batches[i + 1 :]]
        assert all(a.parts == b.parts for a, b in zip(again, batches[i + 1 :], strict=True))


def test_control_tokens_of_documents_are_counted(tmp_path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in ("aXb", "XX", "c")))
    special = np.zeros(1000, bool)
    special[ids(["X"])[0][0]] = True
    config = CollectConfig(row_length=3, batch_size=1, packing="document")
    batches = list(RowStream([path], encode, BOS, EOS, config, special=special).batches())
    assert batches[-1].after.control == 3
