"""A store that is damaged in one way has that fault and no other."""

from typing import Any

import h5py
import numpy as np
import pytest
from check_twins import settings

from neurolocal.store import datasets
from neurolocal.store.check import check

LIST, SMALL, CASE = "collect/post/1/largest", "collect/pre/3/smallest", "collect/post/3/gate+_in-"
BANDS = "collect/post/3/bands"
STATISTICS = "collect/post/3/statistics"


def set_at(*at, to):
    """Change one entry; `to` is a value, or makes one of the old."""

    def change(old):
        old[at] = to(old[at]) if callable(to) else to
        return old

    return change


def swap(old):
    """The second and third entries of neuron 2."""
    old[2, [1, 2]] = old[2, [2, 1]]
    return old


def reorder_both(file, base):
    for name in ("activation", "row", "position", "window"):
        change(file, f"{base}/{name}", swap)


def change(file, name, how):
    """Put something else in a dataset's place."""
    old = np.asarray(file[name][()])
    new = np.asarray(how(old.copy()))
    del file[name]
    datasets.put(file, name, new.astype(old.dtype))


def tie(file):
    """Neuron 2's first two examples are as strong, the higher row first."""
    rows = np.asarray(file[f"{LIST}/row"])[2]
    order = [0, 1] if rows[0] > rows[1] else [1, 0]
    top = np.asarray(file[f"{LIST}/activation"])[2].max()
    for name in ("activation", "row", "position", "window"):

        def how(old, name=name):
            old[2, :2] = old[2, order]
            if name == "activation":
                old[2, :2] = top
            if name == "window":
                old[2, :2, 5], old[2, :2, 6:], old[2, :2, :5] = (
                    top,
                    np.where(np.isnan(old[2, :2, 6:]), np.nan, -9),
                    np.where(np.isnan(old[2, :2, :5]), np.nan, -9),
                )
            return old

        change(file, f"{LIST}/{name}", how)


def empty_neuron(file):
    for name, value in (("activation", np.nan), ("row", -1), ("position", -1), ("window", np.nan)):
        change(file, f"{LIST}/{name}", set_at(0, to=value))


