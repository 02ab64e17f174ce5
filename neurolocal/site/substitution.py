"""The picture of the substitution evidence: how much activation a word keeps against how far it is from the original.

Each point is a word that replaced a peak word. x is 1 - cosine of the two words' vectors, y the activation as a share
of the original's. Near words are dots, random controls are crosses, so colour is not the only sign; a line of each kind
marks its mean.
Invariant: a point is drawn at the edge where its value lies beyond the axes. Cost: at most `MOST` points of each kind.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from math import isfinite, nan
from statistics import fmean
from typing import Any

from neurolocal.render.figures import percent
from neurolocal.render.page_templates import markup
from neurolocal.render.visible import LONGEST, visible
from neurolocal.report.layer import Layer
from neurolocal.report.replacements import MEANINGFUL

MOST = 80
"""Points of a kind that are drawn."""

WIDTH, HEIGHT = 400.0, 180.0
"""Of the field of the points, in units of the drawing."""

FARTHEST = 1.4
"""Distance at the right edge."""

LOWEST, HIGHEST = -0.25, 1.5
"""Shares of the original's activation at the lower and the upper edge."""


@dataclass(frozen=True)
class Point:
    """A word that replaced a peak word."""

    x: float
    y: float
    """Place in the drawing."""
    word: str
    """The word, not made visible."""
    relative: float
    """Its activation / the original's."""
    distance: float
    """1 - cosine."""


@dataclass(frozen=True)
class Kind:
    """The points of one kind of words."""

    name: str
    control: bool
    """Whether these are the random ones."""
    points: list[Point]
    mean: float
    """Mean share of the original's activation over all of its words."""
    n: int
    """How many words there are, those that are not drawn included."""

    @property
    def y(self) -> float:
        """Where the mean lies in the drawing."""
        return _y(self.mean)

    @property
    def marks(self) -> Any:
        """The points as SVG, each with its word and value as its title."""
        return markup("\n".join(self._mark(point) for point in self.points))

    def _mark(self, p: Point) -> str:
        title = f"<title>{html.escape(visible(p.word, limit=LONGEST))} {percent(p.relative)}</title>"
        if self.control:
            return f'<path class="control" d="M{p.x - 3:g} {p.y - 3:g}l6 6m0-6l-6 6">{title}</path>'
        return f'<circle class="near" cx="{p.x:g}" cy="{p.y:g}" r="3.2">{title}</circle>'


@dataclass(frozen=True)
class Substitution:
    """The picture of one neuron."""

    kinds: list[Kind]
    levels: list[tuple[float, str]]
    """Lines of the scale: y, label."""
    distances: list[tuple[float, str]]
    """Marks of the axis: x, label."""

    @property
    def meaning(self) -> str:
        """What the picture says, in one sentence."""
        means = ", ".join(f"{kind.name} {percent(kind.mean)} (of {kind.n} words)" for kind in self.kinds)
        return f"Mean activation kept when the word is replaced: {means}"


def substitution(read: Layer, neuron: int) -> Substitution | None:
    """The picture of a neuron's substitutes; None if it has none with a known distance."""
    rows = read.substitute_rows.get(neuron, [])
    if not rows:
        return None
    tested = read.tables["perturbation"].substitutes
    originals = {int(tested.rank[i]): float(tested.activation[i]) for i in rows if tested.kind[i] == "original"}
    kinds = []
    for name, chosen, control in (("near words", MEANINGFUL, False), ("random controls", ("control",), True)):
        points, shares = [], []
        for i in rows:
            if tested.kind[i] not in chosen:
                continue
            original, distance = originals.get(int(tested.rank[i]), nan), 1.0 - float(tested.cosine[i])
            relative = float(tested.activation[i]) / original if original else nan
            if not isfinite(relative):
                continue
            shares.append(relative)
            if isfinite(distance):
                points.append(Point(_x(distance), _y(relative), tested.word[i].strip(), relative, distance))
        if points:
            kinds.append(Kind(name, control, points[:MOST], fmean(shares), len(shares)))
    if not kinds:
        return None
    levels = [(_y(share), percent(share)) for share in (0.0, 0.5, 1.0, 1.5)]
    return Substitution(kinds, levels, [(_x(d), f"{d:g}") for d in (0.0, 0.5, 1.0)])


def _x(distance: float) -> float:
    return round(WIDTH * min(max(distance / FARTHEST, 0.0), 1.0), 1)


def _y(relative: float) -> float:
    share = (relative - LOWEST) / (HIGHEST - LOWEST)
    return round(HEIGHT * (1.0 - min(max(share, 0.0), 1.0)), 1)
