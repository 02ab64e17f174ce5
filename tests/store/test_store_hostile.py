"""Stores that are cut, flipped, forged or made to lead out of the file: a StoreError of one line, or equal content."""

import dataclasses
import hashlib
import json

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_twins import evidence, made_up

from neurolocal.errors import StoreError
from neurolocal.records import TABLES
from neurolocal.store import Store, add_evidence, write, write_collected


def plain(value):
    """Any record as plain comparable values; NaN becomes text."""
    if dataclasses.is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {name: plain(v) for name, v in value.items()}
    return value


def everything(path):
    """Whatever a store can be asked for."""
    said = []
    with Store(path) as store:
        sites = store.sites
        said += [store.manifest, sites, plain(store.vocabulary), plain(store.token_count), plain(store.row_index)]
        said += [plain(store.rows_stored), plain(store.rest()), plain(store.parts.columns()), plain(store.sample)]
        said += [plain(row) for row in store.iter_rows()]
    for site in sites:
        with Store(path, site=site) as store:
            for layer in store.layers:
                neurons = store.neurons(layer)
                said += [plain(neurons), plain(store.record(layer))]
                for side in store.sides(layer):
                    said += [plain(store.example_lists(layer, side)), plain(store.subsets(layer, side))]
                    said += [plain(store.examples(layer, int(n), side)) for n in neurons]
                    for stage in TABLES:
                        said += [store.inputs(stage, layer, side), plain(store.evidence(stage, layer, side))]
    return said


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A store's bytes and all that it says."""
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("whole") / "a.h5"
    write_collected(path, made_up(rng, cases=True, effects=True, sites=("post", "pre")))
    add_evidence(path, evidence(rng), site="post")
    return path.read_bytes(), everything(path)


def refused_or_equal(path, content, wanted):
    path.write_bytes(content)
    try:
        said = everything(path)
    except StoreError as error:
        said = str(error)
    if isinstance(said, str):
        assert str(path) in said
        assert "again" in said
        assert "\n" not in said
    else:
        assert said == wanted
    return isinstance(said, str)


def test_cut_at_any_place(whole, tmp_path):
    content, wanted = whole
    for n in np.linspace(0, len(content) - 1, 50, dtype=int):
        assert refused_or_equal(tmp_path / "cut.h5", content[:n], wanted)


@settings(max_examples=60, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_flipped_bit(whole, tmp_path_factory, place, bit):
    content, wanted = bytearray(whole[0]), whole[1]
    content[int(place * len(content))] ^= 1 << bit
    refused_or_equal(tmp_path_factory.mktemp("flip") / "a.h5", bytes(content), wanted)


@settings(max_examples=15, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), junk=st.binary(min_size=4, max_size=200))
def test_a_torn_page(whole, tmp_path_factory, place, junk):
    content, wanted = bytearray(whole[0]), whole[1]
    at = int(place * (len(content) - len(junk)))
    content[at : at + len(junk)] = junk
    refused_or_equal(tmp_path_factory.mktemp("torn") / "a.h5", bytes(content), wanted)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "version",
            np.int64(2),
            "of version 2, this program reads version 1. Use the neurolocal that wrote it",
        ),
        ("version", [1, 2], "a store of version"),
        ("version", "1", "a store of version"),
        ("format", "other", "no neurolocal store (its attribute `format` is 'other'). Give a file made by"),
        ("format", ["neurolocal-store"] * 2, "no neurolocal store"),
        ("format", h5py.Empty("f4"), "no neurolocal store"),
        ("manifest", "{", "the attribute manifest of / cannot be read"),
        ("manifest", "[" * 100_000, "the attribute manifest of / cannot be read"),
        ("manifest", "[]", "the attribute manifest of / is no JSON object"),
        ("manifest", "{}", "the manifest lacks subject, tokenizer"),
        ("manifest", np.arange(3), "the attribute manifest of / "),
    ],
)
def test_other_header(store_path, name, value, message):
    with h5py.File(store_path, "r+") as file:
        file.attrs[name] = value
        if isinstance(value, str):
            file.attrs["manifest_sha256"] = hashlib.sha256(str(file.attrs["manifest"]).encode()).hexdigest()
    with pytest.raises(StoreError) as caught:
        everything(store_path)
    assert message in str(caught.value)
    assert str(store_path) in str(caught.value)


@pytest.mark.parametrize("name", ["manifest", "inputs"])
def test_what_a_string_says_has_a_hash(store_path, name):
    with h5py.File(store_path, "r+") as file:
        place = file["verdict/post/2/largest"] if name == "inputs" else file
        place.attrs[name] = str(place.attrs[name]).replace("k", "l")
    with pytest.raises(StoreError, match=f"the attribute {name} of /.* does not have its SHA-256"):
        everything(store_path)


def test_statistics_by_other_conventions(store_path):
    with h5py.File(store_path, "r+") as file:
        manifest = json.loads(str(file.attrs["manifest"]))
        write.put_json(file, "manifest", manifest | {"statistics": {"thresholds": [1.0], "histogram_every": 16}})
    with Store(store_path) as store, pytest.raises(StoreError, match="the manifest's statistics are"):
        store.statistics(2)


