"""A comparison as one self-contained HTML page: notes, figures by layer, densities, histograms, the least agreeing.

Invariant: no script and no network (the content security policy forbids both); text of the two stores is made visible,
then escaped. The same comparison gives the same bytes. Cost: some 3 KB a layer and 1 KB a listed neuron.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, log10
from pathlib import Path, PurePath

import numpy as np
from jaxtyping import Bool, Float64, Int64

from neurolocal.files import write_text
from neurolocal.neuroscope.compare.comparison import Comparison, LayerComparison
from neurolocal.neuroscope.compare.comparison_output import number, shared, token_list
from neurolocal.neuroscope.compare.sides import SideFacts
from neurolocal.render.page_templates import Filters, digest, environment, markup, source
from neurolocal.render.visible import visible

LISTED = 200
"""Neurons in the table of those that agree least."""

CELLS = 32
"""Cells of a density plot along each axis."""

SHADES = 8
"""Shades of a density plot; each stands for twice as many neurons as the one before."""

BINS = 20
"""Bars of a histogram over [0, 1]."""


@dataclass(frozen=True)
class Density:
    """Own against their maxima of one layer, on logarithmic axes, as paths in a square of `CELLS` units."""

    layer: int
    shades: list[tuple[int, str]]
    """Shade from 1, and the path of its cells."""
    most: int
    """Neurons in the fullest cell."""
    low: str
    """Start of both axes."""
    high: str
    """End of both axes."""
    expected: float
    """How far the line own = expected ratio x theirs lies above the diagonal, in units; NaN if unknown."""
    neurons: int
    """Neurons drawn."""
    left_out: int
    """Neurons not drawn: a maximum is unknown, or not above 0."""
    spearman: float


@dataclass(frozen=True)
class Histogram:
    """The distribution of a figure of overlap, and of its null; bars in a box of 100 by 40."""

    name: str
    bars: str
    """Path of the bars."""
    null: str
    """Path of the null's outline; empty without one."""
    mean: float
    null_mean: float
    most: float
    """Share of the neurons in the fullest bar of both."""


def write_comparison(c: Comparison, path: Path) -> None:
    """Write the page, whole or not at all; without jinja2 (extra `site`) this is a `NeurolocalError`."""
    write_text(path, comparison_page(c))


def comparison_page(c: Comparison) -> str:
    """The page as text."""
    folders = [Path(__file__).parent / "templates", Path(__file__).parents[2] / "report" / "templates"]
    filters: Filters = {
        "note": lambda text: visible(text, limit=600),
        "tokens": token_list,
        "at": lambda value: round(100 * min(max(value, 0.0), 1.0), 1) if isfinite(value) else 0,
        "centred": lambda value: round(50 + 50 * min(max(value, -1.0), 1.0), 1) if isfinite(value) else 50,
    }
    templates = environment(folders, doing="writing the page", filters=filters)
    style = "".join(source(templates, name) for name in STYLES)
    listed = [place for place, _ in zip(c.least_agreeing(), range(LISTED), strict=False)]
    return templates.get_template("compare.html").render(
        style=markup(style),
        policy=f"default-src 'none'; style-src {digest(style)}; base-uri 'none'; form-action 'none'",
        c=c,
        names=[side.subject or PurePath(side.path).name for side in (c.own, c.theirs)],
        facts=_facts(c.own, c.theirs),
        examples=isfinite(c.overall.rbo),
        densities=[density(layer) for layer in c.layers],
        histograms=histograms(c),
        listed=[(layer, at, layer.neurons, shared(layer.neurons, at)) for layer, at in listed],
        left_out=sum(len(one.neurons.neuron) for one in c.layers) - len(listed),
        cells=CELLS,
    )


STYLES = ("look.css", "page.css", "compare.css")
"""The report's style, and the additions of this page."""


