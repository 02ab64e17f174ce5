"""Saved pages of another site -> a store like any other.

The corpus of such a store is the rows that its pages show: every example, window and full text that could be read, at
the site that the pages were made at, with what they print besides under `neuroscope/`. Its tokens are the pages'
strings; `replay` finds the ids behind them. Invariant: what is in the store stood on a page and agreed with all else
that the pages say; what was left out is named, and the names are kept in the store. Nothing is read but these files.
Cost: see `scripts/bench_neuroscope.py`; memory holds one layer's lists and the index of `find`, never the texts.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, UInt32
from tqdm import tqdm

from neurolocal.config import sha256
from neurolocal.errors import StoreError
from neurolocal.neuroscope.gathered import Rows, Spool, Stored, folder_of
from neurolocal.neuroscope.known import Known
from neurolocal.neuroscope.known_store import Told, settings, write_known
from neurolocal.neuroscope.pages import PageError, Problem
from neurolocal.neuroscope.sheets import Sheet, page_files, read_sheets
from neurolocal.records import Place, Site


@dataclass
class Imported:
    """What an import found."""

    pages: int = 0
    """Pages of which a text was read."""
    texts: int = 0
    """Texts that are in the store."""
    rows: int = 0
    """Distinct rows that they lie in."""
    doubled: int = 0
    """Files that say what an earlier one says."""
    problems: list[str] = field(default_factory=list)
    """What could not be read: file, text number, reason."""

    def json(self) -> str:
        """All of it as one JSON object."""
        return json.dumps(asdict(self))


class _Page(NamedTuple):
    """A page's texts, whose values lie in the spool."""

    content: bytes
    places: Int64[np.ndarray, "text 6"]
    printed: Float64[np.ndarray, "text 2"]
    starts: Int64[np.ndarray, "text"]
    range: float


def import_pages(
    paths: Sequence[Path], out: Path, *, model: str | None = None, site: Site | None = None,
    say: Callable[[str], None] = print, bar: bool = True, processes: int | None = None,
) -> Imported:  # fmt: skip
    """Read pages and write a store.

    Args:
        paths: page files, and folders that are searched for them.
        out: the store to write; what is there is replaced.
        model: import the pages of this model alone, as they name it.
        site: where the activations were read; None is what our own pages say, `mid` for pages of SoLU models and
            `post` for others, as the site has it.
        say: told what was read and what was left out.
        bar: whether to show a progress bar.
        processes: that read pages; None is one a core.

    Raises:
        StoreError: no page, no text that can be read, pages of several models, or the store cannot be written.
    """
    files = page_files(paths)
    with folder_of(out) as folder, closing(_Gathered(folder, model)) as gathered:
        for sheet in tqdm(read_sheets(files, processes=processes), "import", len(files), unit="page", disable=not bar):
            gathered.add(sheet)
        if not gathered.imported.texts:
            other = ", ".join(map(repr, sorted(gathered.other)))
            first = gathered.imported.problems[:1] or [f"they are of {other}" if other else "they hold none"]
            raise StoreError(f"importing {len(files):,} pages: not one text could be read ({first[0]}). See the first.")
        gathered.write(out, paths, site or gathered.site())
        return gathered.imported


