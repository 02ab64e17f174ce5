"""FORMAT.md names all that a real store holds, and a reader written from it alone sees what `Store` sees."""

import dataclasses
import hashlib
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import h5py
import numpy as np
import pytest

import neurolocal.store
from neurolocal.config import CollectConfig
from neurolocal.corpus import Cursor
from neurolocal.records import CASES, SIDES, TABLES, VERDICTS, Site, histogram_edges, table_of
from neurolocal.store import Store
from neurolocal.store.read_evidence import column_type

FORMAT = Path(neurolocal.store.__file__).with_name("FORMAT.md").read_text(encoding="utf-8")


class Reader:
    """A reader in plain Python, written from the page."""

    def __init__(self, path):
        with h5py.File(path) as opened:
            file: Any = opened
            assert (file.attrs["format"], file.attrs["version"]) == ("neurolocal-store", 1)
            text = file.attrs["manifest"]
            assert file.attrs["manifest_sha256"] == hashlib.sha256(text.encode()).hexdigest()
            self.manifest = json.loads(text)
            self.config = self.manifest["config"]
            self.data: dict[str, Any] = {}
            file.visititems(
                lambda name, place: self.data.update({name: place[()]}) if isinstance(place, h5py.Dataset) else None
            )
        tokens, length, index = (self.data[f"rows/{name}"] for name in ("tokens", "length", "index"))
        self.rows = {int(number): row[:n] for number, row, n in zip(index, tokens, length, strict=True)}
        self.spelled = self.strings("tokenizer/tokens")

    def strings(self, name):
        data, offsets = self.data[f"{name}/bytes"].tobytes(), self.data[f"{name}/offsets"]
        return [data[a:b] for a, b in pairwise(offsets)]

    def examples(self, site, layer, side):
        """Every neuron's examples: (row, position, activation, window's start, token bytes, activations)."""
        base, config = f"collect/{site}/{layer}/{side}", self.config
        activation, row, position, window = (
            self.data[f"{base}/{n}"] for n in ("activation", "row", "position", "window")
        )
        found = []
        for neuron in range(len(row)):
            mine = []
            for i in range(row.shape[1]):
                if row[neuron, i] == -1:
                    break
                ids, at = self.rows[row[neuron, i]], position[neuron, i]
                places = [p for p in range(at - config["before"], at + config["after"] + 1) if 0 <= p < len(ids)]
                values = [window[neuron, i, p - at + config["before"]] for p in places]
                spelled = [self.spelled[ids[p]] for p in places]
                mine.append((row[neuron, i], at, activation[neuron, i], places[0], spelled, values))
            found.append(mine)
        return found

    def places(self):
        return [(site, layer) for site in self.config["sites"] for layer in self.config["layers"]]

    def counted(self, row):
        """The positions of a row that are counted."""
        special, config = self.data["tokenizer/special"], self.config
        return [
            p
            for p, token in enumerate(self.rows[row])
            if not (p == 0 and config["bos"] == "prepend" and not config["count_bos"])
            and not (config["skip_special"] and special[token] and not (p == 0 and config["bos"] == "prepend"))
        ]

    def hash(self, row, position):
        def mix(z):
            z = (z + 0x9E3779B97F4A7C15) % 2**64
            z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
            z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
            return z ^ (z >> 31)

        return mix(mix(mix(self.config["seed"] % 2**64) ^ row) ^ position)


@pytest.fixture(scope="module")
def reader(stories):
    return Reader(stories)


def test_a_reader_written_from_the_page_sees_the_same(stories, reader):
    assert reader.places() == [("post", 1), ("post", 3), ("pre", 1), ("pre", 3)]
    for site, layer in reader.places():
        with Store(stories, site=site) as store:
            assert store.sides(layer) == list(SIDES + CASES if site == "post" else SIDES)
            for side in store.sides(layer):
                theirs = reader.examples(site, layer, side)
                for own, other in zip(store.example_lists(layer, side), theirs, strict=True):
                    for e, (row, position, activation, start, spelled, values) in zip(own, other, strict=True):
                        assert (e.row, e.position, e.activation, e.start) == (row, position, activation, start)
                        assert [store.vocabulary.tokens[t] for t in e.tokens] == spelled
                        assert e.activations.tolist() == values
                        assert e.activations[e.peak] == np.float32(e.activation)
                assert sum(map(len, theirs)) > 100


