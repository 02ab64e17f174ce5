"""Look-up tables against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
from firing_twins import drawn

from neurolocal.score.lookup import lookup


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("n", [1, 5])
def test_a_lookup_fires_at_the_endings_it_saw(seed: int, n: int) -> None:
    examples, _ = drawn(seed)
    half = 0.5 * examples[0].activation
    endings = set()
    for e in examples[::2]:
        for i, value in enumerate(e.activations.tolist()):
            if value >= half and i + 1 >= n:
                endings.add(tuple(e.tokens.tolist()[i + 1 - n : i + 1]))
    rule = lookup(examples, n)
    assert rule.endings == endings
    row = np.concatenate([examples[2].tokens, examples[4].tokens])
    expected = [tuple(row.tolist()[i + 1 - n : i + 1]) in endings if i + 1 >= n else False for i in range(len(row))]
    assert rule.fires(row).tolist() == expected