class _Gathered:
    """What the pages so far say."""

    def __init__(self, folder: Path, wanted: str | None) -> None:
        self.wanted, self.imported = wanted, Imported()
        self.rows, self._values = Rows(folder), Spool(folder, "<f4")
        self._pages: dict[tuple[int, int], _Page] = {}
        self._own: list[dict[str, Any]] = []
        self._models, self._datasets, self.other = Counter[str](), Counter[str](), Counter[str]()
        self._digest, self._special = hashlib.sha256(), set[str]()

    def add(self, sheet: Sheet) -> None:
        """Take in one page."""
        page, problems = sheet.page, [*sheet.problems]
        codes = self.rows.number(sheet.reader, sheet.new, sheet.codes)
        self._digest.update(f"{sheet.file}\0{sheet.sha256}\n".encode("utf-8", "surrogateescape"))
        if page is not None and self.wanted is not None and page.model not in ("", self.wanted):
            self.other[page.model] += 1
            return
        strange = [] if page is None else [n for n, said in page.own.items() if not _KNOWN.get(n, _anything)(said)]
        if strange:
            problems.append(Problem(None, f"what it says of its making is damaged ({strange[0]}); it is left out"))
        elif page is not None and len(sheet.places) and not page.model and (self.wanted or any(self._models)):
            problems.append(Problem(None, "it does not say which model it is of, as other pages do; it is left out"))
        elif page is not None and len(sheet.places):
            self._belongs(sheet.file, page.model, page.own)
            content, old = _content(sheet, codes), self._pages.get((page.layer, page.neuron))
            if old is not None and old.content == content:
                self.imported.doubled += 1
                return
            if old is None:
                self._take(sheet, codes, content, problems)
            else:
                problems.append(Problem(None, "an earlier file has other texts of this neuron; this one is left out"))
        self.imported.problems += [f"{sheet.file}: {problem}" for problem in problems]

    def _belongs(self, file: str, model: str, own: dict[str, Any]) -> None:
        if self._models and model not in self._models:
            other = next(iter(self._models))
            raise StoreError(
                f"importing {file}: it is a page of {model!r}, earlier ones are of {other!r}. Import each model into "
                "a store of its own: give its folder alone, or --model NAME."
            )
        if own.get("side", "largest") != "largest":
            raise StoreError(
                f"importing {file}: it shows the list {own['side']!r}; a store's pages are of the largest activations. "
                "Export that side again without --side."
            )
        conventions = {name: own.get(name) for name in _CONVENTIONS}
        if self._own and conventions != self._own[0]:
            raise StoreError(
                f"importing {file}: it says {conventions}, earlier pages {self._own[0]}. Import pages of one export."
            )
        self._own = self._own or [conventions]
        self._models[model] += 1

    def _take(self, sheet: Sheet, codes: UInt32[np.ndarray, "token"], content: bytes, problems: list[Problem]) -> None:
        page = sheet.page
        assert page is not None
        begins = np.cumsum([0, *sheet.places[:, 4]])
        kept, starts, taken = list[int](), list[int](), set[int]()
        for i, (number, index, _, first, _, whole) in enumerate(sheet.places.tolist()):
            mine = slice(int(begins[i]), int(begins[i + 1]))
            try:
                if index in taken:
                    raise PageError(f"data index {index} is there twice; the first is kept")
                self.rows.add(index, sheet.datasets[i], first, codes[mine], whole=bool(whole))
            except PageError as error:
                problems.append(Problem(number, str(error)))
                continue
            taken.add(index)
            kept.append(i)
            starts.append(self._values.add(sheet.values[mine]))
        if not kept:
            return
        self._special.update(page.own.get("special", ()))
        self._datasets[page.dataset] += 1
        self._pages[page.layer, page.neuron] = _Page(
            content, sheet.places[kept], sheet.printed[kept], np.array(starts, np.int64), page.range
        )
        self.imported.pages += 1
        self.imported.texts += len(kept)

    @property
    def own(self) -> dict[str, Any]:
        """What our own pages say; empty of others."""
        return {name: value for name, value in self._own[0].items() if value is not None}

    def site(self) -> Site:
        """Where the pages were made, by their own word or by the site's conventions."""
        said = self.own.get("site")
        if said in ("post", "mid", "pre", "pre_linear"):
            return said
        return "mid" if next(iter(self._models)).lower().startswith("solu") else "post"

    def write(self, out: Path, paths: Sequence[Path], site: Site) -> None:
        """Write the store."""
        stored = self.rows.stored(self._special)
        self.imported.rows = len(stored.rows.index)
        of_layer: dict[tuple[Site, int], list[int]] = {}
        for layer, neuron in sorted(self._pages):
            of_layer.setdefault((site, layer), []).append(neuron)
        k = max(len(page.places) for page in self._pages.values())
        manifest = self._manifest(paths, stored, site, k)
        write_known(out, manifest, stored, of_layer, self._told, problems=self.imported.problems)

    def _told(self, place: Place, neuron: int) -> Told:
        """A page's texts in its own order."""
        page = self._pages[place[1], neuron]
        ends = page.places[:, 3] + page.places[:, 4]
        values = np.full((len(page.places), int(ends.max())), np.nan, np.float32)
        for i, (_, _, _, first, length, _) in enumerate(page.places.tolist()):
            values[i, first : first + length] = self._values.read(int(page.starts[i]), length)
        known = Known(page.places[:, 1].copy(), page.places[:, 2].astype(np.int32), values)
        return Told(known, page.places[:, 0].astype(np.int32), page.printed, page.range)

    def _manifest(self, paths: Sequence[Path], stored: Stored, site: Site, k: int) -> dict[str, Any]:
        own, vocabulary = self.own, stored.vocabulary
        skipped = {"texts and pages left out": len(self.imported.problems)} if self.imported.problems else {}
        words = [token.decode("utf-8", "replace") for token in vocabulary.tokens]
        return {
            "subject": {
                "name": next(iter(self._models)), "path": "", "sha256": own.get("subject"),
                "n_layers": own.get("n_layers"), "d_mlp": own.get("d_mlp"), "d_vocab": len(words),
            },
            "tokenizer": {"sha256": sha256(words), "bos": stored.bos, "eos": None, "size": len(words)},
            "corpus": {
                "path": " ".join(map(str, paths)), "n_files": self.imported.pages, "files": [],
                "documents": len(stored.rows.index), "skipped": skipped,
            },
            "config": settings(stored, own, sites=[site], k=k),
            "source": {
                "kind": "pages", "pages": self.imported.pages, "sha256": self._digest.hexdigest(),
                "model": next(iter(self._models)), "datasets": dict(self._datasets), "tokens": "strings", "own": own,
            },
        }  # fmt: skip

    def close(self) -> None:
        """Let go of the temporary files."""
        self.rows.close()
        self._values.close()


