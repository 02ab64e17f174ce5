"""The pages of one store, made on demand: name -> bytes.

Invariant: a page is a pure function of the store, the selection and the name. A name is only looked up among the site's
own, and never used as a path.
Cost: linear in the tokens of a page; the first page of a layer reads the layer's tables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from neurolocal.literals import VERDICTS
from neurolocal.render.page_templates import environment, source
from neurolocal.report.facts import run_facts
from neurolocal.report.rows import layer_verdicts
from neurolocal.site.distributions import layer_bands, layer_distributions
from neurolocal.site.layer_rows import layer_rows
from neurolocal.site.neuron_page import neuron_page
from neurolocal.site.row_files import RowFiles
from neurolocal.site.script_files import script_file
from neurolocal.site.search_files import KINDS, Kind, SearchFiles
from neurolocal.site.selection import select
from neurolocal.site.sources import BLOCK, Sources
from neurolocal.site.terms import Index
from neurolocal.store import Store

LAYERS = 4
"""Layers whose tables are kept."""

ROWS = 1_000
"""Neurons, by their number in the layer, of one script file of a layer's table."""

FIRST = 50
"""Rows of a layer's table that are in the page itself."""

ASSETS = ("assets/site.css", "assets/site.js", "assets/icon.svg")
"""What all pages share."""

SOURCES = {"llm": "a language model", "vectors": "word vectors", "counts": "its commonest words"}
"""Where a description comes from, in words."""

NUMBER = "(0|[1-9][0-9]{0,8})"

Maker = Callable[..., bytes | None]