def test_lists_are_ordered_as_the_page_says(reader):
    for site, layer in reader.places():
        for side in SIDES + (CASES if site == "post" else ()):
            for listed in reader.examples(site, layer, side):
                strengths = [abs(e[2]) if side in CASES else -e[2] if side == "smallest" else e[2] for e in listed]
                keys = [(-s, e[0]) for s, e in zip(strengths, listed, strict=True)]
                assert keys == sorted(keys)
                assert len({e[0] for e in listed}) == len(listed)
                assert all(e[1] in reader.counted(e[0]) for e in listed)


def test_the_sample_is_drawn_as_the_page_says(stories, reader):
    """All rows of this small corpus are kept by some list, so the whole draw can be done again."""
    assert len(reader.rows) == reader.manifest["rows"]
    every = [(row, p) for row in reader.rows for p in reader.counted(row)]
    assert len(every) == reader.manifest["tokens"]
    best = sorted(every, key=lambda at: (reader.hash(*at), at))[: reader.config["sample"]]
    assert list(zip(reader.data["sample/row"], reader.data["sample/position"], strict=True)) == sorted(best)
    drawn = sum(reader.hash(*at) < 2**64 // 16 for at in every)
    assert drawn > 0
    for site, layer in reader.places():
        base = f"collect/{site}/{layer}"
        assert reader.data[f"{base}/statistics/sampled"] == drawn
        assert (reader.data[f"{base}/statistics/histogram"].sum(axis=1) == drawn).all()
        with Store(stories, site=site) as store:
            np.testing.assert_array_equal(store.sampled(layer), reader.data[f"{base}/sample"])
        at_sample = {at: i for i, at in enumerate(sorted(best))}
        seen = 0
        for neuron, listed in enumerate(reader.examples(site, layer, "largest")):
            for row, position, activation, *_ in listed:
                if (int(row), int(position)) in at_sample:
                    assert reader.data[f"{base}/sample"][neuron, at_sample[int(row), int(position)]] == activation
                    seen += 1
        assert seen > 0


def test_statistics_as_the_page_says(stories, reader):
    assert reader.manifest["statistics"] == {"thresholds": [0.1, 0.5, 1.0, 2.0], "histogram_every": 16, "bins": 96}
    for site, layer in reader.places():
        place = {name: reader.data[f"collect/{site}/{layer}/statistics/{name}"] for name in (
            "whole", "fraction", "count", "nonfinite", "mean", "variance", "skewness", "kurtosis"
        )}  # fmt: skip
        n = int(place["count"]) - place["nonfinite"]
        assert ((place["fraction"] >= 0) & (place["fraction"] < 2**60)).all()
        units = [1, 1, 1, 2**16]
        raw = np.array([
            [(int(w) + int(f) / 2**60) * unit for w, f in zip(*pair, strict=True)]
            for unit, *pair in zip(units, place["whole"], place["fraction"], strict=True)
        ]) / n  # fmt: skip
        m, variance = raw[0], raw[1] - raw[0] ** 2
        third, fourth = raw[2] - 3 * m * raw[1] + 2 * m**3, raw[3] - 4 * m * raw[2] + 6 * m**2 * raw[1] - 3 * m**4
        for name, wanted in (
            ("mean", m), ("variance", variance), ("skewness", third / variance**1.5), ("kurtosis", fourth / variance**2)
        ):  # fmt: skip
            np.testing.assert_allclose(place[name], wanted, rtol=1e-6, atol=1e-12)
        with Store(stories, site=site) as store:
            for name in ("mean", "variance", "skewness", "kurtosis"):
                np.testing.assert_array_equal(place[name], getattr(store.statistics(layer), name))
        assert reader.data["corpus/token_count"].sum() == place["count"] == reader.manifest["tokens"]
    for layer in reader.config["layers"]:
        base = f"collect/post/{layer}/cases"
        count, whole, fraction = (reader.data[f"{base}/{name}"] for name in ("count", "whole", "fraction"))
        assert (count.sum(axis=0) == reader.manifest["tokens"]).all()
        np.testing.assert_allclose(reader.data[f"{base}/frequency"], count / count.sum(axis=0))
        some = count > 0
        np.testing.assert_allclose(
            reader.data[f"{base}/mean"][some], ((whole + fraction / 2**60) / np.maximum(count, 1))[some], rtol=1e-9
        )
        everywhere = reader.data[f"collect/post/{layer}/statistics/mean"] * reader.manifest["tokens"]
        np.testing.assert_allclose((whole + fraction / 2**60).sum(axis=0), everywhere, rtol=1e-4, atol=1e-4)


def test_provenance_as_the_page_says(stories, reader):
    offsets, position, record = (reader.data[f"rows/parts/{name}"] for name in ("offsets", "position", "record"))
    assert len(offsets) == len(reader.rows) + 1
    assert [s.decode() for s in reader.strings("rows/parts/subsets")] == [""]
    assert (reader.data["rows/parts/file"] == 0).all()
    with Store(stories) as store:
        np.testing.assert_array_equal(store.parts.record, record)
    texts = [json.loads(line)["text"] for line in stories.with_name("corpus.jsonl").read_text().splitlines()]
    for i, ids in enumerate(reader.rows.values()):
        for part in range(offsets[i], offsets[i + 1]):
            end = position[part + 1] if part + 1 < offsets[i + 1] else len(ids)
            special = reader.data["tokenizer/special"]
            said = b"".join(reader.spelled[t] for t in ids[position[part] : end] if not special[t]).decode()
            at = reader.data["rows/parts/character"][part]
            assert texts[record[part]][at:].startswith(said.lstrip(" ")) or texts[record[part]][at:].startswith(said)


def names(path):
    found: dict[str, h5py.Dataset] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, place: found.update({name: place}) if isinstance(place, h5py.Dataset) else None)
        return {name: (d.dtype.str, d.fletcher32 or not d.size or d.shape == ()) for name, d in found.items()}


