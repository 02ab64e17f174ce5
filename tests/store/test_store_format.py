"""FORMAT.md names all that a real store holds, and a reader written from it alone sees what `Store` sees."""

import dataclasses
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import neurolocal.store
from neurolocal.config import CollectConfig
from neurolocal.corpus import Cursor
from neurolocal.records import SIDES, VERDICTS
from neurolocal.store import Store
from neurolocal.store.read import TABLES, column_type

FORMAT = Path(neurolocal.store.__file__).with_name("FORMAT.md").read_text(encoding="utf-8")


def strings(group):
    data, offsets = group["bytes"][()].tobytes(), group["offsets"][()]
    return [data[a:b] for a, b in pairwise(offsets)]


def read_examples(path, layer, side):
    """Every neuron's examples: (row, position, activation, window's start, token bytes, activations)."""
    with h5py.File(path) as opened:
        file: Any = opened
        assert (file.attrs["format"], file.attrs["version"]) == ("neurolocal-store", 1)
        config = json.loads(file.attrs["manifest"])["config"]
        tokens, length, index = (file[f"rows/{name}"][()] for name in ("tokens", "length", "index"))
        rows = {number: row[:n] for number, row, n in zip(index, tokens, length, strict=True)}
        spelled = strings(file["tokenizer/tokens"])
        base = file[f"collect/{config['site']}/{layer}/{side}"]
        activation, row, position, window = (base[n][()] for n in ("activation", "row", "position", "window"))
        found = []
        for neuron in range(len(row)):
            mine = []
            for i in range(row.shape[1]):
                if row[neuron, i] == -1:
                    break
                ids, at = rows[row[neuron, i]], position[neuron, i]
                places = [p for p in range(at - config["before"], at + config["after"] + 1) if 0 <= p < len(ids)]
                values = [window[neuron, i, p - at + config["before"]] for p in places]
                mine.append(
                    (row[neuron, i], at, activation[neuron, i], places[0], [spelled[ids[p]] for p in places], values)
                )
            found.append(mine)
        return found


@pytest.mark.parametrize("side", SIDES)
def test_a_reader_written_from_the_page_sees_the_same(stories, side):
    with Store(stories) as store:
        for layer in store.layers:
            theirs = read_examples(stories, layer, side)
            for own, other in zip(store.example_lists(layer, side), theirs, strict=True):
                assert len(own) > 0
                for e, (row, position, activation, start, spelled, values) in zip(own, other, strict=True):
                    assert (e.row, e.position, e.activation, e.start) == (row, position, activation, start)
                    assert [store.vocabulary.tokens[t] for t in e.tokens] == spelled
                    assert e.activations.tolist() == values
                    assert e.activations[e.peak] == np.float32(e.activation)


def test_statistics_as_the_page_says(stories):
    with h5py.File(stories) as opened, Store(stories) as store:
        file: Any = opened
        for layer in store.layers:
            place = file[f"collect/post/{layer}/statistics"]
            exact = [[int(w) + int(f) / 2**60 for w, f in zip(*pair, strict=True)] for pair in zip(
                place["whole"][()], place["fraction"][()], strict=True
            )]  # fmt: skip
            n = int(place["count"][()]) - place["nonfinite"][()]
            assert (place["fraction"][()] >= 0).all()
            assert (place["fraction"][()] < 2**60).all()
            np.testing.assert_allclose(np.array(exact[0]) / n, place["mean"][()], rtol=1e-12, atol=1e-15)
            np.testing.assert_array_equal(place["mean"][()], store.statistics(layer).mean)
            np.testing.assert_array_equal(place["variance"][()], store.statistics(layer).variance)
            assert file["corpus/token_count"][()].sum() == place["count"][()] == store.manifest["tokens"]


def names(path):
    found: dict[str, h5py.Dataset] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, place: found.update({name: place}) if isinstance(place, h5py.Dataset) else None)
        return {name: (d.dtype.str, d.fletcher32 or not d.size or d.shape == ()) for name, d in found.items()}


def test_the_page_names_every_dataset(stories, store_path):
    said = set(re.findall(r"`([a-z_/0-9]+)`", FORMAT)) | set(re.findall(r"`[a-z]+/([a-z_]+)`", FORMAT))
    for path in (stories, store_path):
        found = names(path)
        assert len(found) > 25
        for name, (kind, guarded) in found.items():
            last = re.sub(r"/(bytes|offsets)$", "", name).rpartition("/")[2]
            assert last in said, name
            assert kind[0] in "<|", name
            assert guarded, name
    assert {"bytes", "offsets", "substitutes/"} <= said


def test_the_page_names_every_key_column_and_choice(stories):
    with Store(stories) as store:
        manifest = store.manifest
    example = json.loads(FORMAT.split("```json")[1].split("```")[0])
    assert set(example) == set(manifest)
    for part in ("subject", "tokenizer", "corpus", "config", "versions", "cursor"):
        assert set(example[part]) == set(manifest[part]), part
    assert set(example["config"]) == {f.name for f in dataclasses.fields(CollectConfig)}
    assert set(example["cursor"]) == set(Cursor().facts())
    types = {"f4": "float32", "f8": "float64", "i4": "int32", "i8": "int64", "u1": "uint8"}
    for stage, table in TABLES.items():
        page = FORMAT.split(f"`{stage}`: ")[1].split("\n`")[0].split("\n## ")[0]
        for column in dataclasses.fields(table):
            if column.type == "SubstituteTable":
                continue
            (line,) = [x for x in page.splitlines() if re.match(rf"\| (`\w+`, )*`{column.name}`", x)]
            kind = "strings" if column.type == "list[str]" else types[column_type(column.type)]
            assert line.split("|")[2].strip() == kind, line
    for choice in (*VERDICTS, *SIDES):
        assert f"`{choice}`" in FORMAT


def test_the_size_formula(store_path):
    k, before, after = 20, 50, 10
    assert 2 * k * (16 + 4 * (before + 1 + after)) + 72 == 10_472
    with h5py.File(store_path) as opened:
        file: Any = opened
        place = file["collect/post/2"]
        held = 0
        for group in place.values():
            held += sum(d.size * d.dtype.itemsize for d in group.values() if d.shape)
        neurons, k, window = place["largest/window"].shape
        assert held == neurons * (2 * k * (16 + 4 * window) + 72)