def test_no_store_at_all(tmp_path):
    with pytest.raises(StoreError, match=r"no such file. Make it with `neurolocal collect`"):
        Store(tmp_path / "none.h5")
    (tmp_path / "a.h5").write_text("not HDF5")
    with pytest.raises(StoreError, match=r"no whole HDF5 file. Copy it again"):
        Store(tmp_path / "a.h5")
    h5py.File(tmp_path / "b.h5", "w").close()
    with pytest.raises(StoreError, match="`format` is None"):
        Store(tmp_path / "b.h5")


LIST, STATISTICS = "collect/post/2/largest", "collect/post/2/statistics"
EVIDENCE = "verdict/post/2/largest"
FORGED = {
    "big-endian": (f"{LIST}/activation", lambda old: old.astype(">f4"), "is of type >f4"),
    "float64": (f"{LIST}/activation", lambda old: old.astype("f8"), "is of type float64, expected f4"),
    "three dimensions": (f"{LIST}/row", lambda old: old[:, :, None], "has 3 dimensions, expected 2"),
    "another k": (f"{LIST}/row", lambda old: old[:, 1:], "differ in shape"),
    "another window": (f"{LIST}/window", lambda old: old[:, :, 1:], "not as long as the manifest says"),
    "a hole": (f"{LIST}/row", lambda old: np.where(np.arange(old.size).reshape(old.shape) == 0, -1, 1), "have holes"),
    "no activation": (f"{LIST}/activation", lambda old: old * np.nan, "have holes"),
    "unknown row": (f"{LIST}/row", lambda old: np.where(old < 0, -1, 77), "row 77, which is not in rows/index"),
    "behind the row": (f"{LIST}/position", lambda old: np.where(old < 0, old, 9), "stands at position 9 of row"),
    "before the row": (f"{LIST}/position", lambda old: np.where(old < 0, old, -2), "stands before its row"),
    "index falls": ("rows/index", lambda old: old[::-1], "does not ascend"),
    "index wraps": ("rows/index", lambda old: np.array([2**62, -(2**62) - 9, 5, 6, 7]), "does not ascend"),
    "long row": ("rows/length", lambda old: old + 9, "rows/length is outside the rows"),
    "rows missing": ("rows/tokens", lambda old: old[1:], "rows/tokens has 4 rows, rows/index 5"),
    "signed tokens": ("rows/tokens", lambda old: old.astype("i2"), "no table of uint16 or uint32"),
    "token ids": ("rows/tokens", lambda old: old + 4, "the vocabulary 4 tokens"),
    "offsets": ("tokenizer/tokens/offsets", lambda old: old[::-1], "offsets does not fit"),
    "offsets wrap": (
        "tokenizer/tokens/offsets",
        lambda old: np.array([0, 2**62, -(2**62), 5, 6]),
        "does not fit",
    ),
    "special": ("tokenizer/special", lambda old: old[1:], "has the shape (3,), expected (4,)"),
    "counts": (f"{STATISTICS}/positive", lambda old: old + 99, "counts more positions than there were"),
    "sums": (f"{STATISTICS}/whole", lambda old: old[:1], "has the shape (1, 4), expected (4, 4)"),
    "strings": ("rows/index", lambda old: np.array([b"a"] * 5), "is of type |S1"),
    "float rank": (f"{EVIDENCE}/rank", lambda old: old.astype("f8"), "rank is of type float64, expected i8"),
    "other neurons": (f"{EVIDENCE}/neuron", lambda old: old + 9, "neurons that layer does not have"),
    "negative neuron": (f"{EVIDENCE}/neuron", lambda old: old - 1, "neurons that layer does not have"),
    "short column": (f"{EVIDENCE}/score", lambda old: old[1:], "differ in length"),
    "verdict": (f"{EVIDENCE}/verdict/bytes", lambda old: old[::-1], "unknown verdict"),
    "above": (f"{STATISTICS}/above", lambda old: old + 99, "counts more positions than there were"),
    "thresholds": (f"{STATISTICS}/above", lambda old: old[1:], "has the shape (3, 4), expected (4, 4)"),
    "bins": (f"{STATISTICS}/histogram", lambda old: old[:, 1:], "has the shape (4, 95), expected (4, 96)"),
    "histogram": (f"{STATISTICS}/histogram", lambda old: old + 1, "counts more positions than were drawn"),
    "histogram wraps": (f"{STATISTICS}/histogram", lambda old: old + 2**62, "counts more positions than were drawn"),
    "sampled": (f"{STATISTICS}/sampled", lambda old: np.int64(99), "counts more positions than were drawn"),
    "sample falls": ("sample/row", lambda old: old[::-1], "sample is not in order"),
    "sample twice": ("sample/position", lambda old: old * 0, "sample is not in order"),
    "sampled activations": ("collect/post/2/sample", lambda old: old[:, 1:], "has the shape (4, 5), expected (4, 6)"),
    "case counts": ("collect/post/2/cases/count", lambda old: old - 9, "cases/count is negative"),
    "case lists": ("collect/post/2/gate+_in-/row", lambda old: old[1:], "differ in shape"),
    "logit tokens": ("collect/post/2/logits/promoted", lambda old: old + 4, "ids that the vocabulary does not have"),
    "logit columns": ("collect/post/2/logits/suppressed_effect", lambda old: old[:, 1:], "differ in shape"),
    "subset neurons": ("collect/post/2/neuron", lambda old: old[::-1], "does not ascend from 0 or more"),
    "parts": ("rows/parts/offsets", lambda old: old[::-1], "offsets that do not count the parts"),
    "scalar": (f"{STATISTICS}/count", lambda old: np.array([old]), "has 1 dimensions, expected 0"),
}


