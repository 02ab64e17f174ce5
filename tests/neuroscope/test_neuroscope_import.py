"""Pages -> a store: what is in it is what the pages say, by a slow twin; and what an import leaves behind."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_twins import HOSTILE, page_html, random_page
from small_run import neurolocal

from neurolocal.collect.sample import hashes
from neurolocal.config import SimilarityConfig
from neurolocal.errors import StoreError
from neurolocal.neuroscope.export.neuron_page import NeuronPage, PageText, page_text
from neurolocal.neuroscope.imports.from_pages import import_pages
from neurolocal.neuroscope.imports.kinds import import_any
from neurolocal.pipeline.stages import run_stage
from neurolocal.pipeline.workspace import Workspace
from neurolocal.records import histogram_edges
from neurolocal.store import Store, find
from neurolocal.store.check import check

LENGTH = 80
ENGLISH = ["cat", "dog", "ball", "tree", "lake", "fish", "frog", "cake", "milk", "food", "park", "sun"]


def silent(line: str) -> None:
    """Takes what an import says."""


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
    """What a store says, without what the paths are called."""
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
    """The slow twin: everything that the store says, from the pages' plain values."""
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


def test_a_store_says_what_the_pages_say(tmp_path, rng):
    pages = corpus(rng, 15, words=HOSTILE)
    pages[0]["texts"] = pages[0]["texts"][:2]
    found = load([write(tmp_path / "pages", pages)], tmp_path / "a.h5")
    assert found.problems == []
    assert (found.pages, found.texts) == (len(pages), sum(len(p["texts"]) for p in pages))
    same_as_pages(tmp_path / "a.h5", pages)
    faultless(tmp_path / "a.h5")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5", "pages"]


def test_rows_of_other_lengths_and_pages_with_no_bos(tmp_path, rng):
    pages = [random_page(rng, neuron=i, texts=4, length=n, first=10 * i) for i, n in enumerate((1, 3, 61, 200))]
    for page in pages[:2]:
        for text in page["texts"]:
            text["tokens"][0] = " A"
    load([write(tmp_path / "pages", pages)], tmp_path / "a.h5")
    same_as_pages(tmp_path / "a.h5", pages)
    faultless(tmp_path / "a.h5")
    with Store(tmp_path / "a.h5") as store:
        assert store.manifest["config"]["bos"] == "none"
        assert store.manifest["config"]["row_length"] == 200


def test_a_dead_neuron_whose_rounded_values_tie(tmp_path, rng):
    """The page's token index is of the unrounded values: it need not be the first of those that look alike."""
    page = random_page(rng, texts=3, length=90)
    for text in page["texts"]:
        text["values"] = [0.0] * 90
        text["values"][40] = 1e-9  # what the twin takes the position from
    at = page_html(page).replace("1e-09", "0.0")
    path = tmp_path / "6" / "159.html"
    path.parent.mkdir()
    path.write_text(at, encoding="utf-8")
    found = load([path], tmp_path / "a.h5")
    assert found.problems == []
    with Store(tmp_path / "a.h5") as store:
        assert store.top(6, "largest").position[0].tolist() == [40] * 3
        assert store.maxima(6).activation.tolist() == [0]
    faultless(tmp_path / "a.h5")


def test_other_folders_names_orders_and_numbers_of_processes_give_the_same(tmp_path, rng):
    pages = corpus(rng, 30, words=HOSTILE, neurons=20)
    whole = write(tmp_path / "one", pages)
    load([whole], tmp_path / "one.h5", processes=1)
    wanted = everything(tmp_path / "one.h5")
    load([whole], tmp_path / "two.h5", processes=2)
    assert everything(tmp_path / "two.h5") == wanted
    assert (tmp_path / "two.h5").read_bytes() == (tmp_path / "one.h5").read_bytes()
    order = rng.permutation(len(pages)).tolist()
    files = []
    for i, j in enumerate(order):
        files.append(tmp_path / "any" / f"{i}-page.htm")
        files[-1].parent.mkdir(exist_ok=True)
        files[-1].write_text(page_html(pages[j]).replace("\n", "\r\n"), encoding="utf-8", newline="")
    load(files, tmp_path / "three.h5")
    assert everything(tmp_path / "three.h5") == wanted
    halves = [write(tmp_path / f"half{i}", pages[i::2]) for i in (1, 0)]
    load([*halves, whole / "1"], tmp_path / "four.h5")
    assert everything(tmp_path / "four.h5") == wanted
    same_as_pages(tmp_path / "four.h5", pages)


