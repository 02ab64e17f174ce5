"""A chat corpus with `--count-roles assistant`: only these messages compete, and every view says whose they are."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from small_run import TEXT

from neurolocal.config import CollectConfig
from neurolocal.pipeline.collect import Collection, collect_store
from neurolocal.provenance import role_of
from neurolocal.report import show, write_page
from neurolocal.store import Store
from neurolocal.store.check import check

TEMPLATE = "{% for m in messages %}<s>{{ m.role }}\n{{ m.content }}</s>{% endfor %}"


@pytest.fixture(scope="module")
def store(fixtures, tmp_path_factory):
    from neurolocal.subject import load_subject

    root = tmp_path_factory.mktemp("chat")
    folder = root / "model"
    folder.mkdir()
    for file in (fixtures / "stories260k").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    lines = TEXT.splitlines()
    chats = [
        {"conversations": [{"from": "human", "value": lines[i % 5]}, {"from": "gpt", "value": lines[(i + 1) % 5]}]}
        for i in range(30)
    ]
    corpus = root / "chats.jsonl"
    corpus.write_text("\n".join(map(json.dumps, [*chats, {"text": "A plain text."}])))
    config = CollectConfig(row_length=32, k=4, layers=(1,), sample=64, count_roles=("assistant",))
    collect_store(
        Collection(load_subject(folder, device="cpu"), corpus, root / "s.h5", config), say=lambda line: None, bar=False
    )
    with Store(root / "s.h5") as store:
        yield store


def test_only_the_assistants_positions_compete(store) -> None:
    rows, positions = [], []
    for side in ("largest", "smallest"):
        top = store.top(1, side)
        there = top.row >= 0
        rows.append(top.row[there])
        positions.append(top.position[there])
    row = np.searchsorted(store.row_index, np.concatenate(rows))
    at = store.parts.at(row, np.concatenate(positions).astype(np.int64))
    assert {role_of(store.parts.subsets[i]) for i in store.parts.subset[at].tolist()} == {"assistant"}
    subsets = store.manifest["corpus"]["subsets"]
    assert {"assistant", "user", "(template)", ""} >= set(subsets) >= {"assistant", "user", "(template)"}
    assert store.manifest["tokens"] == subsets["assistant"]
    assert store.statistics(1).count == subsets["assistant"]
    assert store.manifest["config"]["count_roles"] == ["assistant"]


def test_the_tokenizer_was_tried_on_the_conversations(store) -> None:
    assert store.manifest["tokenizer"]["tried"]["texts"] == 31


def test_the_store_is_whole_to_the_checks_own_rule(store) -> None:
    assert check(store.path, progress=False).faults == ()


def test_every_view_says_whose_message_it_is(store, tmp_path) -> None:
    out = io.StringIO()
    show(store, 1, 5, out=out, width=200)
    assert "position" in out.getvalue()
    assert " · assistant" in out.getvalue()
    assert "examples from\n  assistant 100" in out.getvalue()
    write_page(store, path=tmp_path / "p.html")
    assert "· <bdi>assistant</bdi>" in (tmp_path / "p.html").read_text(encoding="utf-8")
