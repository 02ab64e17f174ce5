"""The effect of each threshold against verdicts with that threshold."""

import os
from dataclasses import fields, replace

from verdict_layers import CONFIG, random_layer

from neurolocal.config import VerdictConfig
from neurolocal.records import VERDICTS
from neurolocal.verdict.evidence import gather
from neurolocal.verdict.sensitivity import VALUES, effects
from neurolocal.verdict.table import verdict_table


def test_explain_moves_one_threshold_at_a_time_and_counts_every_neuron():
    seed = int.from_bytes(os.urandom(4), "little")
    print(f"seed {seed}")
    stats, sim, per, peaks = random_layer(seed, 60)
    found = effects(gather(stats, sim, per, peaks), CONFIG)
    assert {e.threshold for e in found} == set(VALUES) == {f.name for f in fields(VerdictConfig)} - {"halfway", "floor"}
    now = verdict_table(stats, sim, per, peaks=peaks, config=CONFIG).verdict
    for effect in found:
        config = replace(CONFIG, **{effect.threshold: effect.value})
        then = verdict_table(stats, sim, per, peaks=peaks, config=config).verdict
        assert effect.counts == {v: then.count(v) for v in VERDICTS}
        assert effect.moved == sum(a != b for a, b in zip(now, then, strict=True))
        assert effect.chosen == (getattr(CONFIG, effect.threshold) == effect.value)
    assert sum(e.chosen for e in found) == len(VALUES)