def test_the_same_page_in_two_files(tmp_path, rng):
    pages = corpus(rng, 15, words=HOSTILE)
    load([write(tmp_path / "a", pages)], tmp_path / "one.h5")
    write(tmp_path / "b", pages[:2])
    found = load([tmp_path / "a", tmp_path / "b"], tmp_path / "two.h5")
    assert (found.doubled, found.problems, found.pages) == (2, [], len(pages))
    assert everything(tmp_path / "two.h5") == everything(tmp_path / "one.h5")
    other = json.loads(json.dumps(pages[0]))
    other["texts"][1]["values"][0] += 0.25
    write(tmp_path / "c", [other])
    found = load([tmp_path / "a", tmp_path / "c"], tmp_path / "three.h5")
    assert found.doubled == 0
    (problem,) = found.problems
    assert "an earlier file has other texts of this neuron" in problem
    assert f"{pages[0]['neuron']}.html" in problem
    with Store(tmp_path / "three.h5") as store:
        assert store.problems == [problem]


def test_rows_that_do_not_agree_are_left_out_by_name(tmp_path, rng):
    pages = corpus(rng, 6, words=["a", "b"], layers=(2,), neurons=2, texts=5)
    shared = {t["index"] for t in pages[0]["texts"]} & {t["index"] for t in pages[1]["texts"]}
    _, second = sorted(pages, key=lambda p: p["neuron"])
    wrong = next(i for i, t in enumerate(second["texts"]) if t["index"] in shared)
    second["texts"][wrong]["tokens"] = [*second["texts"][wrong]["tokens"][:-1], "other"]
    found = load([write(tmp_path / "p", pages)], tmp_path / "a.h5")
    index = second["texts"][wrong]["index"]
    assert found.problems == [
        f"2/{second['neuron']}.html: text {wrong}: an earlier page has another text at data index {index}; "
        "this one is left out"
    ]
    del second["texts"][wrong]
    with Store(tmp_path / "a.h5") as store:
        assert b"other" not in store.vocabulary.tokens
        assert len(store.examples(2, second["neuron"])) == 4
    faultless(tmp_path / "a.h5")


def test_a_data_index_twice_on_a_page_and_of_two_data_sets(tmp_path, rng):
    pages = [random_page(rng, neuron=i, texts=3, words=["a"]) for i in range(2)]
    pages[0]["texts"][2]["index"] = pages[0]["texts"][1]["index"]
    pages[1]["dataset"] = "code"
    found = load([write(tmp_path / "p", pages)], tmp_path / "a.h5")
    assert len(found.problems) == 3
    assert "0.html: text 2: data index 1 is there twice" in found.problems[0]
    assert "(of pile)" in found.problems[1]
    faultless(tmp_path / "a.h5")


@pytest.mark.parametrize("windows_first", [True, False])
def test_windows_and_whole_texts_of_one_row_are_put_together(tmp_path, rng, windows_first):
    pages = corpus(rng, 8, words=HOSTILE, layers=(2,), neurons=2, texts=8, length=200)
    pages.sort(key=lambda p: p["neuron"])
    load([write(tmp_path / "p", pages, full=lambda i: i == windows_first)], tmp_path / "a.h5")
    with Store(tmp_path / "a.h5") as store:
        for page in pages:
            for text in page["texts"]:
                row = [store.vocabulary.tokens[i].decode() for i in store.row(text["index"])]
                assert row == text["tokens"]
        assert b"" not in store.vocabulary.tokens or "" in {s for p in pages for t in p["texts"] for s in t["tokens"]}
        whole = store.page_activations(2, 0 if windows_first else 1)
        assert np.isnan(whole).any()
        assert not np.isnan(store.page_activations(2, 1 if windows_first else 0)).any()
    faultless(tmp_path / "a.h5")


def test_windows_alone_leave_unknown_tokens(tmp_path, rng):
    pages = [random_page(rng, neuron=i, texts=5, length=200, first=5 * i) for i in range(3)]
    load([write(tmp_path / "p", pages, full=lambda i: False)], tmp_path / "a.h5")
    with Store(tmp_path / "a.h5") as store:
        assert store.vocabulary.tokens[-1] == b""
        assert store.vocabulary.special[-1]
        for page in pages:
            for text in page["texts"]:
                at = int(np.argmax(text["values"]))
                row = [store.vocabulary.tokens[i].decode() for i in store.row(text["index"])]
                low, high = max(at - 50, 0), min(at + 11, 200)
                assert row == [""] * low + text["tokens"][low:high]
    faultless(tmp_path / "a.h5")