@pytest.mark.parametrize("kind", FORGED)
def test_forged_values(store_path, kind):
    name, forge, message = FORGED[kind]
    with h5py.File(store_path, "r+") as file:
        old = file[name]
        assert isinstance(old, h5py.Dataset)
        new = forge(old[()])
        if new.dtype == old.dtype.newbyteorder("=") and new.dtype.kind != "f":
            new = new.astype(old.dtype)
        del file[name]
        file[name] = new
    with pytest.raises(StoreError) as caught:
        everything(store_path)
    assert message in str(caught.value)
    assert str(store_path) in str(caught.value)


@pytest.mark.parametrize("name", ["rows/tokens", LIST, EVIDENCE, "resume/tokens", "verdict", "collect/post"])
@pytest.mark.parametrize("kind", ["soft", "external", "virtual", "raw file", "group", "type"])
def test_what_leads_elsewhere_or_is_something_else(store_path, tmp_path, name, kind):
    other = tmp_path / "other.h5"
    write_collected(other, made_up(np.random.default_rng(3)))
    add_evidence(other, evidence(np.random.default_rng(3)), site="post")
    (tmp_path / "raw").write_bytes(bytes(1000))
    with h5py.File(store_path, "r+") as file:
        file.move(name, "elsewhere")
        if kind == "soft":
            file[name] = h5py.SoftLink("/elsewhere")
        elif kind == "external":
            file[name] = h5py.ExternalLink(str(other), name)
        elif kind == "virtual":
            layout = h5py.VirtualLayout((5, 9), "<u2")
            layout[:] = h5py.VirtualSource(str(other), "rows/tokens", (5, 9))
            file.create_virtual_dataset(name, layout)
        elif kind == "raw file":
            file.create_dataset(name, (5, 9), "<u2", external=[(str(tmp_path / "raw"), 0, 90)])
        elif kind == "group":
            file.create_group(name)
        else:
            file[name] = np.dtype("<u2")
    if kind == "group" and name == "verdict":  # the stage has not been there: no damage
        with Store(store_path) as store:
            assert store.evidence("verdict", 2) is None
        return
    ask = (lambda path: Store(path).require_layers([0])) if (kind, name) == ("group", "collect/post") else everything
    with pytest.raises(StoreError):
        ask(store_path)


def test_evidence_is_not_written_through_a_link(store_path, tmp_path):
    victim = tmp_path / "victim.h5"
    write_collected(victim, made_up(np.random.default_rng(3)))
    before = victim.read_bytes()
    with h5py.File(store_path, "r+") as file:
        del file["verdict"]
        file["verdict"] = h5py.ExternalLink(str(victim), "/")
    with pytest.raises(StoreError, match="is a link"):
        add_evidence(store_path, evidence(np.random.default_rng(3))[-1:], site="post")
    assert victim.read_bytes() == before


@pytest.mark.parametrize("kind", ["never written", "packed"])
def test_a_bomb_is_not_unpacked(store_path, kind):
    """10^13 ids that the file does not hold; 16 MiB of zeros are no bomb."""
    with h5py.File(store_path, "r+") as file:
        del file["resume/tokens"]
        if kind == "packed":
            file.create_dataset("resume/tokens", data=np.zeros(1 << 22, "<u4"), chunks=(1 << 20,), compression="gzip")
        else:
            file.create_dataset("resume/tokens", (10**13,), "<u4", chunks=(1 << 20,))
    with Store(store_path) as store:
        if kind == "packed":
            assert len(store.rest()["tokens"]) == 1 << 22
        else:
            with pytest.raises(StoreError, match=r"claims 40,000,000,000,000 bytes and stores 0"):
                store.rest()


def test_questions_that_a_store_cannot_answer(store_path):
    with Store(store_path) as store:
        with pytest.raises(StoreError, match=r"layer 1, 7 in .* holds layers 0,2 \(numbered from 0\). Choose"):
            store.require_layers([0, 1, 7])
        with pytest.raises(StoreError, match=r"neuron 4 of layer 2 in .* it has neurons 0-3\."):
            store.examples(2, 4)
        assert store.require_layers(None) == [0, 2]
        assert store.require_layers([2, 0, 2]) == [0, 2]