def _facts(own: SideFacts, theirs: SideFacts) -> list[tuple[str, str, str]]:
    """Rows of name, ours, theirs; without those that are unknown on both sides."""

    def described(side: SideFacts) -> dict[str, str | None]:
        rows = f"{side.rows:,}" if side.rows is not None else None
        at_least = f"at least {side.least_rows:,}" if side.least_rows else None
        return {
            "file": side.path,
            "kind": {"collected": "a store", "imported": "imported pages", "list": "a list of maxima"}[side.kind],
            "subject": side.subject,
            "weights": f"{side.weights[:12]}…" if side.weights else None,
            "site": side.site,
            "dtype": side.dtype,
            "corpus": side.corpus,
            "rows of the corpus": rows or at_least,
        }

    ours, others = described(own), described(theirs)
    return [(name, ours[name] or "–", others[name] or "–") for name in ours if ours[name] or others[name]]


def density(one: LayerComparison) -> Density:
    """How many neurons have which pair of maxima; both axes from the smallest to the largest maximum of either side."""
    own, theirs, f = one.neurons.own, one.neurons.theirs, one.figures
    drawn = (own > 0) & (theirs > 0)
    low, high = 0.1, 1.0
    if drawn.any():
        both = np.concatenate([own[drawn], theirs[drawn]])
        low, high = float(both.min()), float(both.max())
    first, last = log10(low), log10(high)
    spread = max(last - first, 0.1)
    first, spread = first - 0.02 * spread, 1.04 * spread

    def cell(values: Float64[np.ndarray, "n"]) -> Int64[np.ndarray, "n"]:
        return np.clip((np.log10(values) - first) / spread * CELLS, 0, CELLS - 1).astype(np.int64)

    counts = np.zeros((CELLS, CELLS), np.int64)
    np.add.at(counts, (cell(own[drawn]), cell(theirs[drawn])), 1)
    most = int(counts.max())
    shades = []
    for shade in range(1, SHADES + 1):
        path = _squares(_shade(counts) == shade)
        if path:
            shades.append((shade, path))
    ratio = f.ratio_expected
    expected = log10(ratio) / spread * CELLS if isfinite(ratio) and ratio > 0 else float("nan")
    left = int(len(own) - drawn.sum())
    return Density(one.layer, shades, most, number(low), number(high), expected, int(drawn.sum()), left, f.spearman)


def _shade(counts: Int64[np.ndarray, "own theirs"]) -> Int64[np.ndarray, "own theirs"]:
    """1 for one neuron, 2 for two or three, and so on."""
    return np.minimum(np.floor(np.log2(np.maximum(counts, 1))).astype(np.int64) + 1, SHADES) * (counts > 0)


def _squares(which: Bool[np.ndarray, "own theirs"]) -> str:
    """A path of unit squares, adjacent ones joined; theirs to the right, ours up."""
    path = []
    for y, line in enumerate(which):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], line, [False]]).astype(np.int8)))
        path += [f"M{a} {CELLS - 1 - y}h{b - a}v1h{a - b}z" for a, b in edges.reshape(-1, 2).tolist()]
    return "".join(path)


def histograms(c: Comparison) -> list[Histogram]:
    """The histograms of rank-biased overlap and of Jaccard, over all neurons."""
    found = []
    for name, column in (("rank-biased overlap", "rbo"), ("Jaccard", "jaccard")):
        columns = [
            np.concatenate([getattr(one.neurons, wanted) for one in c.layers]) for wanted in (column, f"{column}_null")
        ]
        values, null = (side[np.isfinite(side)] for side in columns)
        if not len(values):
            continue
        shares = [np.bincount(np.minimum((v * BINS).astype(int), BINS - 1), minlength=BINS) / max(len(v), 1)
                  for v in (values, null)]  # fmt: skip
        most = max(float(share.max()) for share in shares)
        found.append(
            Histogram(
                name,
                _bars(shares[0] / most),
                _outline(shares[1] / most) if len(null) else "",
                getattr(c.overall, column),
                getattr(c.overall, f"{column}_null"),
                most,
            )
        )
    return found


def _bars(heights: Float64[np.ndarray, "bin"]) -> str:
    step = 100 / BINS
    tall = [(i, 40 * height) for i, height in enumerate(heights.tolist()) if height > 0]
    return "".join(f"M{i * step + 0.4:.1f} 40v{-h:.2f}h{step - 0.8:.1f}V40z" for i, h in tall)


def _outline(heights: Float64[np.ndarray, "bin"]) -> str:
    return "M0 40" + "".join(f"V{40 - 40 * h:.2f}h{100 / BINS:.0f}" for h in heights.tolist()) + "V40"