def test_pages_of_two_models(tmp_path, rng):
    mine = corpus(rng, 15, words=HOSTILE)
    other = corpus(rng, 15, words=["only", "there"], model="gelu-4l")
    write(tmp_path / "p" / "a", mine)
    write(tmp_path / "p" / "b", other)
    with pytest.raises(StoreError, match=r"'gelu-4l'.*'solu-8l-pile'.*--model NAME"):
        load([tmp_path / "p"], tmp_path / "a.h5")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p"]
    for name, pages, site in (("solu-8l-pile", mine, "mid"), ("gelu-4l", other, "post")):
        load([tmp_path / "p"], tmp_path / "a.h5", model=name)
        same_as_pages(tmp_path / "a.h5", pages)
        faultless(tmp_path / "a.h5")
        with Store(tmp_path / "a.h5") as store:
            assert store.sites == (site,)
    with pytest.raises(StoreError, match="not one text could be read"):
        load([tmp_path / "p"], tmp_path / "a.h5", model="gpt2")


def test_a_page_that_does_not_say_its_model(tmp_path, rng):
    pages = corpus(rng, 15, words=HOSTILE)
    folder = write(tmp_path / "p", pages)
    last = max(folder.rglob("*.html"), key=lambda p: (p.parent.name, int(p.stem)))
    last.write_text(last.read_text(encoding="utf-8").replace("<h1>Model: solu-8l-pile</h1>", ""), encoding="utf-8")
    (folder / "4" / "60.html").write_bytes(b"")
    for model in (None, "solu-8l-pile"):
        found = load([folder], tmp_path / "a.h5", model=model)
        assert [p.split(": ")[1][:22] for p in found.problems] == ["it does not say which ", "it ends before its fir"]
        assert found.pages == len(pages) - 1
        faultless(tmp_path / "a.h5")


