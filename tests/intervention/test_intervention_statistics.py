"""p against a slow twin, uniform without an effect, small with one."""

from __future__ import annotations

import numpy as np
from scipy import stats

from neurolocal.intervention.statistics import p_values


def slow(own: np.ndarray, controls: np.ndarray) -> list[float]:
    """The definition, neuron by neuron."""

    def mean_log(values) -> float:
        return float(np.mean([np.log(v) for v in values if not np.isnan(v)]))

    tested = [i for i in range(len(own)) if not np.isnan(own[i]).all()]
    drawn = []
    for i in tested:
        each = [mean_log(controls[i, :, c]) for c in range(controls.shape[2])]
        drawn += [one - np.mean([*each[:c], *each[c + 1 :]]) for c, one in enumerate(each)]
    found = []
    for i in range(len(own)):
        if i not in tested:
            found.append(np.nan)
            continue
        statistic = mean_log(own[i]) - np.mean([mean_log(controls[i, :, c]) for c in range(controls.shape[2])])
        found.append((1 + sum(d >= statistic for d in drawn)) / (1 + len(drawn)))
    return found


def test_p_equals_its_definition(rng) -> None:
    own, controls = np.exp(rng.normal(size=(12, 4))), np.exp(rng.normal(size=(12, 4, 3)))
    gone = rng.random((12, 4)) < 0.2
    gone[3] = True
    own[gone], controls[gone] = np.nan, np.nan
    assert np.allclose(p_values(own, controls), slow(own, controls), equal_nan=True)


def test_p_is_uniform_without_an_effect(rng) -> None:
    # Neurons differ much in their places' sensitivity: only the comparison within a place may count.
    place = rng.normal(0, 3, (3000, 5, 1))
    values = np.exp(place + rng.normal(size=(3000, 5, 6)))
    p = p_values(values[:, :, 0], values[:, :, 1:])
    assert stats.kstest(p, "uniform").statistic < 0.06
    assert 0.02 < np.mean(p <= 0.05) < 0.07


def test_a_strong_direction_has_a_small_p_and_few_controls_none(rng) -> None:
    values = np.exp(rng.normal(size=(50, 5, 6)))
    values[7, :, 0] *= 100
    p = p_values(values[:, :, 0], values[:, :, 1:])
    assert p[7] == 1 / 251
    assert np.isnan(p_values(values[:, :, 0], values[:, :, 1:2])).all()
    assert np.isnan(p_values(values[:, :0, 0], values[:, :0, 1:])).all()
