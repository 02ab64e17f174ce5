"""Many activations as text, against Python's own formatting."""

from __future__ import annotations

import numpy as np
import pytest

from neurolocal.neuroscope.export.decimals import Decimals, texts


@pytest.mark.parametrize(
    ("value", "said"),
    [(1e-7, "0.000000"), (-1e-7, "0.000000"), (-0.0, "0.000000"), (1e6, "1000000.000000"), (-1.5, "-1.500000"),
     (-10.0, "-10.000000"), (2.0**100, "1267650600228229401496703205376.000000")],
)  # fmt: skip
def test_numbers_have_six_decimals_and_no_exponent(value, said):
    assert Decimals(np.array([value, 1.0], np.float32)).between(0, 2) == f"{said}, 1.000000"


def test_numbers_agree_with_python(rng):
    values = (rng.normal(size=5000) * 10.0 ** rng.integers(-8, 8, 5000)).astype(np.float32)
    assert Decimals(values).between(0, 5000).split(", ") == [
        f"{v:.6f}".replace("-0.000000", "0.000000") for v in values.tolist()
    ]


def plain(values) -> list[str]:
    return [f"{v:.6f}".replace("-0.000000", "0.000000") for v in np.asarray(values, np.float32).tolist()]


def test_halves_round_as_python_rounds_them(rng):
    """Multiples of 2**-7 and 2**-8 have a 5 as their seventh decimal or later, exactly."""
    values = rng.integers(-(1 << 20), 1 << 20, 4000) / 2.0 ** rng.integers(5, 14, 4000)
    assert Decimals(values.astype(np.float32)).between(0, 4000).split(", ") == plain(values)


@pytest.mark.parametrize("largest", [1.0, 999.0, 1000.0, 1e8, 1e12])
def test_parts_are_those_of_the_values(largest, rng):
    parts = [(rng.normal(size=n) * largest).astype(np.float32) for n in (5, 1, 0, 61)]
    found = texts(parts)
    for one, values in zip(found, parts, strict=True):
        assert one.between(0, len(values)) == ", ".join(plain(values))
        for first in range(len(values)):
            assert one.between(first, min(first + 3, len(values))) == ", ".join(plain(values[first : first + 3]))
    assert Decimals(np.empty(0, np.float32)).between(0, 0) == ""