def test_nothing_to_import(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "index.html").write_text("<html>")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "3.html").write_text("<html>")
    (tmp_path / "folder" / "2" / "3.html").mkdir(parents=True)
    for path, why in (
        ("absent", "no such file"), ("empty", "no page in there"), ("damaged", "not one text"), ("folder", "no page")
    ):  # fmt: skip
        with pytest.raises(StoreError, match=why):
            load([tmp_path / path], tmp_path / "a.h5")
    assert not (tmp_path / "a.h5").exists()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_where_nothing_can_be_written_nothing_is_touched(tmp_path, rng):
    folder = write(tmp_path / "p", corpus(rng, 40, words=HOSTILE, length=300))
    (tmp_path / "out").mkdir()
    out = tmp_path / "out" / "a.h5"
    out.write_bytes(b"what was there")
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    load([folder], tmp_path / "whole.h5")
    size = (tmp_path / "whole.h5").stat().st_size
    for limit in (1000, size // 20, size // 5, size // 2, size - 100):  # in a spool, the table of rows, the store
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
        try:
            with pytest.raises(StoreError, match=r"writing .*a\.h5: .*untouched") as caught:
                load([folder], out, processes=1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
        assert "\n" not in str(caught.value)
        assert out.read_bytes() == b"what was there"
        assert [p.name for p in out.parent.iterdir()] == ["a.h5"]
    with pytest.raises(StoreError, match=r"writing .*a\.h5/b\.h5: .*untouched"):
        load([folder], out / "b.h5")
    with pytest.raises(StoreError, match=r"writing .*untouched"):
        load([folder], Path("/proc/neurolocal/b.h5"))
    load([folder], out)
    faultless(out)
    assert [p.name for p in out.parent.iterdir()] == ["a.h5"]


@pytest.mark.slow
def test_a_full_disk(tmp_path, rng):
    """A real one, where a write into a mapped file would kill the process."""
    place = tmp_path / "small"
    place.mkdir()
    folder = write(tmp_path / "p", corpus(rng, 200, words=HOSTILE, length=900, neurons=4))
    load([folder], tmp_path / "whole.h5")
    (tmp_path / "few.html").write_text(page_html(random_page(rng, texts=2, length=20)), encoding="utf-8")
    load([tmp_path / "few.html"], tmp_path / "few.h5")
    before = (tmp_path / "few.h5").read_bytes()
    failed = 0
    whole = (tmp_path / "whole.h5").stat().st_size // 1024
    for size in (whole // 5, whole // 3, whole // 2, whole):
        assert size > 2 * len(before) / 1024
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", place], capture_output=True, check=False
        )
        if mounted.returncode:
            pytest.skip("this user cannot mount a small disk")
        try:
            (place / "a.h5").write_bytes(before)
            done = neurolocal("neuroscope", "import", folder, "--out", place / "a.h5", cwd=tmp_path)
            if done.returncode:
                failed += 1
                assert (done.returncode, "untouched" in done.stderr) == (1, True), done.stderr
                assert (place / "a.h5").read_bytes() == before
            assert [p.name for p in place.iterdir()] == ["a.h5"]
        finally:
            subprocess.run(["umount", place], check=True)
    assert failed == 4


def test_a_file_name_that_is_no_unicode(tmp_path, rng):
    folder = write(tmp_path / "p", corpus(rng, 15, words=HOSTILE))
    with open(os.fsencode(folder) + b"/bad\xff\n.html", "wb") as file:  # noqa: PTH123
        file.write(b"<html>")
    found = load([folder], tmp_path / "a.h5")
    assert len(found.problems) == 1
    with Store(tmp_path / "a.h5") as store:
        assert len(store.problems) == 1
        assert "no heading" in store.problems[0]
    json.loads(found.json())
    faultless(tmp_path / "a.h5")


def own_page(rng, *, layer=2, neuron=7, facts: dict[str, Any] | None = None, texts: int = 3) -> str:
    made = []
    for i in range(texts):
        values = rng.normal(size=40).astype(np.float32)
        made.append(PageText(i, int(values.argmax()), [f" t{j % 7}" for j in range(40)], values))
    made.sort(key=lambda t: -float(t.values.max()))
    return page_text(NeuronPage("m", "d", layer, neuron, made, facts or {}))


FACTS = {"site": "pre", "side": "largest", "dtype": "bfloat16", "bos": "none", "count_bos": False, "subject": "ab",
         "tokenizer": "cd", "d_mlp": [9, 9, 9], "n_layers": 3, "row_length": 40}  # fmt: skip


def test_our_own_pages_say_how_they_were_made(tmp_path, rng):
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / "a.html").write_text(own_page(rng, facts=FACTS))
    (folder / "b.html").write_text(own_page(rng, neuron=8, facts=FACTS))
    found = load([folder], tmp_path / "a.h5")
    assert found.problems == []
    faultless(tmp_path / "a.h5")
    with Store(tmp_path / "a.h5") as store:
        assert store.sites == ("pre",)
        assert store.manifest["config"]["dtype"] == "bfloat16"
        assert store.manifest["subject"] | {"d_vocab": 0} == {
            "name": "m", "path": "", "sha256": "ab", "n_layers": 3, "d_mlp": [9, 9, 9], "d_vocab": 0
        }  # fmt: skip
    (folder / "b.html").write_text(own_page(rng, neuron=8, facts=FACTS | {"dtype": "float32"}))
    with pytest.raises(StoreError, match="pages of one export"):
        load([folder], tmp_path / "a.h5")
    (folder / "b.html").write_text(own_page(rng, neuron=8, facts=FACTS | {"side": "smallest"}))
    with pytest.raises(StoreError, match="smallest"):
        load([folder], tmp_path / "a.h5")


@pytest.mark.parametrize(
    "strange",
    [{"special": 5}, {"special": [1]}, {"site": []}, {"side": {}}, {"dtype": "int8"}, {"bos": 3}, {"count_bos": "yes"},
     {"n_layers": 10**30}, {"n_layers": -1}, {"d_mlp": "a"}, {"d_mlp": 9}, {"d_mlp": [1, "a", 2]}, {"subject": 7},
     {"subject": "\u20ac"}],
)  # fmt: skip
def test_hostile_notes_on_how_a_page_was_made(tmp_path, rng, strange):
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / "a.html").write_text(own_page(rng, facts=FACTS))
    (folder / "b.html").write_text(own_page(rng, neuron=8, facts=FACTS | strange))
    found = load([folder], tmp_path / "a.h5")
    assert found.problems == [f"b.html: what it says of its making is damaged ({next(iter(strange))}); it is left out"]
    faultless(tmp_path / "a.h5")


