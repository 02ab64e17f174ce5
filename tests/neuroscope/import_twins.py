"""What tests of the import share: pages over one corpus, and a slow comparison of a store with its pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from listeners import silent
from page_twins import page_html, random_page

from neurolocal.collect.sample import hashes
from neurolocal.neuroscope.export.neuron_page import NeuronPage, PageText, page_text
from neurolocal.neuroscope.imports.from_pages import import_pages
from neurolocal.records import histogram_edges
from neurolocal.store import Store
from neurolocal.store.check import check

LENGTH = 80

ENGLISH = ["cat", "dog", "ball", "tree", "lake", "fish", "frog", "cake", "milk", "food", "park", "sun"]


def corpus(rng: np.random.Generator, rows: int, *, words: list[str], model: str = "solu-8l-pile", neurons: int = 3,
           layers: tuple[int, ...] = (1, 4), texts: int = 6, length: int = LENGTH) -> list[dict[str, Any]]:  # fmt: skip
    """Pages over one corpus: each row has the same tokens wherever it is shown."""
    of = [["<|endoftext|>", *(words[j] for j in rng.integers(0, len(words), length - 1))] for _ in range(rows)]
    pages = []
    for layer in layers:
        for neuron in rng.choice(50, neurons, replace=False).tolist():
            page = random_page(rng, layer=layer, neuron=neuron, texts=texts, length=length, model=model)
            for text, row in zip(page["texts"], rng.choice(rows, texts, replace=False).tolist(), strict=True):
                text |= {"index": row * 3 + 5, "tokens": of[row]}
            rng.shuffle(page["texts"])  # a page's maxima need not fall
            pages.append(page)
    return pages


def write(folder: Path, pages: list[dict[str, Any]], *, full: Any = lambda i: True) -> Path:
    for i, page in enumerate(pages):
        path = folder / str(page["layer"]) / f"{page['neuron']}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page_html(page, full=full(i)), encoding="utf-8")
    return folder


def load(paths: list[Path], out: Path, **more: Any):
    return import_pages(paths, out, **({"say": silent, "bar": False} | more))


def everything(path: Path) -> dict[str, Any]:
    """The content of a store, without its paths."""
    said: dict[str, Any] = {}
    with Store(path) as store:
        said["rows"] = [(i, row.tolist()) for i, row in zip(store.row_index.tolist(), store.iter_rows(), strict=True)]
        said["vocabulary"] = store.vocabulary.tokens, store.vocabulary.special.tolist()
        said["count"], said["problems"] = store.token_count.tolist(), sorted(store.problems)
        for layer in store.layers:
            top, pages, s = store.top(layer, "largest"), store.pages(layer), store.statistics(layer)
            assert pages is not None
            whole = [store.page_activations(layer, at) for at in range(len(top.row))]
            arrays = [*vars(top).values(), *vars(pages).values(), store.neurons(layer), *whole]
            arrays += [np.asarray(v) for v in vars(s).values()]
            said[f"layer {layer}"] = [(a.dtype.str, a.tobytes()) for a in map(np.ascontiguousarray, arrays)]
    return said


def same_as_pages(path: Path, pages: list[dict[str, Any]]) -> None:
    """Compare the whole store with the pages' plain values, in a slow loop."""
    texts = {t["index"]: t["tokens"] for page in pages for t in page["texts"]}
    with Store(path) as store:
        vocabulary = store.vocabulary
        assert vocabulary.tokens == sorted({s.encode() for row in texts.values() for s in row})
        assert store.row_index.tolist() == sorted(texts)
        for index in texts:
            assert [vocabulary.tokens[i].decode() for i in store.row(index)] == texts[index]
        assert store.manifest["tokens"] == sum(map(len, texts.values()))
        assert store.token_count.tolist() == [
            sum(row.count(s.decode()) for row in texts.values()) for s in vocabulary.tokens
        ]
        assert store.layers == sorted({page["layer"] for page in pages})
        for layer in store.layers:
            mine = sorted((p for p in pages if p["layer"] == layer), key=lambda p: p["neuron"])
            assert store.neurons(layer).tolist() == [p["neuron"] for p in mine]
            for at, page in enumerate(mine):
                one_neuron(store, layer, at, page)


