"""Shards merged in any order equal a single run."""

import dataclasses

import numpy as np
import torch
from collect_twins import SEED, Case, cases, identical, on_cpu, run
from hypothesis import given, settings
from hypothesis import strategies as st

from neurolocal.collect.merge import merge, merge_lists
from neurolocal.collect.sample import Sampler, merge_samples
from neurolocal.records import Experts, LogitEffects, Sample, TopK


@settings(max_examples=100)
@given(cases(), st.integers(1, 4), st.randoms(use_true_random=False))
def test_shards_in_any_order_give_the_single_run(drawn, shards, random):
    case, k, batch = drawn
    sampler = Sampler(7, seed=SEED)
    whole = run(on_cpu(case, k), case, batch, sampler)
    starts, parts = list(range(0, len(case.x), batch)), []
    for shard in range(shards):
        own = Sampler(7, seed=SEED)
        parts.append((run(on_cpu(case, k), case, batch, own, rows=starts[shard::shards]), own.snapshot()))
    random.shuffle(parts)
    merged, sample = parts[0]
    for part, its in parts[1:]:
        sample, best = merge_samples(sample, its, size=7, seed=SEED)
        merged = merge(merged, part, sample=best, seed=SEED)
    identical(whole, merged)
    assert_same_sample(sampler.snapshot(), sample)


def test_logit_effects_are_those_of_either_part_and_experts_those_of_both():
    x = torch.zeros((1, 2, 2))
    case = Case(x, x, x, np.ones((1, 2), bool), np.arange(1))
    plain = run(on_cpu(case, 1), case, 1)
    ids, logits = np.zeros((2, 1), np.int32), np.ones((2, 1), np.float32)
    effects, experts = LogitEffects(ids, logits, ids, -logits), Experts(np.array([0, 1, 2]), 0, np.array([2, 1]))
    full = dataclasses.replace(plain, effects=effects, experts=experts)
    none = np.empty(0, np.int64)
    for a, b in [(full, plain), (plain, full), (full, full)]:
        merged = merge(a, b, sample=none, seed=SEED)
        assert merged.effects is effects
        assert (merged.experts is not None) == (a is b)
    assert merged.experts is not None
    assert merged.experts.count.tolist() == [4, 2]


def test_a_text_of_both_parts_is_kept_once_and_leaves_a_slot_unused():
    def one(activation: float, row: int) -> TopK:
        values = np.array([[activation, np.nan]], np.float32)
        places, text = np.array([[3, -1]], np.int32), np.array([[77, 0]])
        return TopK(values, np.array([[row, -1]]), places, values[:, :, None], text=text)

    for rows in [(5, 0), (0, 5)]:
        merged = merge_lists(one(2.0, rows[0]), one(1.0, rows[1]), "largest")
        assert merged.row.tolist() == [[rows[0], -1]]
        assert merged.position.tolist() == [[3, -1]]
        assert merged.text is not None
        assert merged.text.tolist() == [[77, 0]]
        np.testing.assert_array_equal(merged.activation, np.array([[2.0, np.nan]], np.float32))
        np.testing.assert_array_equal(merged.window, np.array([[[2.0], [np.nan]]], np.float32))


def assert_same_sample(a: Sample, b: Sample) -> None:
    np.testing.assert_array_equal(a.row, b.row)
    np.testing.assert_array_equal(a.position, b.position)