def test_everything_else_works_on_it(tmp_path, rng):
    """Find, similarity, and what the command line prints."""
    words = [f" {w}" for w in ENGLISH]
    pages = corpus(rng, 15, words=words)
    write(tmp_path / "pages", pages)
    (tmp_path / "pages" / "1" / "77.html").write_text("<html>")
    vectors = [f"{w} {' '.join(f'{x:.4f}' for x in rng.normal(size=8))}" for w in ENGLISH]
    (tmp_path / "vectors.txt").write_text("\n".join(vectors) + "\n")
    said: list[str] = []
    import_any([tmp_path / "pages"], tmp_path / "a.h5", say=said.append, bar=False)
    assert "  1/77.html: it ends before its first text" in said
    with Store(tmp_path / "a.h5") as store:
        for word in ENGLISH[:4]:
            peaks = {
                (p["layer"], p["neuron"])
                for p in pages
                for t in p["texts"]
                if t["tokens"][int(np.argmax(t["values"]))] == f" {word}"
            }
            hits = find(store, word, word=True) if peaks else []
            assert {(h.layer, h.neuron) for h in hits} == peaks
    run_stage("similarity", 
        Workspace(tmp_path / "a.h5", layers=(1, 4), vectors=str(tmp_path / "vectors.txt"), device="cpu", bar=False,
              sides=("largest",), say=silent),
        SimilarityConfig(draws=30),
    )  # fmt: skip
    with Store(tmp_path / "a.h5") as store:
        table = store.evidence("similarity", 4)
        assert table.neuron.tolist() == store.neurons(4).tolist()
        assert np.isfinite(table.score).any()
    faultless(tmp_path / "a.h5")
    neuron = pages[0]["neuron"]
    shown = neurolocal("show", "a.h5", pages[0]["layer"], neuron, cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert f"{max(pages[0]['texts'][0]['values']):.2f}"[:4] in shown.stdout
    report = neurolocal("report", "a.h5", "--json", cwd=tmp_path)
    assert report.returncode == 0, report.stderr
    assert {(n["layer"], n["neuron"]) for n in json.loads(report.stdout)["neurons"]} == {
        (p["layer"], p["neuron"]) for p in pages
    }
    again = neurolocal("neuroscope", "import", "pages", "--out", "b.h5", "--json", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["pages"] == len(pages)


def test_only_an_import_is_replaced(tmp_path, rng):
    write(tmp_path / "pages", corpus(rng, 15, words=HOSTILE))
    shutil.copy(next((tmp_path / "pages" / "1").iterdir()), tmp_path / "x.html")
    before = (tmp_path / "x.html").read_bytes()
    with pytest.raises(StoreError, match="the file exists and is no import"):
        import_any([tmp_path / "x.html"], tmp_path / "x.html", say=silent, bar=False)
    assert (tmp_path / "x.html").read_bytes() == before
    for _ in range(2):
        import_any([tmp_path / "x.html"], tmp_path / "a.h5", say=silent, bar=False)


UNTRUSTED = {
    "solu-6l-pile": {(0, 373), (0, 1445), (0, 2108), (0, 2205), (2, 348), (3, 3043), (5, 70)},
    "pythia-70m": set(),
}


@pytest.mark.parametrize(("name", "site"), [("pythia-70m", "post"), ("solu-6l-pile", "mid")])
def test_the_published_lists_of_maxima(fixtures, tmp_path, name, site):
    path, out = fixtures / "neuroscope" / "max-activations" / f"{name}.json", tmp_path / "a.h5"
    listed, said = json.loads(path.read_text()), []
    found = import_any([path], out, say=said.append)
    assert len(found.problems) == len(UNTRUSTED[name])
    faultless(out)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5"]
    with Store(out) as store:
        assert (store.sites, store.layers) == ((site,), list(range(len(listed))))
        assert store.manifest["subject"]["name"] == name
        for layer, values in enumerate(listed):
            maxima, pages = store.maxima(layer), store.pages(layer)
            assert pages is not None
            wanted = np.array(values, np.float64)
            doubted = [n for at, n in UNTRUSTED[name] if at == layer]
            assert sorted(np.flatnonzero(~pages.trusted).tolist()) == sorted(doubted)
            wanted[doubted] = np.nan
            assert np.array_equal(maxima.activation, wanted, equal_nan=True)
            assert maxima.neuron.tolist() == list(range(len(values)))
            assert (store.top(layer, "largest").row == -1).all()
