"""`dedupe` from the corpus to the store: each text once in a list, shards and resumed runs alike, checked."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from small_collection import after, content, run

from neurolocal.pipeline.merge import merge_stores
from neurolocal.report.repeats import repeats
from neurolocal.store import Store, check, datasets
from neurolocal.subject import load_subject
from neurolocal.words.repeated import CONTEXT

MODEL = Path(__file__).parents[1] / "store" / "golden_0_1_0" / "model"
SHAPE = {"layers": (1,), "row_length": 48, "k": 8, "before": 20, "after": 0, "dedupe": True}


@pytest.fixture(scope="module")
def subject():
    return load_subject(str(MODEL), dtype="float32", device="cpu")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Twenty documents, half of which are one mail, sent again and again."""
    rng = np.random.default_rng(3)
    words = ["cat", "dog", "Lily", "ran", "happy", "the", "ball", "red", "said", "and", "big", "tree"]
    mail = " ".join(rng.choice(words, 40))
    texts = [mail if i % 2 else " ".join(rng.choice(words, 40)) for i in range(20)]
    path = tmp_path / "mails.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts), encoding="utf-8")
    return path


def test_each_text_is_in_a_list_once(subject, corpus: Path, tmp_path: Path) -> None:
    run(subject, corpus, tmp_path / "all.h5", **SHAPE | {"dedupe": False})
    run(subject, corpus, tmp_path / "once.h5", **SHAPE)
    with Store(tmp_path / "all.h5") as every, Store(tmp_path / "once.h5") as once:
        twice = 0
        for neuron in range(len(once.neurons(1))):
            lists = [store.examples(1, neuron) for store in (every, once)]
            twice += sum(at is not None for at in repeats(lists[0]))
            texts = [tuple(once.row(e.row)[max(e.position - CONTEXT + 1, 0) : e.position + 1]) for e in lists[1]]
            assert len(set(texts)) == len(texts)
            assert lists[0][0].activation == lists[1][0].activation
        assert twice > len(once.neurons(1))  # without it, lists of 8 held the mail more than once
    assert check(tmp_path / "once.h5", progress=False).faults == ()


def test_shards_and_an_interrupted_run_give_the_same_store(subject, corpus: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.h5"
    run(subject, corpus, whole, **SHAPE)
    parts = [tmp_path / f"{i}.h5" for i in range(3)]
    for i, path in enumerate(parts):
        run(subject, corpus, path, shard=i, shards=3, **SHAPE)
    merge_stores(tmp_path / "m.h5", parts, say=lambda line: None)
    assert content(tmp_path / "m.h5") == content(whole)
    resumed = tmp_path / "resumed.h5"
    run(subject, corpus, resumed, stop=after(2), **SHAPE)
    run(subject, corpus, resumed, **SHAPE)
    assert content(resumed) == content(whole)


def test_check_finds_texts_that_are_not_those_of_the_rows(subject, corpus: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    run(subject, corpus, path, **SHAPE)
    with h5py.File(path, "a") as file:
        name = "collect/post/1/largest/text"
        texts = np.asarray(file[name])
        texts[2, 1] = texts[2, 0]
        del file[name]
        datasets.put(file, name, texts)
    found = [(fault.place, fault.expected) for fault in check(path, progress=False).faults]
    assert found == [
        ("collect/post/1/largest/text", "each text once"),
        ("collect/post/1/largest/text", "the hash of its tokens"),
    ]
    with h5py.File(path, "a") as file:
        del file[name]
    (fault,) = check(path, progress=False).faults
    assert fault.found == "no such dataset"
