"""The order of the neurons, and strict JSON."""

from __future__ import annotations

import json

import pytest
from compare_twins import quiet

from neurolocal.neuroscope.compare.comparison_output import comparison_json


def test_neurons_come_least_agreeing_first_and_json_is_strict(pair):
    c = quiet(*pair)
    found = json.loads(comparison_json(c), parse_constant=lambda name: pytest.fail(name))
    keys = [one["agreement"] for one in found["neurons"]]
    assert keys == sorted(keys)
    assert len(keys) == 60
    assert found["layers"][0]["layer"] == 0
    assert found["theirs"]["least_rows"] > 80
    assert set(found) == {"own", "theirs", "notes", "overall", "layers", "neurons"}
