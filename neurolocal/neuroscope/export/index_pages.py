"""The pages around the neurons' pages: indices of models and layers, redirects, and random jumps.

Invariant: they are made only from the `neurolocal.json` files, so a later export adds to a website.
Cost: O(models x layers); one line a neuron on a model's index.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from neurolocal.neuroscope.export.model_folder import GENERATOR, ModelFolder, put, read_model
from neurolocal.neuroscope.export.neuron_page import TEMPLATES, shown, source
from neurolocal.render.page_templates import Filters, digest, environment

if TYPE_CHECKING:
    from jinja2 import Environment


def put_index_pages(folder: ModelFolder) -> None:
    """Write the index pages, redirects and random jumps of a model and of its website."""
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
    """A page that jumps to a random neuron; `pages` holds folders with their ranges of neurons."""
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

    seen: Filters = {"seen": lambda text: Markup(shown(str(text)))}
    return environment([TEMPLATES], doing="exporting pages", filters=seen)
