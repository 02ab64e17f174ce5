"""Whatever another site left behind -> a store: pages, lists of maxima, GLUScope's examples, told apart by their names.

Cost: see `importing`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from neurolocal.config import sha256
from neurolocal.errors import StoreError
from neurolocal.neuroscope.gathered import Rows, folder_of
from neurolocal.neuroscope.gluscope import NAME, import_gluscope
from neurolocal.neuroscope.importing import Imported, import_pages
from neurolocal.neuroscope.known import Known
from neurolocal.neuroscope.known_store import Told, settings, write_known
from neurolocal.neuroscope.maxima import read_maxima
from neurolocal.records import Place, Site
from neurolocal.store import Store

SHOWN = 20
"""Problems that are told line by line; all of them are in the store."""


def import_any(
    paths: Sequence[Path], out: Path, *, model: str | None = None, site: Site | None = None,
    say: Callable[[str], None] = print, bar: bool = True,
) -> Imported:  # fmt: skip
    """Import what some paths name, and tell what was read.

    Args:
        paths: page files, folders of them; or one JSON list of maxima; or GLUScope's example files, folders of them.
        out: the store to write; an earlier import there is replaced.
        model, site: see `import_pages`.
        say: told what was read and what was left out.
        bar: whether to show a progress bar.

    Raises:
        StoreError: nothing there that can be read, or things of several kinds.
    """
    _require_replaceable(out)
    examples = _gluscope_files(paths)
    lists = [path for path in paths if path.suffix.lower() == ".json" and path not in examples]
    if examples and not all(_gluscope_files([path]) for path in paths):
        other = next(path for path in paths if not _gluscope_files([path]))
        raise StoreError(f"importing {other}: it holds no GLUScope example, other paths do. Import each by itself.")
    if examples and not lists:
        if site is not None:
            raise StoreError(f"importing {examples[0]}: GLUScope's examples say their sites. Leave --site away.")
        texts, rows = import_gluscope(examples, out, model=model, say=say)
        say(f"import: {texts:,} texts of {len(examples):,} GLUScope examples in {rows:,} rows; {out}")
        return Imported(pages=len(examples), texts=texts, rows=rows, doubled=len(examples) - texts)
    if lists:
        if len(paths) > 1:
            raise StoreError(f"importing {lists[0]}: a list of maxima is imported by itself. Give it alone.")
        return import_maxima(lists[0], out, model=model, site=site, say=say)
    found = import_pages(paths, out, model=model, site=site, say=say, bar=bar)
    for problem in found.problems[:SHOWN]:
        say(f"  {problem}")
    if len(found.problems) > SHOWN:
        say(f"  … {len(found.problems):,} problems in all; the store keeps them (--json prints them)")
    doubled = f", {found.doubled:,} files say what an earlier one says" if found.doubled else ""
    say(
        f"import: {found.texts:,} texts in {found.rows:,} rows from {found.pages:,} pages"
        f"{doubled}, {len(found.problems):,} problems; {out}"
    )
    return found


def _require_replaceable(out: Path) -> None:
    """That nothing is lost where the store is to be written: an earlier import can be made again, a collection not so.

    Raises:
        StoreError: something else lies there.
    """
    if not out.exists():
        return
    try:
        with Store(out) as there:
            replaceable = there.imported
    except StoreError:
        replaceable = False
    if not replaceable:
        raise StoreError(f"importing into {out}: it is there, and no import. Give --out another name, or delete it.")


def import_maxima(
    path: Path, out: Path, *, model: str | None, site: Site | None, say: Callable[[str], None]
) -> Imported:
    """A JSON list of maxima, `[layer][neuron]` -> a store with no examples, in which they are marked as trusted or not.

    Raises:
        StoreError: the file is no such list, or the store cannot be written.
    """
    layers = read_maxima(path)
    name = model or path.stem
    where: Site = site or ("mid" if name.lower().startswith("solu") else "post")
    with folder_of(out) as folder, closing(Rows(folder)) as rows:
        stored = rows.stored(set())
    nothing = Known(np.empty(0, np.int64), np.empty(0, np.int32), np.empty((0, 1), np.float32))

    def told(place: Place, neuron: int) -> Told:
        listed = layers[place[1]]
        return Told(
            nothing, np.empty(0, np.int32), np.empty((0, 2)), float("nan"),
            maximum=float(listed.activation[neuron]), trusted=bool(listed.trusted[neuron]),
        )  # fmt: skip

    manifest = {
        "subject": {"name": name, "path": "", "sha256": None, "n_layers": len(layers),
                    "d_mlp": [len(layer.activation) for layer in layers], "d_vocab": 0},
        "tokenizer": {"sha256": sha256([]), "bos": None, "eos": None, "size": 0},
        "corpus": {"path": str(path), "n_files": 1, "files": [], "skipped": {}},
        "config": settings(stored, {}, sites=[where], k=1),
        "source": {"kind": "maxima", "file": path.name, "tokens": "strings", "own": {}},
    }  # fmt: skip
    places: dict[Place, range] = {(where, i): range(len(layer.activation)) for i, layer in enumerate(layers)}
    write_known(out, manifest, stored, places, told)
    total = sum(len(layer.activation) for layer in layers)
    doubted = [f"layer {i}, neuron {n}" for i, layer in enumerate(layers) for n in np.flatnonzero(~layer.trusted)]
    problems = [f"{one} repeats its left neighbour's value: it is marked as not to be trusted" for one in doubted]
    for problem in problems[:SHOWN]:
        say(f"  {problem}")
    say(f"import: {total:,} maxima of {len(layers)} layers, {len(problems):,} not to be trusted; {out}")
    return Imported(pages=1, problems=problems)


def _gluscope_files(paths: Sequence[Path]) -> list[Path]:
    """The example files that paths name."""
    inside = [sorted(path.glob("*.json")) if path.is_dir() else [path] for path in paths]
    return [file for files in inside for file in files if NAME.fullmatch(file.name)]
