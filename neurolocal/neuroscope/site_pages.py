"""What stands around the neurons' pages: lists of models and layers, redirects and random jumps, and what there is.

Invariant: a model's folder holds `neurolocal.json`, which says what its pages are of and which neurons have one; the
lists are made from these files alone, so a later export adds to a site. What is not ours is never written over. A page
appears whole or not at all.
Cost: under a second for a model of 50,000 neurons.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurolocal.errors import StoreError
from neurolocal.files import write_text
from neurolocal.neuroscope.writing import TEMPLATES, shown, source
from neurolocal.render.page_templates import digest, environment

if TYPE_CHECKING:
    from jinja2 import Environment

MARKER = "neurolocal.json"
GENERATOR = '<meta name="generator" content="neurolocal">'
"""What our own lists are known by."""

RESERVED = ("", "index.html", "random.html", "model.html")
LONGEST_NAME = 100


@dataclass
class ModelFolder:
    """One model's part of a site."""

    path: Path
    model: str
    dataset: str
    of: dict[str, Any]
    """What its pages are of: weights, rows, site, side. Pages of something else don't mix with these."""
    layers: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    """Layer -> its neurons that have a page, as ranges, both ends included."""

    @property
    def pages(self) -> int:
        """How many neurons have a page."""
        return sum(high - low + 1 for ranges in self.layers.values() for low, high in ranges)


def folder_name(model: str) -> str:
    """A model's name as one safe component of a path: what stands behind the last `/`, unusual characters as `-`."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", model.rstrip("/").rpartition("/")[2]).lstrip(".")[:LONGEST_NAME]
    return f"{name or 'model'}-" if name in RESERVED[1:] else name or "model"


def ranges(neurons: Sequence[int]) -> list[tuple[int, int]]:
    """0, 1, 2, 5 -> (0, 2), (5, 5)."""
    found: list[tuple[int, int]] = []
    for n in neurons:
        if found and n == found[-1][1] + 1:
            found[-1] = (found[-1][0], n)
        else:
            found.append((n, n))
    return found


TODO = "Free space or choose a folder that can be written to, and run the same export again."


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say it in one line where a disk is full or a folder can't be written to."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"exporting to {error.filename or path}: {error.strerror or error}. {TODO}") from error


def put(path: Path, text: str) -> None:
    """Write a page, whole or not at all.

    It is not flushed by itself: of 50,000 pages that would take longer than all the rest.

    Raises:
        StoreError: it cannot be written; what was there is untouched.
    """
    write_text(path, text, doing="exporting to", todo=TODO, error=StoreError, durable=False)


def open_model(out: Path, model: str, dataset: str, of: dict[str, Any]) -> ModelFolder:
    """The folder of a model, made or gone on with.

    Raises:
        StoreError: what stands there is not ours, or of something else; the folder cannot be written.
    """
    mine = ModelFolder(out / folder_name(model), model, dataset, of)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        for name in ("index.html", "random.html"):
            if (out / name).exists() and GENERATOR not in (out / name).read_text("utf-8", "replace"):
                raise StoreError(f"exporting to {out}: {name} there is not from an export. Choose another folder.")
        mine.path.mkdir(exist_ok=True)
        there = read_model(mine.path)
        if there is None and any(not one.name.endswith(".partial") for one in mine.path.iterdir()):
            raise StoreError(
                f"exporting to {mine.path}: it holds files that are from no export. Choose another folder or --model."
            )
        if there is not None:
            differing = [name for name in of if there.of.get(name) != of[name]]
            if differing or (there.model, there.dataset) != (model, dataset):
                what = ", ".join(f"{name} {ascii(there.of.get(name))[:40]}, not {of[name]}" for name in differing)
                raise StoreError(
                    f"exporting to {mine.path}: its pages are of {ascii(there.model)[:80]} on "
                    f"{ascii(there.dataset)[:80]} ({what or 'another name'}). "
                    "Choose another folder or --model, or remove it."
                )
            mine.layers = there.layers
    return mine


def read_model(path: Path) -> ModelFolder | None:
    """What a folder's file says of its pages; None where there is none, or it is damaged."""
    try:
        there = json.loads((path / MARKER).read_text("utf-8"))
        model, dataset, of = there["model"], there["dataset"], there["of"]
        layers = {int(k): [(int(a), int(b)) for a, b in v] for k, v in there["layers"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    sound = all(0 <= low <= high < 1 << 31 for found in layers.values() for low, high in found)
    known = isinstance(model, str) and isinstance(dataset, str) and isinstance(of, dict)
    return ModelFolder(path, model, dataset, of, dict(sorted(layers.items()))) if sound and known else None


def put_model(folder: ModelFolder) -> None:
    """Write what a folder's pages are."""
    made = {
        "model": folder.model,
        "dataset": folder.dataset,
        "of": folder.of,
        "layers": dict(sorted(folder.layers.items())),
    }
    put(folder.path / MARKER, json.dumps(made) + "\n")


def put_lists(folder: ModelFolder) -> None:
    """Write the lists, redirects and random jumps of a model and of the site that it is in."""
    site, environment = folder.path.parent, _environment()
    layers = sorted(folder.layers)
    put(folder.path / "index.html", _rendered(environment, "model.html", folder=folder, neurons=_neurons))
    put(folder.path / "model.html", _redirect(environment, "index.html"))
    put(folder.path / "random.html", _random(environment, {f"{n}/": folder.layers[n] for n in layers}))
    for layer in layers:
        put(folder.path / str(layer) / "index.html", _redirect(environment, "../index.html"))
        put(folder.path / str(layer) / "random.html", _random(environment, {"": folder.layers[layer]}))
    models = [m for m in map(read_model, sorted(p for p in site.iterdir() if p.is_dir())) if m is not None]
    put(site / "index.html", _rendered(environment, "models.html", models=models))
    everywhere = {f"{m.path.name}/{n}/": m.layers[n] for m in models for n in sorted(m.layers)}
    put(site / "random.html", _random(environment, everywhere))


def _neurons(found: Sequence[tuple[int, int]]) -> Iterator[int]:
    for low, high in found:
        yield from range(low, high + 1)


def _redirect(environment: Environment, to: str) -> str:
    return _rendered(environment, "redirect.html", to=to)


def _random(environment: Environment, pages: Mapping[str, Sequence[tuple[int, int]]]) -> str:
    """A page that jumps to any neuron: folders with their ranges of neurons."""
    there = [(prefix, found) for prefix, found in pages.items() if found]
    first = f"{there[0][0]}{there[0][1][0][0]}.html" if there else None
    script = source("random.js")
    return _rendered(environment, "random.html", pages=json.dumps(there), first=first, script=script)


def _rendered(environment: Environment, name: str, *, script: str = "", **more: Any) -> str:
    from markupsafe import Markup

    style = source("site.css")
    policy = f"default-src 'none'; style-src {digest(style)}; base-uri 'none'; form-action 'none'"
    policy += f"; script-src {digest(script)}" if script else ""
    ours = {"generator": Markup(GENERATOR), "style": Markup(style), "script": Markup(script)}
    return environment.get_template(name).render(policy=policy, **ours, **more)


def _environment() -> Environment:
    from markupsafe import Markup

    made = environment([TEMPLATES], doing="exporting pages")
    made.filters["seen"] = lambda text: Markup(shown(str(text)))
    return made