def _content(sheet: Sheet, codes: UInt32[np.ndarray, "token"]) -> bytes:
    """Names what a page's texts say: equal for two files that say the same."""
    page = sheet.page
    made = hashlib.sha256(repr((page and page.model, sheet.datasets)).encode("utf-8", "surrogatepass"))
    for array in (sheet.places, sheet.printed, codes, sheet.values):
        made.update(np.ascontiguousarray(array).data)
    return made.digest()


_CONVENTIONS = (
    *("site", "side", "dtype", "bos", "count_bos", "skip_special", "subject", "tokenizer", "n_layers", "d_mlp"),
)
"""What our own pages say of the store that they were made from, alike on all pages of one export."""


def _anything(_: object) -> bool:
    return True


def _flag(said: object) -> bool:
    return said is None or type(said) is bool


def _name(said: object) -> bool:
    return said is None or (type(said) is str and said.isascii())


def _size(said: object) -> bool:
    return said is None or (type(said) is int and 0 < said < 1 << 31)


def _strings(said: object) -> bool:
    return type(said) is list and all(type(s) is str for s in said)


_KNOWN: dict[str, Callable[[object], bool]] = {
    **dict.fromkeys(("site", "side", "subject", "tokenizer"), _name),
    **dict.fromkeys(("count_bos", "skip_special"), _flag),
    "n_layers": _size,
    "d_mlp": lambda said: said is None or (type(said) is list and all(map(_size, said)) and None not in said),
    "dtype": lambda said: said in (None, "float32", "bfloat16", "float16"),
    "bos": lambda said: said in (None, "prepend", "none"),
    "special": _strings,
    "damaged": lambda said: False,
}
"""What can stand there, by its name."""
