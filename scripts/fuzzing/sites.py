"""The readers of what comes from other sites: saved pages, lists of maxima, GLUScope's example files."""

from __future__ import annotations

import functools
import json
import random
from pathlib import Path

import numpy as np

from fuzzing import twins
from fuzzing.mutate import as_json, flat
from fuzzing.reader import Reader, silent


@functools.cache
def pages() -> list[bytes]:
    """Pages as the site writes them, and one of our own."""
    made, imported = twins.module("neuroscope", "page_twins"), twins.module("neuroscope", "import_twins")
    rng = np.random.default_rng(1)
    found = [
        made.page_html(made.random_page(rng, texts=3, length=20)),
        made.page_html(made.random_page(rng, texts=2, length=12, words=[" a", "b", "&lt;"]), full=False),
        imported.own_page(rng, texts=2, facts=imported.FACTS),
    ]
    return [text.encode() for text in found]


PIECES = [
    b"</details>",
    b"</summary>",
    b"<hr>\n",
    b"ColoredTokens, {",
    b")</script></details>",
    b"<h2>Text #3</h2>",
    b"<b>",
    b"<h4>Data Index: <b>5</b> (pile)</h4>",
    b"<!-- neurolocal sha256 ",
    b'"tokens": [',
    b'"values": [',
    b"&amp;#x41;",
]


def _page_mutate(data: bytes, rng: random.Random) -> bytes:
    """Pieces of pages, numbers, bytes."""
    changed = flat(data, rng) if rng.random() < 0.6 else data
    if rng.random() < 0.5:
        at = rng.randrange(len(changed) + 1)
        changed = changed[:at] + rng.choice(PIECES) + changed[at + rng.choice([0, 0, 1, 40]) :]
    if rng.random() < 0.3:
        digits = [i for i, b in enumerate(changed[:20_000]) if 48 <= b <= 57]
        if digits:
            at = rng.choice(digits)
            changed = (
                changed[:at]
                + rng.choice([b"9" * 30, b"-", b"1e400", b"NaN", b"\xd9\xa3", b"0", b"."])
                + changed[at + 1 :]
            )
    return changed


def _import_pages(data: bytes, folder: Path) -> None:
    from neurolocal.neuroscope.imports.from_pages import import_pages
    from neurolocal.store.check import check

    (folder / "6").mkdir()
    (folder / "6" / "159.html").write_bytes(data)
    import_pages([folder / "6"], folder / "s.h5", say=silent, bar=False, processes=1)
    faults = check(folder / "s.h5", progress=False).faults
    assert not faults, f"the store that was made has faults: {faults[0]}"


def _read_page(data: bytes, folder: Path) -> None:
    from neurolocal.neuroscope.read.packed import StringNumbers, read_packed

    (folder / "6").mkdir()
    (folder / "6" / "159.html").write_bytes(data)
    read_packed(folder / "6" / "159.html", "159.html", StringNumbers())


def _read_maxima(data: bytes, folder: Path) -> None:
    from neurolocal.neuroscope.read.maxima import is_list, read_maxima

    (folder / "m.json").write_bytes(data)
    is_list(folder / "m.json")
    for layer in read_maxima(folder / "m.json"):
        assert np.isfinite(layer.activation).all()


def _read_gluscope(data: bytes, folder: Path) -> None:
    from neurolocal.neuroscope.read.gluscope import read_example

    path = folder / "L2_N5_gatem_inp_hook_post_example_0.json"
    path.write_bytes(data)
    assert all(np.isfinite(values).all() for values in read_example(path).values.values())


def _import_maxima(data: bytes, folder: Path) -> None:
    from neurolocal.neuroscope.imports.from_maxima import import_maxima
    from neurolocal.neuroscope.read.maxima import is_list

    path = folder / "solu-1l.json"
    path.write_bytes(data)
    is_list(path)
    import_maxima(path, folder / "s.h5", model=None, site=None, say=silent)


def _gluscope() -> list[bytes]:
    made = twins.module("neuroscope", "gluscope_twins")
    return [json.dumps(made.made(np.random.default_rng(i), 6)).encode() for i in range(2)]


def _import_gluscope(data: bytes, folder: Path) -> None:
    from neurolocal.neuroscope.imports.from_gluscope import import_gluscope
    from neurolocal.store.check import check

    path = folder / "L2_N5_gatem_inp_hook_post_example_0.json"
    path.write_bytes(data)
    import_gluscope([path], folder / "s.h5", say=silent)
    faults = check(folder / "s.h5", progress=False).faults
    assert not faults, f"the store that was made has faults: {faults[0]}"


MAXIMA = [json.dumps([[0.5, 1.25, 0.0, 0.0], [3, 2.5]]).encode(), json.dumps([[0.1] * 30] * 2).encode()]

READERS: dict[str, Reader] = {
    "pages": Reader(pages, _page_mutate, _read_page),
    "pages-import": Reader(pages, _page_mutate, _import_pages, guided=False),
    "maxima": Reader(lambda: MAXIMA, as_json, _read_maxima),
    "maxima-import": Reader(lambda: MAXIMA, as_json, _import_maxima, guided=False),
    "gluscope": Reader(_gluscope, as_json, _read_gluscope),
    "gluscope-import": Reader(_gluscope, as_json, _import_gluscope, guided=False),
}
"""Name -> reader."""