# What is done to the file, and (place, found, expected) of the one fault, each a part of it.
DAMAGE: dict[str, tuple[Any, tuple[str, str, str]]] = {
    "order": (lambda f: reorder_both(f, SMALL), (f"{SMALL}/activation", "first at neuron 2, rank 1", "strongest")),
    "order of a case": (lambda f: reorder_both(f, CASE), (f"{CASE}/activation", "out of order", "strongest first")),
    "ties": (tie, (f"{LIST}/row", "1 equal entries out of order, first at neuron 2", "the lower row first")),
    "a row twice": (
        lambda f: [change(f, f"{LIST}/{n}", lambda old: (old.__setitem__((2, 1), old[2, 0]), old)[1])
                   for n in ("activation", "row", "position", "window")],
        (f"{LIST}/row", "1 neurons with a row twice, first at neuron 2", "one example a row"),
    ),
    "an empty list": (empty_neuron, (f"{LIST}/activation", "first example is another, first at neuron 0", "extreme")),
    "a row that is not stored": (
        lambda f: change(f, f"{SMALL}/row", set_at(3, 1, to=10**6)),
        (f"{SMALL}/row", "1 rows that are not stored, first at neuron 3, rank 1", "rows in rows/index"),
    ),
    "BOS does not count": (
        lambda f: change(f, f"{SMALL}/position", set_at(3, 1, to=0)),
        (f"{SMALL}/position", "first at neuron 3, rank 1", "counted positions"),
    ),
    "behind the row": (
        lambda f: change(f, f"{CASE}/position", set_at(0, 0, to=10**6)),
        (f"{CASE}/position", "1 positions that are not", "counted positions"),
    ),
    "the window's middle": (
        lambda f: change(f, f"{CASE}/window", set_at(4, 0, 5, to=lambda x: np.nextafter(x, np.float32(9)))),
        (f"{CASE}/window", "1 windows with another middle, first at neuron 4, rank 0", "bit for bit"),
    ),
    "an unused slot": (
        lambda f: change(f, f"{CASE}/position", lambda old: np.where(old < 0, 5, old)),
        (f"{CASE}/position", "unused slots with content", "-1"),
    ),
    "the window beyond the row": (
        lambda f: change(f, f"{CASE}/window", lambda old: np.where(
            np.isnan(old) & (np.asarray(f[f"{CASE}/row"]) >= 0)[:, :, None], 0, old)),
        (f"{CASE}/window", "windows with values there", "NaN beyond the row"),
    ),
    "a stronger neighbour": (
        lambda f: change(f, f"{LIST}/window", set_at(1, 0, 6, to=99)),
        (f"{LIST}/window", "1 examples with a stronger neighbour, first at neuron 1", "strongest of its row"),
    ),
    "the maximum": (
        lambda f: change(f, f"{STATISTICS}/maximum", set_at(7, to=lambda x: x * 1.01)),
        ("collect/post/3/largest/activation", "first at neuron 7", "the extreme in statistics"),
    ),
    "the minimum": (
        lambda f: change(f, f"{STATISTICS}/minimum", set_at(7, to=lambda x: x * 1.01)),
        ("collect/post/3/smallest/activation", "first at neuron 7", "the extreme in statistics"),
    ),
    "the sample": (
        lambda f: change(f, "collect/pre/1/sample", set_at(5, 3, to=1e9)),
        ("collect/pre/1/sample", "1 activations beyond, first at neuron 5, entry 3", "minimum to maximum"),
    ),
    "NaN in the sample": (
        lambda f: change(f, "collect/pre/1/sample", set_at(5, 3, to=np.nan)),
        ("collect/pre/1/sample", "1 neurons with more NaN", "nonfinite"),
    ),
    "the sample's rows": (
        lambda f: change(f, "sample/row", set_at(-1, to=10**6)),
        ("sample/row", "1 rows that are not stored", "rows in rows/index"),
    ),
    "the sample's positions": (
        lambda f: change(f, "sample/position", set_at(-1, to=10**6)),
        ("sample/position", "1 positions that are not", "counted positions"),
    ),
    "count": (
        lambda f: change(f, f"{STATISTICS}/count", lambda old: old + 1),
        (f"{STATISTICS}/count", "", "the same in every layer"),
    ),
    "fraction": (
        lambda f: change(f, f"{STATISTICS}/fraction", set_at(2, 5, to=-1)),
        (f"{STATISTICS}/fraction", "first at neuron 5", "0 to 2^60 - 1"),
    ),
    "positive": (
        lambda f: change(f, f"{STATISTICS}/positive", set_at(5, to=0)),
        (f"{STATISTICS}/positive", "first at neuron 5", "above 0 where the maximum is"),
    ),
    "above": (
        lambda f: change(f, f"{STATISTICS}/above", set_at(3, slice(None), to=1)),
        (f"{STATISTICS}/above", "neurons that differ", "over the level"),
    ),
    "above rises": (
        lambda f: change(f, f"{STATISTICS}/above", lambda old: np.where(old > 0, old + 90 * np.eye(4, 1, -1), 0)),
        (f"{STATISTICS}/above", "neurons that differ", "fewer at every higher level"),
    ),
    "histogram": (
        lambda f: change(f, f"{STATISTICS}/histogram", set_at(5, slice(None), to=0)),
        (f"{STATISTICS}/histogram", "1 neurons that differ, first at neuron 5", "all that was drawn"),
    ),
    "histogram over": (
        lambda f: change(f, f"{STATISTICS}/histogram", lambda old: old + 1),
        (f"{STATISTICS}", "counts more positions than were drawn", "FORMAT.md"),
    ),
    "mean": (
        lambda f: change(f, f"{STATISTICS}/mean", set_at(5, to=9)),
        (f"{STATISTICS}/mean", "first at neuron 5", "the exact sum"),
    ),
    "cases": (
        lambda f: change(f, "collect/post/3/cases/count", set_at(1, 5, to=lambda n: n + 1)),
        ("collect/post/3/cases/count", "first at neuron 5", "all finite positions"),
    ),
    "a case without examples": (
        lambda f: [change(f, f"{CASE}/{n}", set_at(5, to=v)) for n, v in
                   (("activation", np.nan), ("row", -1), ("position", -1), ("window", np.nan))],
        (CASE, "first at neuron 5", "examples where the case occurs"),
    ),
    "holes": (
        lambda f: change(f, f"{LIST}/activation", set_at(2, 0, to=np.nan)),
        (LIST, "have holes", "FORMAT.md"),
    ),
    "a band's activation": (
        lambda f: change(f, f"{BANDS}/activation", lambda old: old * 2),
        (f"{BANDS}/activation", "activations outside", "within the band"),
    ),
    "a band's row twice": (
        lambda f: change(f, f"{BANDS}/row", lambda old: np.where(old >= 0, old.max(), -1)),
        (f"{BANDS}/row", "neurons with a row twice", "one example a row"),
    ),
    "a band's row that is not stored": (
        lambda f: change(f, f"{BANDS}/row", lambda old: np.where(old == old.max(), 900, old)),
        (f"{BANDS}/row", "rows that are not stored", "rows in rows/index"),
    ),
    "a band's position": (
        lambda f: change(f, f"{BANDS}/position", lambda old: np.where(old >= 0, 0, -1)),
        (f"{BANDS}/position", "positions that are not", "counted positions"),
    ),
    "a band's count": (
        lambda f: change(f, f"{BANDS}/count", lambda old: np.zeros_like(old)),
        (BANDS, "does not fit", "FORMAT.md"),
    ),
    "no bands": (
        lambda f: f.__delitem__(BANDS), (BANDS, "no such group", "config.bands is above 0"),
    ),
    "token counts": (
        lambda f: change(f, "corpus/token_count", set_at(5, to=lambda n: n + 1)),
        ("corpus/token_count", "it sums to", "tokens"),
    ),
    "token ids": (lambda f: change(f, "rows/tokens", set_at(0, 3, to=60_000)), ("rows", "holds id 60000", "FORMAT.md")),
    "parts": (
        lambda f: change(f, "rows/parts/position", set_at(0, to=1)),
        ("rows/parts", "whose first part does not begin it", "FORMAT.md"),
    ),
    "a smaller sample": (lambda f: settings(f, "config", sample=30), ("sample", "20 positions", "30, as the")),
    "more rows": (lambda f: settings(f, "", rows=3), ("rows/index", "rows", "the manifest's 3")),
    "a layer is missing": (
        lambda f: f.pop("collect/pre/1"),
        ("collect/pre", "layers [3]", "[1, 3], as the manifest says"),
    ),
    "evidence": (
        lambda f: change(f, "verdict/post/3/largest/rank", lambda old: old[1:]),
        ("verdict/post/3/largest", "differ in length", "FORMAT.md"),
    ),
    "evidence's inputs": (
        lambda f: f["verdict/post/3/largest"].attrs.__setitem__("inputs", "{}"),
        ("verdict/post/3/largest", "does not have its SHA-256", "FORMAT.md"),
    ),
    "text for resuming": (
        lambda f: [datasets.put(f, f"resume/{n}", np.empty(0, "u4" if n == "tokens" else "i8"))
                   for n in ("tokens", "character", "file", "record")]
        + [datasets.put(f, "resume/offsets", np.zeros(1, np.int64)), datasets.put_blobs(f, "resume/subset", [])],
        ("resume", "in a complete store", "none"),
    ),
    "a link": (lambda f: f.__setitem__("x", h5py.SoftLink("/rows")), ("x", "x is a link", "FORMAT.md")),
    "a second name": (lambda f: f.__setitem__("rows/x", f["rows/index"]), ("rows/x", "a second name", "one name")),
    "logits": (
        lambda f: change(f, "collect/post/1/logits/promoted_effect", lambda old: old[:, ::-1]),
        ("collect/post/1/logits/promoted_effect", "entries out of order", "strongest first"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
def test_one_damage_is_one_fault(copy, kind):
    how, (place, found, expected) = DAMAGE[kind]
    with h5py.File(copy, "r+") as file:
        how(file)
    report = check(copy, progress=False)
    assert [fault.place for fault in report.faults] == [place], [str(fault) for fault in report.faults]
    (fault,) = report.faults
    assert found in fault.found
    assert expected in fault.expected
    assert "\n" not in str(fault)


def test_other_neurons_than_the_manifest_says(copy):
    with h5py.File(copy, "r+") as file:
        settings(file, "subject", d_mlp=[172, 172, 172, 99, 172])
    assert [str(fault) for fault in check(copy, progress=False).faults] == [
        f"collect/{site}/3: 172 neurons; expected 99, as the manifest's subject.d_mlp says" for site in ("post", "pre")
    ]


def test_an_example_that_the_sample_contradicts(copy):
    """Both lists and windows agree among themselves, but not with the sample."""
    with h5py.File(copy, "r+") as opened:
        file: Any = opened
        drawn = set(zip(file["sample/row"][()].tolist(), file["sample/position"][()].tolist(), strict=True))
        rows, positions = file[f"{CASE}/row"][()], file[f"{CASE}/position"][()]
        size = np.abs(file[f"{CASE}/activation"][()])
        neuron, rank = next(
            (n, r) for n in range(172) for r in range(3)
            if (int(rows[n, r]), int(positions[n, r])) in drawn and not size[n, r] - size[n, r + 1] < 1e-3
        )  # fmt: skip
        up = lambda x: np.nextafter(x, np.float32(0))  # noqa: E731
        change(file, f"{CASE}/activation", set_at(neuron, rank, to=up))
        change(file, f"{CASE}/window", set_at(neuron, rank, 5, to=up))
    report = check(copy, progress=False)
    assert [(f.place, f.expected) for f in report.faults] == [
        (f"{CASE}/activation", "what the layer's sample holds at that position")
    ]
