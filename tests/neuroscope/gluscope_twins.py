"""What tests of GLUScope examples share: made-up examples, and a slow comparison of a store with its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neurolocal.neuroscope.read.gluscope import SITES
from neurolocal.records import CASES
from neurolocal.store import Store
from neurolocal.store.check import check

LABELS = ["hook_post", "hook_pre_linear", "hook_pre", "swish", "gate-_in+_hook_post"]


def made(rng: np.random.Generator, n: int = 30, *, words: str = "abcdefg") -> dict[str, Any]:
    """One example as plain values."""
    pre, linear = rng.normal(size=(2, n))
    swish = pre / (1 + np.exp(-pre))
    post = swish * linear
    masked = np.where((pre < 0) & (linear >= 0), post, 0)
    values = np.stack([post, linear, pre, swish, masked], axis=1)
    return {"tokens": [words[i] for i in rng.integers(0, len(words), n)], "values": values.tolist(), "labels": LABELS}


def put(folder: Path, example: dict[str, Any], *, layer: int = 2, neuron: int = 5, number: int = 0) -> Path:
    path = folder / f"L{layer}_N{neuron}_gatem_inp_hook_post_example_{number}.json"
    path.write_text(json.dumps(example), encoding="utf-8")
    return path


def same(path: Path, examples: dict[tuple[int, int], list[dict[str, Any]]]) -> None:
    """The store's whole rows, lists and sign cases, from the files' plain values."""
    assert [str(f) for f in check(path, progress=False).faults] == []
    for label, site in SITES.items():
        with Store(path, site=site) as store:
            assert store.layers == sorted({layer for layer, _ in examples})
            for (layer, neuron), some in examples.items():
                at = store.index_of(layer, neuron)
                found, top = store.examples(layer, neuron), store.top(layer, "largest")
                columns = [np.float32(e["values"])[:, e["labels"].index(label)] for e in some]
                order = sorted(range(len(some)), key=lambda i: -columns[i].max())
                whole = store.page_activations(layer, at)
                assert len(found) == len(some)
                for rank, i in enumerate(order):
                    values = columns[i]
                    assert top.activation[at, rank] == values.max()
                    assert top.position[at, rank] == values.argmax()
                    assert np.array_equal(whole[rank][: len(values)], values)
                    row = store.row(found[rank].row)
                    assert [store.vocabulary.tokens[t].decode() for t in row] == some[i]["tokens"]
                assert store.maxima(layer).activation[at] == max(c.max() for c in columns)
    with Store(path, site="post") as store:
        for (layer, neuron), some in examples.items():
            at, cases = store.index_of(layer, neuron), store.cases(layer)
            assert cases is not None
            table = np.concatenate([np.float32(e["values"]) for e in some])
            post, linear, pre = (
                table[:, some[0]["labels"].index(name)] for name in ("hook_post", "hook_pre_linear", "hook_pre")
            )
            for number, case in enumerate(CASES):
                here = (np.signbit(pre) == (case[4] == "-")) & (np.signbit(linear) == (case[8] == "-"))
                assert cases.count[number, at] == here.sum()
                activation = store.top(layer, case).activation[at]
                assert here.any() == np.isfinite(activation[0])
                if here.any():
                    assert abs(activation[0]) == abs(post[here]).max()
                    total = post[here].astype(np.float64).sum()
                    assert cases.whole[number, at] + cases.fraction[number, at] / 2**60 == pytest.approx(
                        total, abs=1e-9
                    )


def change(example: dict[str, Any], what: str) -> Any:
    """A damaged example, by its name."""
    values, labels = example["values"], example["labels"]
    changes: dict[str, Any] = {
        "a list": [],
        "no tokens": example | {"tokens": []},
        "null tokens": example | {"tokens": None},
        "a token that is no text": example | {"tokens": [3, *example["tokens"][1:]]},
        "half a character": example | {"tokens": ["\ud800", *example["tokens"][1:]]},
        "one value fewer": example | {"values": values[1:]},
        "ragged": example | {"values": [values[0][1:], *values[1:]]},
        "a value that is text": example | {"values": [["1.0", *values[0][1:]], *values[1:]]},
        "a value that is null": example | {"values": [[None, *values[0][1:]], *values[1:]]},
        "a value that is true": example | {"values": [[True, *values[0][1:]], *values[1:]]},
        "NaN": example | {"values": [[float("nan"), *values[0][1:]], *values[1:]]},
        "Infinity": example | {"values": [[float("inf"), *values[0][1:]], *values[1:]]},
        "a huge integer": example | {"values": [[10**400, *values[0][1:]], *values[1:]]},
        "beyond float32": example | {"values": [[1e39, *values[0][1:]], *values[1:]]},
        "a label twice": example | {"labels": [*labels[:4], labels[0]]},
        "a label that is a list": example | {"labels": [*labels[:4], ["a"]]},
        "a label that is null": example | {"labels": [*labels[:4], None]},
        "no hook_post": example | {"labels": ["hook_past", *labels[1:]]},
        "signs turned": example | {"values": [[v[0], v[1], -v[2], *v[3:]] for v in values]},
        "another mask": example | {"values": [[*v[:4], 0.5] for v in values]},
        "labels in another order": example | {"labels": [labels[1], labels[0], *labels[2:]]},
    }
    return changes[what] if what else list(changes)