class Pages:
    """The pages of one store, made on demand.

    Every name is relative to the site's folder: `index.html`, `search.html`, `layer/14/index.html`,
    `neuron/14/159.html`, the files of `ASSETS`, and script files with the data of tables, rows and search.
    """

    def __init__(
        self,
        store: Store,
        *,
        layers: Sequence[int] | None = None,
        neurons: Sequence[int] | None = None,
        top: int | None = None,
        live: bool = False,
        kept: int = LAYERS,
        block: int = BLOCK,
    ) -> None:
        """The pages of a store.

        Args:
            store: an open store.
            layers: these layers alone; None is all collected.
            neurons: these neurons of each layer alone; None is all.
            top: this many neurons of each layer alone, by rank; None is all.
            live: whether the pages are served by `neurolocal serve`: each has a `<div id="ask" hidden>` with
                `data-layer` and `data-neuron` where the page has one, loads `assets/ask.js` (which is not a file of the
                site) and may connect to its own server.
            kept: layers whose tables are kept in memory.
            block: neurons whose examples are read together: many where all pages are made in turn, else 1.

        Raises:
            StoreError: a layer was not collected, or no chosen layer has any of the neurons.
            NeurolocalError: jinja2 (extra `site`) is not installed.
        """
        self.store, self._live = store, live
        self.selection = select(store, layers=layers, neurons=neurons, top=top)
        self._sources = Sources(store, layers=kept, block=block)
        self._index = Index(store, self.selection)
        self._search = SearchFiles(store, self.selection, self._index)
        self._rows = RowFiles(store, self.selection)
        self._templates = environment([Path(__file__).parent / "templates"], doing="making pages")
        self._template = cache(self._templates.get_template)
        places: list[tuple[str, Maker]] = [
            (r"index\.html", self._model_page),
            (r"search\.html", self._search_page),
            (rf"layer/{NUMBER}/index\.html", self._layer_page),
            (rf"layer/{NUMBER}/rows-{NUMBER}\.js", self._layer_rows),
            (rf"neuron/{NUMBER}/{NUMBER}\.html", self._neuron_page),
            (rf"rows/{NUMBER}\.js", self._row_file),
            (r"search/(contents|neurons)\.js", self._search_contents),
            (rf"search/({'|'.join(KINDS)})-{NUMBER}\.js", self._search_file),
            (rf"({'|'.join(map(re.escape, ASSETS))})", self._asset),
        ]
        self._places = [(re.compile(pattern, re.ASCII), made) for pattern, made in places]

    def names(self) -> Iterator[str]:
        """Every file of the site, as a relative path with `/`; the files of a layer follow one another."""
        yield from ("index.html", "search.html", *ASSETS, "search/contents.js", "search/neurons.js")
        for kind in KINDS:
            yield from (f"search/{kind}-{i}.js" for i in range(self._search.files(kind)))
        yield from (f"rows/{i}.js" for i in self._rows.numbers)
        for layer, neurons in self.selection.neurons.items():
            yield f"layer/{layer}/index.html"
            yield from (f"layer/{layer}/rows-{i}.js" for i in dict.fromkeys((neurons // ROWS).tolist()))
            yield from (f"neuron/{layer}/{neuron}.html" for neuron in neurons.tolist())

    def known(self, name: str) -> bool:
        """Whether a file of some site has this name."""
        return any(pattern.fullmatch(name) for pattern, _ in self._places)

    def read(self, name: str) -> bytes | None:
        """The content of a file; None where the site has no such file.

        Raises:
            StoreError: the store is damaged.
        """
        for pattern, make in self._places:
            if found := pattern.fullmatch(name):
                return make(*(int(part) if part.isdecimal() else part for part in found.groups()))
        return None

    # The pages; each gives None where the site has no such page

    def _model_page(self) -> bytes:
        layers = self.selection.layers
        return self._page(
            "index.html",
            "",
            facts=run_facts(self.store, layers, "largest"),
            summaries=[layer_verdicts(self.store, layer) for layer in layers],
            verdicts=VERDICTS,
            bands=layer_bands({layer: self.store.statistics(layer) for layer in layers}),
            shown={layer: len(neurons) for layer, neurons in self.selection.neurons.items()},
            whole=self.selection.whole,
        )

    def _search_page(self) -> bytes:
        return self._page("search.html", "")

    def _layer_page(self, layer: int) -> bytes | None:
        if layer not in self.selection.neurons:
            return None
        read, neurons, layers = self._sources.layer(layer), self.selection.neurons[layer], self.selection.layers
        mine = set(neurons.tolist())
        best = [neuron for neuron in read.ranked() if neuron in mine][:FIRST]
        at = layers.index(layer)
        return self._page(
            "layer.html",
            "../../",
            layer=layer,
            summary=layer_verdicts(self.store, layer),
            verdicts=VERDICTS,
            plots=layer_distributions(read),
            rows=layer_rows(read, self._sources.words, best),
            total=len(neurons),
            files=list(dict.fromkeys((neurons // ROWS).tolist())),
            previous=layers[at - 1] if at else None,
            next=layers[at + 1] if at + 1 < len(layers) else None,
        )

    def _layer_rows(self, layer: int, number: int) -> bytes | None:
        neurons = self.selection.neurons.get(layer)
        chosen = [] if neurons is None else neurons[neurons // ROWS == number].tolist()
        if not chosen:
            return None
        return script_file(
            f"layer/{layer}/rows-{number}",
            [list(row) for row in layer_rows(self._sources.layer(layer), self._sources.words, chosen)],
        )

    def _neuron_page(self, layer: int, neuron: int) -> bytes | None:
        at = self.selection.at(layer, neuron)
        if at is None:
            return None
        neurons = self.selection.neurons[layer]
        return self._page(
            "neuron.html",
            "../../",
            n=neuron_page(self._sources, self._index, layer, neuron),
            sources=SOURCES,
            imported=self.store.imported,
            per=self._rows.per_file,
            collected=self.selection.collected[layer],
            previous=int(neurons[at - 1]) if at else None,
            next=int(neurons[at + 1]) if at + 1 < len(neurons) else None,
        )

    def _row_file(self, number: int) -> bytes | None:
        rows = self._rows.file(number)
        return None if rows is None else script_file(f"rows/{number}", rows)

    def _search_contents(self, name: str) -> bytes:
        if name == "neurons":
            return script_file("search/neurons", self.selection.ranges())
        return script_file("search/contents", {**self._search.contents(), "rows": ROWS})

    def _search_file(self, kind: Kind, number: int) -> bytes | None:
        terms = self._search.file(kind, number)
        return None if terms is None else script_file(f"search/{kind}-{number}", terms)

    def _asset(self, name: str) -> bytes:
        file = name.rpartition("/")[2]
        shared = source(self._templates, "look.css") if file == "site.css" else ""
        return (shared + source(self._templates, file)).encode()

    def _page(self, template: str, root: str, **values: Any) -> bytes:
        text = self._template(template).render(
            root=root, live=self._live, policy=self._policy, subject=self._sources.subject, **values
        )
        return text.encode()

    @cached_property
    def _policy(self) -> str:
        """What a page may load: the site's own style and script. Where there is no server, `file:` names them."""
        own, connect = ("'self'", "connect-src 'self'; ") if self._live else ("'self' file:", "")
        return (
            f"default-src 'none'; script-src {own}; style-src {own}; img-src {own}; {connect}"
            "base-uri 'none'; form-action 'none'"
        )
