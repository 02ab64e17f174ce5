"""How much of the activation the positions around the peaks keep, against a loop."""

import numpy as np
import pytest

from neurolocal.records import TopK
from neurolocal.verdict.around import REACH, kept_around


def by_loop(top, before):
    found = []
    for activation, window in zip(top.activation, top.window, strict=True):
        kept, n = 0, 0
        for peak, row in zip(activation.tolist(), window.tolist(), strict=True):
            for at, value in enumerate(row):
                if at != before and abs(at - before) <= REACH and np.isfinite(value) and np.isfinite(peak):
                    n += 1
                    kept += value >= peak / 2 if peak >= 0 else value <= peak / 2
        found.append(kept / n if n else np.nan)
    return found


@pytest.mark.parametrize(("before", "after"), [(12, 10), (3, 2), (0, 4), (6, 0), (0, 0)])
def test_the_share_is_that_of_a_loop(before, after, rng):
    activation = rng.integers(-4, 5, (6, 5)).astype(np.float32)
    window = rng.integers(-4, 5, (6, 5, before + 1 + after)).astype(np.float32)
    window[rng.random(window.shape) < 0.2] = np.nan
    window[:, :, before] = activation
    activation[0, 3:] = np.nan  # unused
    window[0, 3:] = np.nan
    activation[1], window[1] = np.nan, np.nan  # no example
    none = np.zeros((6, 5), np.int64)
    top = TopK(activation, none, none.astype(np.int32), window)
    np.testing.assert_allclose(kept_around(top, before=before), by_loop(top, before))
