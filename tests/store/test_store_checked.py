"""Other headers, hashes, links out of the file and claims of size are refused."""

import hashlib
import os

import h5py
import numpy as np
import pytest
from check_twins import settings
from content_twins import EVIDENCE, LIST, everything
from store_twins import evidence, made_up

from neurolocal.errors import StoreError
from neurolocal.store import Store, add_evidence, write_collected
from neurolocal.store.check import check


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


def test_no_store_at_all(tmp_path):
    with pytest.raises(StoreError, match=r"no such file. Make it with `neurolocal collect`"):
        Store(tmp_path / "none.h5")
    (tmp_path / "a.h5").write_text("not HDF5")
    with pytest.raises(StoreError, match=r"no whole HDF5 file. Copy it again"):
        Store(tmp_path / "a.h5")
    h5py.File(tmp_path / "b.h5", "w").close()
    with pytest.raises(StoreError, match="`format` is None"):
        Store(tmp_path / "b.h5")


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


@pytest.mark.parametrize("kind", ["filter", "bits"])
def test_what_hdf5_would_decode_by_seldom_used_code_is_refused(store_path, kind):
    """Scale-offset and the conversion of odd bit counts have overflowed on crafted files."""
    with h5py.File(store_path, "r+") as file:
        values = np.asarray(file["corpus/token_count"])
        del file["corpus/token_count"]
        if kind == "filter":
            file.create_dataset("corpus/token_count", data=values, chunks=values.shape, scaleoffset=8)
        else:
            short = h5py.h5t.STD_I64LE.copy()
            short.set_precision(40)
            space = h5py.h5s.create_simple(values.shape)
            h5py.h5d.create(file.id, b"corpus/token_count", short, space).write(h5py.h5s.ALL, h5py.h5s.ALL, values)
    says = "is stored by filters .6.* expected deflate" if kind == "filter" else "another number of bits"
    with Store(store_path) as store, pytest.raises(StoreError, match=says):
        _ = store.token_count


def test_an_index_beyond_the_strings_is_refused(tmp_path):
    path = tmp_path / "a.h5"
    write_collected(path, made_up(np.random.default_rng(1)))
    add_evidence(path, evidence(np.random.default_rng(3)), site="post")
    with h5py.File(path, "r+") as file:
        file["perturbation/post/2/largest/substitutes/kind/index"][1] = 2
    with Store(path) as store, pytest.raises(StoreError, match=r"kind/index names a string that .*kind does not have"):
        store.evidence("perturbation", 2)


def test_a_chunk_that_would_take_gigabytes(store_path) -> None:
    """HDF5 unfolds a chunk whole, however small the array in it is."""
    with h5py.File(store_path, "r+") as file:
        values = np.asarray(file["corpus/token_count"])
        del file["corpus/token_count"]
        file.create_dataset(
            "corpus/token_count", data=values, chunks=(1 << 28,), maxshape=(None,), compression="gzip"
        )  # fmt: skip
    with Store(store_path) as store, pytest.raises(StoreError, match="has chunks of 2,147,483,648 bytes"):
        _ = store.token_count
    assert any("has chunks of" in fault.found for fault in check(store_path, progress=False).faults)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path.mkdir(), "it is a folder, not a file"),
        (os.mkfifo, "it is a pipe, socket or device"),
        (lambda path: path.symlink_to("/no/such"), "it is a link to /no/such, which is not there"),
        (lambda path: None, "no such file. Make it with"),
    ],
)
def test_what_is_no_file_is_said_as_what_it_is(make, says, tmp_path) -> None:
    make(tmp_path / "a.h5")
    with pytest.raises(StoreError, match=says):
        Store(tmp_path / "a.h5")


def test_a_path_that_is_too_long(tmp_path) -> None:
    with pytest.raises(StoreError, match="File name too long") as caught:
        Store(tmp_path / ("a/" * 2500))
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("change", [{"rows": 2**63}, {"tokens": 10**4000}, {"rows": -1}])
def test_numbers_in_the_manifest_that_cannot_be(change, store_path) -> None:
    with h5py.File(store_path, "r+") as file:
        settings(file, "", **change)
    with Store(store_path) as store, pytest.raises(StoreError, match="rows or tokens cannot be"):
        _ = store.manifest


def test_a_manifest_of_more_layers_than_memory_holds(store_path) -> None:
    with h5py.File(store_path, "r+") as file:
        settings(file, "subject", n_layers=10**12)
    assert any("1000000000000 layers" in fault.expected for fault in check(store_path, progress=False).faults)
