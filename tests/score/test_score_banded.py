"""Texts of all bands: what is drawn, and that the weights are those of the corpus, by brute force over a small one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from text_twins import VOCABULARY, example

from neurolocal.records import histogram_edges
from neurolocal.score.banded import draw_bands
from neurolocal.score.texts import SIZE, Drawing, draw, start_of, starts
from neurolocal.store.band_rows import Band, BandRow

K, KEPT = 6, 4
LENGTH = 120
"""Tokens of a row: four texts and a tail in no text."""


class World:
    """A corpus of which every activation is known, with what a store would hold of one neuron."""

    def __init__(self, rng: np.random.Generator, rows: int = 300) -> None:
        self.tokens = rng.integers(1, 20, (rows, LENGTH))
        strength = rng.exponential(1.2, rows)[:, None]
        self.values = (rng.random((rows, LENGTH)) ** 6 * strength).astype(np.float32)
        peak = self.values.argmax(axis=1)
        self.tokens[np.arange(rows), peak] = 20
        top = np.argsort(-self.values.max(axis=1), kind="stable")
        self.examples = [
            example(r, self.tokens[i], int(peak[i]), float(self.values[i].max()), int(i)) for r, i in enumerate(top[:K])
        ]
        self.most = self.examples[0].activation
        edges = histogram_edges()
        top_bin = int(np.searchsorted(edges, self.most, side="right"))
        self.band = top_bin - np.searchsorted(edges, self.values.max(axis=1), side="right")
        self.limits = [(float(edges[top_bin - i - 1]), float(edges[top_bin - i])) for i in range(10)]
        self.hash(rng.permutation(rows))

    def hash(self, order: np.ndarray) -> None:
        """Keep the rows of each band that come first in this order."""
        self.order, self.bands = order, list[Band]()
        for i, limits in enumerate(self.limits):
            inside = order[self.band[order] == i].tolist()
            kept = [BandRow(r, int(self.values[r].argmax()), float(self.values[r].max())) for r in inside[:KEPT]]
            self.bands += [Band(i, *limits, len(inside), kept)] if inside else []

    def draw(self, rng: np.random.Generator, *, banded: int, each: int = 5, rows: int = 40, **more):
        listed = {e.row for e in self.examples}
        some = [int(r) for r in rng.permutation(len(self.tokens))[:rows] if int(r) not in listed]
        random = [(r, self.tokens[r], self.values[r]) for r in some]
        drawing = Drawing(self.tokens.__getitem__, each, len(self.tokens) * 4, self.bands, banded)
        return draw(self.examples, random, VOCABULARY, replace(drawing, **more), most=self.most, rng=rng)


@pytest.mark.parametrize("banded", [3, 10, 100])
def test_every_band_text_is_what_the_corpus_says(banded: int, rng: np.random.Generator) -> None:
    world = World(rng)
    explaining = {int(r) for r in world.order[:40]}
    found = [t for t in world.draw(rng, banded=banded, explaining=explaining) if t.stratum == "band"]
    assert 0 < len(found) <= banded
    explains = {band.explains.row for band in world.bands if band.explains is not None}
    assert explains
    listed, per_band = {e.row for e in world.examples}, dict.fromkeys(range(len(world.bands)), 0)
    for text in found:
        assert text.row not in listed | explaining | explains
        values = world.values[text.row]
        peak = int(values.argmax())
        assert text.start <= peak < text.start + SIZE
        assert text.fires == (values.max() >= world.most / 2)
        known = np.isfinite(text.activations)
        assert np.flatnonzero(known).tolist() == [peak - text.start]
        assert text.activations[known][0] == pytest.approx(values.max() / world.most)
        per_band[next(i for i, b in enumerate(world.bands) if b.holds(float(values.max())))] += 1
    usable = [
        sum(r.row not in listed | explaining and start_of(r.position, LENGTH) is not None for r in band.scoring)
        for band in world.bands
    ]
    short = [n for n, have in zip(per_band.values(), usable, strict=True) if n < have]
    assert max(per_band.values()) - min(short, default=max(per_band.values())) <= 1  # dealt evenly
    assert len(found) == min(banded, sum(usable))


@pytest.mark.slow
def test_the_weights_are_those_of_the_corpus() -> None:
    """The mean of weighted sums over many draws is the sum over all texts of the corpus."""
    rng = np.random.default_rng(8)  # a statistical test: the seed is fixed
    world = World(rng)

    def measure(row: int, start: int) -> np.ndarray:
        """All texts, those that fire, and two figures of what stands there."""
        tokens, values = world.tokens[row, start : start + SIZE], world.values[row, start : start + SIZE]
        return np.array([1.0, (values >= world.most / 2).any(), (tokens == 5).sum(), values.max()])

    listed = {e.row for e in world.examples}
    whole = sum(measure(r, s) for r in range(len(world.tokens)) if r not in listed for s in starts(LENGTH))
    sums = []
    for _ in range(1500):
        world.hash(rng.permutation(len(world.tokens)))
        found = [t for t in world.draw(rng, banded=30) if t.stratum != "example"]
        sums.append(sum(t.weight * measure(t.row, t.start) for t in found))
    error = np.std(sums, axis=0) / np.sqrt(len(sums))
    # Rows of the list are in no random row; their other texts are counted as often as those of other rows.
    expected = whole * 300 / (300 - len(listed))
    assert (np.abs(np.mean(sums, axis=0) - expected) <= 4 * error + 0.005 * expected).all(), (sums[0], expected, error)


def test_without_bands_all_is_as_before(rng: np.random.Generator) -> None:
    world, seed = World(rng), int(rng.integers(1 << 30))
    before = world.draw(np.random.default_rng(seed), banded=0)
    same = world.draw(np.random.default_rng(seed), banded=50, bands=())
    assert [(t.stratum, t.row, t.start, t.weight) for t in before] == [
        (t.stratum, t.row, t.start, t.weight) for t in same
    ]
    assert {t.stratum for t in before} <= {"example", "fires", "near", "random"}


def test_texts_like_those_that_explain_are_the_nearest_silent_ones(rng: np.random.Generator) -> None:
    world = World(rng)
    alike = lambda row, start, tokens: float((tokens == 7).sum()) if start else np.nan  # noqa: E731
    seed = int(rng.integers(1 << 30))
    found = world.draw(np.random.default_rng(seed), banded=0, each=1000, alike=alike)
    near = [t for t in found if t.stratum == "alike"]
    others = [t for t in found if t.stratum == "random"]
    same = world.draw(np.random.default_rng(seed), banded=0, each=1000)
    plain = [t for t in same if t.stratum == "random"]
    assert len(near) + len(others) == len(plain) > 10
    assert near
    assert not any(t.fires for t in near)
    if others:
        assert min((t.tokens == 7).sum() for t in near) >= max((t.tokens == 7).sum() for t in others if t.start)
    assert sum(t.weight for t in near + others) == pytest.approx(sum(t.weight for t in plain))


def test_the_tail_of_a_row_is_in_no_text() -> None:
    assert start_of(LENGTH - 1, LENGTH) is None
    assert start_of(3 * SIZE, LENGTH) == 3 * SIZE
    assert start_of(9, 12) == 0


def test_a_band_whose_rows_all_explain_is_left_to_random_rows(rng: np.random.Generator) -> None:
    world = World(rng)
    band = world.bands[-1]
    rows = {r.row for r in band.rows}
    assert band.explains is None
    drawn, covered = draw_bands([band], world.examples, lambda r: 0, most=world.most, texts=9, explaining=rows)
    assert not drawn
    assert not covered
    drawn, covered = draw_bands([band], world.examples, lambda r: None, most=world.most, texts=9, explaining=())
    assert not drawn
    assert covered == [band]  # its texts are tails, which are no texts
