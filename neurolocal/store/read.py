"""A store opened for reading: its manifest, sites and layers, and everything in it by layer and neuron.

`Store` is thin: the modules `read_rows`, `read_collect`, `read_evidence` and `read_pages` read and check the datasets.
Invariant: every link, shape and type is checked before it is used; a method returns what FORMAT.md describes, or raises
a StoreError that states what is wrong.
Cost: opening reads the manifest alone; a neuron's examples read k entries of each list, and all token rows once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast, get_args

import h5py
import numpy as np
from jaxtyping import Float32, Int64, Integer

from neurolocal.errors import StoreError
from neurolocal.provenance import Parts
from neurolocal.records import (
    CASES,
    SIDES,
    TABLES,
    Bands,
    CaseStatistics,
    Example,
    Experts,
    LayerRecord,
    LogitEffects,
    Maxima,
    PageLists,
    Sample,
    Side,
    Site,
    Statistics,
    TopK,
    table_of,
)
from neurolocal.store import read_collect, read_evidence, read_pages, read_rows
from neurolocal.store.checked import CheckedFile
from neurolocal.words import Vocabulary
from neurolocal.words.marked import marked

if TYPE_CHECKING:
    cached_property = property  # type checkers accept no cached_property where a protocol has a property
else:
    from functools import cached_property

LARGEST = 2**62
"""The largest number of rows or tokens that the manifest may state: arithmetic with it fits into int64."""

LARGEST_WINDOW = 2**31 - 1
"""The largest number of positions before or after a peak: positions are int32."""

LAYER = re.compile("0|[1-9][0-9]{0,8}")


class Store:
    """A store opened for reading; a context manager.

    A layer's arrays have one entry for each collected neuron, in the order of `neurons`. Every method raises a
    StoreError where the file is damaged, or does not hold what was asked for.
    """

    def __init__(self, path: str | Path, *, site: Site | None = None) -> None:
        """Open a store.

        Args:
            path: the file.
            site: which of its sites to read; None is the first.

        Raises:
            StoreError: no such file, no HDF5, another format or version, or damaged. A site that the store does not
                hold is reported at its first use.
        """
        self._file, self._asked = CheckedFile(Path(path)), site

    def __repr__(self) -> str:
        """What it is a store of: the subject, the rows, the layers, and the stages that have run."""
        m = self.manifest
        ran = [stage for stage in TABLES if any(self.inputs(stage, layer) is not None for layer in self.layers)]
        state = "complete" if m["complete"] else "stopped early"
        return (
            f"<Store {self.path}: {m['subject'].get('name')}, {m['rows']:,} rows, {state}; {self.site} of "
            f"{len(self.layers)} layers; {', '.join(ran) or 'no evidence yet'}>"
        )

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.root.close()

    # The file

    @property
    def path(self) -> Path:
        """The path of the file."""
        return self._file.path

    @property
    def checked(self) -> CheckedFile:
        """The file itself, for code that checks it."""
        return self._file

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What the store was made from, and how far the collection got."""
        manifest = self._file.json(self._file.root, "manifest")
        wanted = {"subject": dict, "tokenizer": dict, "corpus": dict, "config": dict}
        wanted |= {"rows": int, "tokens": int, "complete": bool}
        missing = [key for key, kind in wanted.items() if type(manifest.get(key)) is not kind]
        if missing:
            raise self._file.bad(f"the manifest lacks {', '.join(missing)}, or has a value of another type there")
        if not (0 <= manifest["rows"] <= LARGEST and 0 <= manifest["tokens"] <= LARGEST):
            raise self._file.bad("the manifest's rows or tokens cannot be: below 0, or beyond 2^62")
        return manifest

    @property
    def imported(self) -> bool:
        """Whether it was made from pages of another site (`neuroscope import`) and not from a corpus."""
        return isinstance(self.manifest.get("source"), dict)

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """Where neurons were read."""
        sites = self.manifest["config"].get("sites")
        known = isinstance(sites, list) and sites and all(isinstance(s, str) and s in get_args(Site) for s in sites)
        if not known:
            raise self._file.bad(f"unknown sites {ascii(sites)[:80]}")
        return tuple(cast("list[Site]", sites))

    @cached_property
    def site(self) -> Site:
        """The site that is read."""
        if self._asked is None:
            return self.sites[0]
        if self._asked not in self.sites:
            raise StoreError(
                f"looking for the site {self._asked} in {self.path}: it holds {', '.join(self.sites)}. "
                "Choose from these, or collect that site."
            )
        return self._asked

    @cached_property
    def layers(self) -> list[int]:
        """The layers collected, ascending."""
        group = self._file.get(f"collect/{self.site}")
        with self._file.reading(f"collect/{self.site}"):
            names = list(group) if isinstance(group, h5py.Group) else [""]
        if not all(LAYER.fullmatch(name) for name in names):
            raise self._file.bad(f"collect/{self.site} does not hold layers")
        return sorted(int(name) for name in names)

    def require_layers(self, layers: Iterable[int] | None) -> list[int]:
        """The given layers in ascending order, each once; all collected layers for None.

        Raises:
            StoreError: a layer that the store does not hold.
        """
        given = self.layers if layers is None else list(layers)
        absent = [layer for layer in given if layer not in self.layers]
        if absent:
            raise StoreError(
                f"looking for layer {', '.join(map(str, absent))} in {self.path}: it holds layers "
                f"{_ranges(self.layers)} (numbered from 0). Choose from these, or collect that layer."
            )
        return sorted(set(given))

    @cached_property
    def _before_after(self) -> tuple[int, int]:
        """Positions of a window before and after the peak."""
        config = self.manifest["config"]
        before, after = config.get("before"), config.get("after")
        if type(before) is not int or type(after) is not int or not min(before, after) >= 0:
            raise self._file.bad("the manifest's config lacks before or after")
        if max(before, after) > LARGEST_WINDOW:
            raise self._file.bad(f"the manifest's config has windows of more than {LARGEST_WINDOW:,} positions")
        return before, after

    @property
    def before(self) -> int:
        """Window positions before the peak."""
        return self._before_after[0]

    # Rows and tokens

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The bytes of every token id."""
        return read_rows.read_vocabulary(self._file)

    @property
    def d_vocab(self) -> int:
        """Token ids of the vocabulary."""
        return self._file.dataset("tokenizer/special", "u1", 1).shape[0]

    @cached_property
    def token_count(self) -> Int64[np.ndarray, "d_vocab"]:
        """How often each token occurred at a counted position of the corpus."""
        return self._file.array("corpus/token_count", "i8", shape=(self.d_vocab,))

    @cached_property
    def row_index(self) -> Int64[np.ndarray, "row"]:
        """Row indices of the stored rows, ascending."""
        return read_rows.read_row_index(self._file)

    @cached_property
    def rows_stored(self) -> tuple[Any, Any]:
        """All stored token rows, padding included, and their lengths, in memory."""
        return self.token_rows(0, len(self.row_index))

    def token_rows(self, start: int, stop: int) -> read_rows.TokenRows:
        """The stored rows of a range of `row_index`, padding included, and their lengths."""
        n, d_vocab, rows = len(self.row_index), self.d_vocab, slice(start, stop)
        return read_rows.read_token_rows(self._file, n_rows=n, d_vocab=d_vocab, rows=rows)

    def row(self, index: int) -> Integer[np.ndarray, "pos"]:
        """The token ids of a stored row, without padding.

        Raises:
            StoreError: the store does not hold that row.
        """
        at = int(self.row_index.searchsorted(index))
        if at == len(self.row_index) or self.row_index[at] != index:
            raise self._file.bad(f"an example refers to row {index}, which is not in rows/index")
        tokens, length = self.rows_stored
        return tokens[at][: length[at]]

    def stored_at(self, rows: Int64[np.ndarray, "*n"]) -> Int64[np.ndarray, "*n"]:
        """Where rows of these numbers are among the stored rows; -1 for the -1 of an unused slot.

        Raises:
            StoreError: the store does not hold one of them.
        """
        used = rows >= 0
        at = np.searchsorted(self.row_index, rows)
        read_rows.require_rows(self._file, self.row_index, at[used], rows[used])
        return np.where(used, at, -1)

    def require_examples(self, top: TopK | Bands) -> None:
        """Check that the row of every example is stored, and that it has the example's position.

        Raises:
            StoreError: one of them is not, or has not.
        """
        at = self.stored_at(top.row)
        length = self.rows_stored[1]
        wrong = (at >= 0) & (top.position >= length[at]) if len(length) else at >= 0
        if wrong.any():
            row, position = top.row[wrong][0], top.position[wrong][0]
            raise self._file.bad(f"an example is at position {position} of row {row}, which ends before it")

    def iter_rows(self) -> Iterator[Integer[np.ndarray, "pos"]]:
        """All stored rows, without padding, in corpus order."""
        for tokens, length in zip(*self.rows_stored, strict=True):
            yield tokens[:length]

    @cached_property
    def parts(self) -> Parts:
        """Which documents the stored rows are made of, in the order of `row_index`."""
        return read_rows.read_parts(self._file, n_rows=len(self.row_index))

    def parts_between(self, start: int, stop: int) -> Parts:
        """The same for the stored rows of a range of `row_index`; only theirs are read."""
        return read_rows.read_parts_between(self._file, start, stop)

    @property
    def subset_names(self) -> tuple[str, ...]:
        """The corpus's subsets that stored rows come from; the empty name means "in none"."""
        return self.parts.subsets

    @cached_property
    def sample(self) -> Sample:
        """The positions drawn at random, the same for all neurons."""
        return read_rows.read_sample(self._file)

    def rest(self) -> dict[str, Any]:
        """What an interrupted collection resumes with: the columns of `neurolocal.corpus.rest_arrays`, or {}."""
        return read_rows.read_rest(self._file)

    # Layers

    def neurons(self, layer: int) -> Int64[np.ndarray, "neuron"]:
        """The index within the layer of each collected neuron, ascending."""
        return read_collect.read_neurons(self._file, self._base(layer))

    def index_of(self, layer: int, neuron: int) -> int:
        """Where a neuron is in the arrays of its layer.

        Raises:
            StoreError: no such layer or neuron.
        """
        self.require_layers([layer])
        neurons = self.neurons(layer)
        at = int(np.searchsorted(neurons, neuron))
        if at == len(neurons) or neurons[at] != neuron:
            raise StoreError(
                f"looking for neuron {neuron} of layer {layer} in {self.path}: it has neurons "
                f"{_ranges(neurons.tolist())}."
            )
        return at

    def k(self, layer: int, side: Side = "largest") -> int:
        """The length of a layer's lists."""
        return read_collect.read_k(self._file, self._base(layer), side)

    def sides(self, layer: int) -> list[Side]:
        """The lists that a layer has: largest, smallest, and the sign cases where they were collected.

        A store that was imported from pages has no smallest ones, since pages show the largest.
        """
        always = ("largest",) if self.imported else SIDES
        return [
            side for side in (*SIDES, *CASES) if side in always or self._file.has(f"{self._base(layer)}/{side}")
        ]  # fmt: skip

    def top(self, layer: int, side: Side, neurons: slice = slice(None)) -> TopK:
        """The lists of a layer's neurons, or of a slice of its arrays, in memory."""
        return self._lists(layer, side, neurons)

    def example_rows(self, layer: int, side: Side = "largest") -> Int64[np.ndarray, "neuron k"]:
        """The row of every example of a layer, -1 for unused slots: `top(layer, side).row` without the windows."""
        return self._file.array(f"{self._base(layer)}/{side}/row", "i8", ndim=2)

    def example_lists(self, layer: int, side: Side = "largest", neurons: slice = slice(None)) -> list[list[Example]]:
        """The examples of every collected neuron of a layer, or of a slice of `neurons`, strongest first, in order."""
        top = self.top(layer, side, neurons)
        return [self._examples(top, i) for i in range(len(top.activation))]

    def examples(self, layer: int, neuron: int, side: Side = "largest") -> list[Example]:
        """The examples of one neuron, strongest first.

        Raises:
            StoreError: no such layer or neuron.
        """
        at = self.index_of(layer, neuron)
        return self._examples(self._lists(layer, side, slice(at, at + 1)), 0)

    def text(self, example: Example) -> str:
        """An example's window as one line of text, the whole word at its peak in `<< >>`."""
        word = self.vocabulary.word_at(example.tokens, example.peak)
        return marked(example.tokens, word.start, word.end, 0, len(example.tokens), self.vocabulary)

    def statistics(self, layer: int) -> Statistics:
        """The statistics of a layer."""
        conventions = self.manifest.get("statistics", read_collect.CONVENTIONS)
        return read_collect.read_statistics(
            self._file, self._base(layer), n=len(self.neurons(layer)), conventions=conventions
        )  # fmt: skip

    def cases(self, layer: int) -> CaseStatistics | None:
        """How often each neuron is in each sign case; None where they were not collected."""
        return read_collect.read_cases(self._file, self._base(layer), n=len(self.neurons(layer)))

    def sampled(self, layer: int, neurons: slice = slice(None)) -> Float32[np.ndarray, "neuron sample"]:
        """The activation of every neuron of a layer, or of a slice of `neurons`, at the positions of `sample`."""
        shape = (len(self.neurons(layer)), len(self.sample.row))
        return read_collect.read_sampled(self._file, self._base(layer), neurons, shape=shape)

    def logit_effects(self, layer: int) -> LogitEffects | None:
        """The tokens that each neuron promotes and suppresses; None where they were not computed."""
        n = len(self.neurons(layer))
        return read_collect.read_logit_effects(self._file, self._base(layer), n=n, d_vocab=self.d_vocab)

    def experts(self, layer: int) -> Experts | None:
        """Which neurons of a layer belong to which expert, and the positions routed to each; None without experts."""
        return read_collect.read_experts(self._file, self._base(layer), neurons=self.neurons(layer))

    def neuron_of(self, layer: int, expert: int, index: int) -> int:
        """The number within the layer of an expert's neuron.

        Raises:
            StoreError: the layer has no such expert, or the expert no such neuron.
        """
        self.require_layers([layer])
        experts = self.experts(layer)
        if experts is None or not 0 <= expert < len(experts.count):
            there = "no experts" if experts is None else f"experts 0 to {len(experts.count) - 1}"
            raise StoreError(f"looking for expert {expert} of layer {layer} in {self.path}: it has {there}.")
        first, stop = experts.offsets[expert : expert + 2].tolist()
        if not 0 <= index < stop - first:
            raise StoreError(
                f"looking for neuron {index} of expert {expert} of layer {layer} in {self.path}: the expert has "
                f"neurons 0 to {stop - first - 1}."
            )
        return first + index

    def record(self, layer: int) -> LayerRecord:
        """Everything that a collection stored of a layer."""
        return LayerRecord(
            {side: self.top(layer, side) for side in self.sides(layer)},
            self.statistics(layer),
            self.sampled(layer),
            cases=self.cases(layer),
            neurons=self.neurons(layer) if self._file.has(f"{self._base(layer)}/neuron") else None,
            effects=self.logit_effects(layer),
            experts=self.experts(layer),
            bands=self.bands(layer),
        )

    def bands(self, layer: int, neurons: slice = slice(None)) -> Bands | None:
        """The examples of each band of activation, of a layer's neurons or of a slice of them; None without bands."""
        shape = (len(self.neurons(layer)), self.manifest["config"].get("bands", 0))
        return read_collect.read_bands(self._file, self._base(layer), neurons, shape=shape)

    def maxima(self, layer: int) -> Maxima:
        """The largest activation of each neuron over the whole corpus."""
        neurons, pages = self.neurons(layer), self.pages(layer)
        if pages is not None:
            return Maxima(neurons, np.where(pages.trusted, pages.maximum, np.nan))
        seen = self.statistics(layer).maximum.astype(np.float64)
        return Maxima(neurons, np.where(np.isfinite(seen), seen, np.nan))

    def subsets(self, layer: int, side: Side = "largest") -> Float32[np.ndarray, "neuron subset"]:
        """The share of each neuron's examples that comes from each of `subset_names`; NaN without examples."""
        top = self.top(layer, side)
        used = top.row >= 0
        row = np.where(used, top.row, self.row_index[:1].sum())  # unused slots name the first row, if there is one
        part = self.parts.at(self.stored_at(row), np.where(used, top.position, 0))
        names = len(self.parts.subsets)
        cell = np.arange(len(used))[:, None] * names + self.parts.subset[part]
        counts = np.bincount(cell[used], minlength=len(used) * names).reshape(len(used), names)
        with np.errstate(invalid="ignore"):
            return (counts / used.sum(axis=1, keepdims=True)).astype(np.float32)

    # Evidence

    def evidence(self, stage: str, layer: int, side: Side = "largest") -> Any:
        """The table of a stage for a layer and side; None where the stage has not run."""
        group = read_evidence.evidence_group(self._file, f"{stage}/{self.site}/{layer}/{side}")
        if group is None:
            return None
        return read_evidence.read_table(self._file, group, table_of(stage), self.neurons(layer))

    def inputs(self, stage: str, layer: int, side: Side = "largest") -> dict[str, Any] | None:
        """What a table was made from; None where the stage has not run."""
        group = read_evidence.evidence_group(self._file, f"{stage}/{self.site}/{layer}/{side}")
        return None if group is None else self._file.json(group, "inputs")

    # Pages of another site

    def pages(self, layer: int) -> PageLists | None:
        """What pages state beyond the examples; None where the store was not imported from pages."""
        shape = (len(self.neurons(layer)), self.k(layer))
        return read_pages.read_page_lists(self._file, f"neuroscope/{self.site}/{layer}", shape=shape)

    def page_activations(self, layer: int, at: int) -> Float32[np.ndarray, "k pos"]:
        """The activations over the whole row of each example in one neuron's list, as its page states them.

        Args:
            layer: of a store that was imported from pages.
            at: where the neuron is in `neurons`.

        NaN where the page does not state them, beyond the row, and in unused slots.
        """
        shape = (len(self.neurons(layer)), self.k(layer), self.rows_stored[0].shape[1])
        return read_pages.read_page_activations(self._file, f"neuroscope/{self.site}/{layer}", at, shape=shape)

    @cached_property
    def problems(self) -> list[str]:
        """What could not be read of the pages that the store was imported from, one line each."""
        return read_pages.read_problems(self._file)

    # Shared by the methods above

    def _base(self, layer: int) -> str:
        return f"collect/{self.site}/{layer}"

    def _lists(self, layer: int, side: Side, neurons: slice) -> TopK:
        if side != "largest" and side not in self.sides(layer):
            raise StoreError(
                f"looking at {side} of layer {layer} in {self.path}: it holds {', '.join(self.sides(layer))}. "
                f"{'Pages show the largest activations. ' if self.imported else ''}Choose from these."
            )
        before, after = self._before_after
        return read_collect.read_lists(self._file, f"{self._base(layer)}/{side}", neurons, width=before + 1 + after)

    def _examples(self, top: TopK, at: int) -> list[Example]:
        return read_collect.examples_of(self._file, top, at, row=self.row, before=self._before_after[0])


def _ranges(numbers: list[int]) -> str:
    """0,1,2,5 -> 0-2,5."""
    parts: list[str] = []
    for i, n in enumerate(numbers):
        if i and n == numbers[i - 1] + 1:
            parts[-1] = f"{parts[-1].split('-')[0]}-{n}"
        else:
            parts.append(str(n))
    return ",".join(parts)
