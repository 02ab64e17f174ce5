"""The memory that is predicted for a collection is FORMAT.md's formula."""

from neurolocal.collect.memory import expected_bytes
from neurolocal.config import CollectConfig


def test_the_memory_formula():
    """The page's formula is the program's."""
    for cases in (False, True):
        config = CollectConfig(sites=("post", "pre"), sign_cases=cases, k=7, sample=100, before=5, after=2)
        sides, widths, weights, d_model, vocabulary = 6 if cases else 2, [30, 50], 1000, 16, 70_000
        n = sides * 7 * (4 * 8 + 20) + 120 + 384 + 4 * 100 + 96 * cases
        t, e, rows = 4, 4, 300
        kept = min(2 * 80 * sides * 7 + 100, rows) * 256 * t
        slack = 2 * min(max(kept, 2**22 * t), rows * 256 * t)
        batch = 8 * 256 * (4 * 50 + 8 * d_model) * e
        assert (
            expected_bytes(widths, config, weights=weights, d_model=d_model, d_vocab=vocabulary, rows=rows)
            == weights + 2 * 80 * n + 2 * 50 * n + kept + slack + batch
        )
