"""The facts of a run: what the manifest contains, and nothing that it does not."""

import pytest

from neurolocal.report.facts import run_facts
from neurolocal.store import Store, add_evidence

REQUIRED = {"subject": {}, "tokenizer": {}, "corpus": {}, "config": {}, "rows": 3, "tokens": 1234, "complete": False}


def test_the_facts_of_a_whole_store(small_store):
    store = small_store(layers=(2,))
    assert run_facts(store, [2], "largest") == [
        ("subject", "small-1m"),
        ("layers × neurons", "6 × 12"),
        ("weights", "abababababab…"),
        ("corpus", "small-1m"),
        ("rows' hash", "efefefefefef…"),
        ("tokens", f"{store.manifest['tokens']:,}"),
        ("rows", "96"),
        ("row length", "23"),
        ("collection", "whole"),
    ]


def test_what_the_manifest_does_not_contain_is_omitted(small_store, monkeypatch):
    store = small_store()
    monkeypatch.setattr(store, "manifest", REQUIRED)
    assert run_facts(store, [], "largest") == [("tokens", "1,234"), ("rows", "3"), ("collection", "not finished")]


@pytest.mark.parametrize(
    ("widths", "expected"),
    [
        ([12, 12], "2 × 12"),
        ([1536, 3072], "2 × 1,536 to 3,072"),
        ([], None),
        ("12", None),
        ([12, None], None),
    ],
)
def test_widths_of_layers(small_store, monkeypatch, widths, expected):
    store = small_store()
    monkeypatch.setattr(store, "manifest", {**REQUIRED, "subject": {"d_mlp": widths}})
    assert dict(run_facts(store, [], "largest")).get("layers × neurons") == expected


def test_values_of_unexpected_types_are_text_or_omitted(small_store, monkeypatch):
    store = small_store()
    hostile = {
        "subject": {"name": ["a"], "sha256": 7, "d_mlp": {"x": 1}},
        "corpus": {"path": {"b": 1}, "rows_sha256": None},
        "config": {"row_length": "long", "dtype": 3.5},
    }
    monkeypatch.setattr(store, "manifest", {**REQUIRED, **hostile})
    assert dict(run_facts(store, [], "largest")) == {
        "subject": "['a']",
        "weights": "7…",
        "corpus": "{'b': 1}",
        "tokens": "1,234",
        "rows": "3",
        "dtype": "3.5",
        "collection": "not finished",
    }


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (
            {"name": "glove", "wordsim353": {"spearman": 0.614}, "simlex999": None, "coverage": {"tokens": 0.97}},
            [
                ("word vectors", "glove"),
                ("WordSim-353 · SimLex-999", "0.61 · –"),
                ("running words with a vector", "97 %"),
            ],
        ),
        ({}, []),
        (["glove"], []),
        (
            {"name": None, "wordsim353": [], "simlex999": {"spearman": "high"}, "coverage": 1},
            [("word vectors", "None"), ("WordSim-353 · SimLex-999", "– · –"), ("running words with a vector", "–")],
        ),
    ],
)
def test_facts_of_the_word_vectors_once_for_layers_that_agree(small_store, facts, expected):
    store = small_store()
    for layer in (2, 5):
        table = store.evidence("similarity", layer)
        add_evidence(store.path, [("similarity", layer, "largest", table, {"facts": facts})], site="post")
    with Store(store.path) as opened:
        assert run_facts(opened, [2, 5], "largest")[-len(expected) or 99 :] == expected


def test_coherence_stands_beside_the_same_of_dealt_examples(small_store) -> None:
    store = small_store()
    made = store.inputs("similarity", 2) or {}
    table, path = store.evidence("similarity", 2), store.path
    assert not [name for name, _ in run_facts(store, [2], "largest") if "dealt" in name]
    counts = {"coherent": {"kept": 1200, "neurons": 1500}, "dealt": {"kept": 3, "neurons": 1536}}
    for facts, said in (
        (counts, [("coherent neurons", "1,200 of 1,500"), ("the same, examples dealt at random", "3 of 1,536")]),
        (counts | {"dealt": {"kept": "x"}}, []),
    ):
        add_evidence(path, [("similarity", 2, "largest", table, made | {"facts": facts})], site="post")
        with Store(path) as changed:
            found = run_facts(changed, [2], "largest")
        assert [one for one in found if "coherent" in one[0] or "dealt" in one[0]] == said
