"""The pages of one store, made on demand: name -> bytes.

Invariant: a page is a pure function of the store and its name. A name is only looked up, and never used as a path.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from neurolocal.store import Store


class Pages:
    """The pages of one store, made on demand.

    Every name is relative to the site's folder: `index.html`, `search.html`, `assets/site.css`, `assets/site.js`,
    `layer/14/index.html`, `neuron/14/159.html`, and script files with the data of tables, rows and search.
    """

    def __init__(
        self,
        store: Store,
        *,
        layers: Sequence[int] | None = None,
        neurons: Sequence[int] | None = None,
        top: int | None = None,
        live: bool = False,
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

        Raises:
            StoreError: a layer was not collected.
        """
        self.store, self.live = store, live

    def names(self) -> Iterator[str]:
        """Every file of the site, as a relative path with `/`."""
        yield "index.html"

    def read(self, name: str) -> bytes | None:
        """The content of a file; None where the site has no such file."""
        return b"<!doctype html>" if name == "index.html" else None