def one_neuron(store: Store, layer: int, at: int, page: dict[str, Any]) -> None:
    top, lists, s = store.top(layer, "largest"), store.pages(layer), store.statistics(layer)
    assert lists is not None
    ranked = sorted(enumerate(page["texts"]), key=lambda pair: (-max(pair[1]["values"]), pair[1]["index"]))
    n, k = len(ranked), top.row.shape[1]
    assert (top.row[at, n:] == -1).all()
    assert np.isnan(top.activation[at, n:]).all()
    examples = store.examples(layer, page["neuron"])
    whole = store.page_activations(layer, at)
    assert np.isnan(whole[n:]).all()
    for rank, (number, text) in enumerate(ranked):
        values = np.array(text["values"], np.float32)
        peak = int(np.argmax(values))
        assert (top.row[at, rank], top.position[at, rank]) == (text["index"], peak)
        assert top.activation[at, rank] == values[peak]
        assert lists.text[at, rank] == number
        assert lists.largest[at, rank] == round(max(text["values"]), 4)
        assert lists.smallest[at, rank] == round(min(text["values"]), 4)
        assert np.array_equal(whole[rank][: len(values)], values)
        assert np.isnan(whole[rank][len(values) :]).all()
        window = np.full(61, np.nan, np.float32)
        for j in range(61):
            if 0 <= peak - 50 + j < len(values):
                window[j] = values[peak - 50 + j]
        assert np.array_equal(top.window[at, rank], window, equal_nan=True)
        example = examples[rank]
        strings = [store.vocabulary.tokens[i].decode() for i in example.tokens]
        assert strings == text["tokens"][max(peak - 50, 0) : peak + 11]
    best = max(max(t["values"]) for t in page["texts"])
    assert np.float32(store.maxima(layer).activation[at]) == np.float32(best)
    assert lists.trusted[at]
    assert lists.range[at] == round(best, 4)
    x = np.concatenate([np.array(t["values"], np.float32) for t in page["texts"]])
    assert s.count == store.manifest["tokens"]
    assert s.nonfinite[at] == s.count - len(x)
    assert (s.minimum[at], s.maximum[at], s.positive[at]) == (x.min(), x.max(), (x > 0).sum())
    assert s.above[:, at].tolist() == [int((x > np.float32(t)).sum()) for t in (0.1, 0.5, 1, 2)]
    exact = x.astype(np.float64)
    for power in range(1, 5):
        unit = 65536 if power == 4 else 1
        assert (s.whole[power - 1, at] + s.fraction[power - 1, at] / 2**60) * unit == pytest.approx(
            (exact**power).sum(), rel=1e-9, abs=1e-9
        )
    edges, bins = histogram_edges(), np.zeros(96, int)
    for text in page["texts"]:
        own = np.array(text["values"], np.float32)
        places = np.arange(len(own), dtype=np.int32)
        drawn = hashes(np.full(len(own), text["index"]), places, seed=0) < np.uint64(2**60)
        for value in own[drawn].tolist():
            bins[sum(value >= e for e in edges[1:]) if value >= 0 else sum(value > e for e in edges[1:])] += 1
    assert s.histogram[at].tolist() == bins.tolist()
    assert k == max(len(p["texts"]) for p in [page]) or k >= n


def faultless(path: Path) -> None:
    assert [str(f) for f in check(path, progress=False).faults] == []


def own_page(rng, *, layer=2, neuron=7, facts: dict[str, Any] | None = None, texts: int = 3) -> str:
    made = []
    for i in range(texts):
        values = rng.normal(size=40).astype(np.float32)
        made.append(PageText(i, int(values.argmax()), [f" t{j % 7}" for j in range(40)], values))
    made.sort(key=lambda t: -float(t.values.max()))
    return page_text(NeuronPage("m", "d", layer, neuron, made, facts or {}))


FACTS = {"site": "pre", "side": "largest", "dtype": "bfloat16", "bos": "none", "count_bos": False, "subject": "ab",
         "tokenizer": "cd", "d_mlp": [9, 9, 9], "n_layers": 3, "row_length": 40}  # fmt: skip


UNTRUSTED = {
    "solu-6l-pile": {(0, 373), (0, 1445), (0, 2108), (0, 2205), (2, 348), (3, 3043), (5, 70)},
    "pythia-70m": set(),
}
