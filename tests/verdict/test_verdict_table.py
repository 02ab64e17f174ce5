"""The verdict table of a layer: what must hold for any evidence."""

import os
from dataclasses import fields

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from verdict_layers import CONFIG, picked, random_layer, shuffled, statistics

from neurolocal.records import VERDICTS
from neurolocal.verdict.table import verdict_table


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 40), method=st.sampled_from(["default", "notebook"]))
def test_every_neuron_has_one_verdict_and_the_order_of_rows_does_not_matter(seed, n, method):
    stats, sim, per, peaks = random_layer(seed, n)
    table = verdict_table(stats, sim, per, peaks=peaks, config=CONFIG, method=method)
    assert table.neuron.tolist() == list(range(n))
    assert len(table.verdict) == len(table.reason) == n
    assert set(table.verdict) <= set(VERDICTS)
    assert all(r and "\n" not in r and "nan" not in r for r in table.reason)
    assert np.all((table.score >= 0) & (table.score <= 1))
    by_hand = sorted(range(n), key=lambda i: (-float(table.score[i]), i))
    assert [int(table.rank[i]) for i in by_hand] == list(range(n))
    if method == "default":
        concept = np.array([v == "concept" for v in table.verdict])
        assert np.all(table.score[concept] >= 0.5)
        assert np.all(table.score[~concept] < 0.5)
    rng = np.random.default_rng(seed + 1)
    again = verdict_table(stats, shuffled(sim, rng), shuffled(per, rng), peaks=peaks, config=CONFIG, method=method)
    assert again.verdict == table.verdict
    assert again.reason == table.reason
    np.testing.assert_array_equal(again.score, table.score)


def test_a_verdict_depends_on_the_neurons_own_evidence_alone():
    seed = int.from_bytes(os.urandom(4), "little")
    print(f"seed {seed}")
    stats, sim, per, peaks = random_layer(seed, 30)
    whole = verdict_table(stats, sim, per, peaks=peaks, config=CONFIG)
    for i in range(30):
        alone = statistics([stats.maximum[i]], nonfinite=[stats.nonfinite[i]])
        cut = []
        for table in (sim, per):
            here = table.neuron == i
            held = {f.name: getattr(table, f.name) for f in fields(table)}
            cut.append(type(table)(**{k: picked(v, np.flatnonzero(here)) for k, v in held.items()}))
            cut[-1].neuron[:] = 0
        table = verdict_table(alone, cut[0], cut[1], peaks=[peaks[i]], config=CONFIG)
        assert (table.verdict[0], table.reason[0]) == (whole.verdict[i], whole.reason[i])
        assert table.score[0] == whole.score[i]
