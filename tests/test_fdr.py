"""q values against the textbook's loop."""

from __future__ import annotations

import numpy as np

from neurolocal.fdr import q_values


def test_q_equals_the_textbook_and_leaves_nan_out(rng: np.random.Generator) -> None:
    p = rng.random(50) ** 2
    p[::7] = np.nan
    there = p[~np.isnan(p)]
    order = np.argsort(there)
    textbook = np.empty(len(there))
    least = 1.0
    for rank in range(len(there), 0, -1):
        least = min(least, there[order[rank - 1]] * len(there) / rank)
        textbook[order[rank - 1]] = least
    q = q_values(p)
    assert np.allclose(q[~np.isnan(p)], textbook)
    assert np.isnan(q[np.isnan(p)]).all()
    assert np.isnan(q_values(np.full(3, np.nan))).all()
    assert q_values(np.empty(0)).shape == (0,)