def test_the_page_names_every_dataset(stories, store_path):
    said = set(re.findall(r"`([a-z_/0-9]+)`", FORMAT)) | set(re.findall(r"`[a-z_/]+/([a-z_]+)`", FORMAT))
    for path in (stories, store_path):
        found = names(path)
        assert len(found) > 25
        for name, (kind, guarded) in found.items():
            strings = name.removesuffix("/offsets") + "/bytes" in found or name.endswith("/bytes")
            last = (name.rpartition("/")[0] if strings else name).rpartition("/")[2]
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
    assert set(example["corpus"]) == set(manifest["corpus"])
    assert example["statistics"] == manifest["statistics"]
    assert set(example["cursor"]) == set(Cursor().facts())
    types = {"f4": "float32", "f8": "float64", "i4": "int32", "i8": "int64", "u1": "uint8"}
    for stage in TABLES:
        table = table_of(stage)
        page = FORMAT.split(f"`{stage}`: ")[1].split("\n`")[0].split("\n## ")[0]
        for column in dataclasses.fields(table):
            if str(column.type).endswith("Table"):
                continue
            (line,) = [x for x in page.splitlines() if re.match(rf"\| (`\w+`, )*`{column.name}`", x)]
            kind = "strings" if column.type == "list[str]" else types[column_type(column.type)]
            assert line.split("|")[2].strip() == kind, line
    for choice in (*VERDICTS, *SIDES, *CASES, *get_args(Site)):
        assert f"`{choice}`" in FORMAT


def test_the_size_formula(store_path):
    """What the page says of a neuron's bytes is what a layer with everything holds."""
    formula = FORMAT.split("## Size")[1].split("    sides k")[1].split("\n")[0]
    assert (
        formula == " (16 + 4 (before + 1 + after)) + 920 + 4 sample + 160 (sign cases) + 160 bands + 80 + 16 logits "
        "+ 8 (neurons named)"
    )

    def size(sides, k, window, sample, bands, logits, *, cases, named):
        every = sides * k * (16 + 4 * window) + 920 + 4 * sample + 160 * cases
        return every + 160 * bands + 80 + 16 * logits + 8 * named

    assert size(2, 20, 61, 1024, 5, 10, cases=0, named=0) == 16_456
    assert size(6, 20, 61, 1024, 5, 10, cases=1, named=0) == 37_416
    with h5py.File(store_path) as opened:
        file: Any = opened
        place, held = file["collect/post/2"], 0
        sizes: list[int] = []
        place.visititems(
            lambda name, d: sizes.append(d.size * d.dtype.itemsize) if isinstance(d, h5py.Dataset) and d.shape else None
        )
        held = sum(sizes)
        neurons, k, window = place["largest/window"].shape
        sample, logits = place["sample"].shape[1], place["logits/promoted"].shape[1]
        bands = place["bands/row"].shape[2]
    assert held == neurons * size(6, k, window, sample, bands, logits, cases=1, named=1)


def test_the_edges_as_the_page_says():
    up = [m * 2.0**e for e in range(-12, 12) for m in (1, 1.5)][1:]
    assert (len(up), up[0], up[-1]) == (47, 1.5 * 2**-12, 1.5 * 2**11)
    assert histogram_edges().tolist() == [-np.inf, *[-e for e in reversed(up)], 0.0, *up, np.inf]
