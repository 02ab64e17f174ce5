"""Lists that keep each text once: kernels, plain torch, merging and resuming agree with a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
from collect_twins import SEED, Case, cases, config, identical, on_cpu, on_device, run
from hypothesis import given, settings
from hypothesis import strategies as st

from neurolocal.collect.memory import neuron_bytes
from neurolocal.collect.merge import merge
from neurolocal.collect.sample import Sampler, merge_samples
from neurolocal.records import CASES, SIDES, Side
from neurolocal.words.repeated import CONTEXT, splitmix64, text_hashes


@st.composite
def repeated_cases(draw):
    """The cases of the other tests, with few texts, so that most are repeated."""
    case, k, batch = draw(cases())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    texts = rng.integers(-(2**62), 2**62, draw(st.integers(1, 8)))
    case.text = rng.choice(texts, case.mask.shape)
    return case, k, batch


def strongest(case: Case, j: int, side: Side) -> list[tuple[float, int, int, int]]:
    """(-strength, row, position, text) of each row's strongest position, one text once, by a loop."""
    found = []
    for b in range(len(case.rows)):
        best = None
        for p in np.flatnonzero(case.mask[b]):
            value = float(case.values[b, p, j])
            if not np.isfinite(value) or (side in CASES and CASES[case.case_number(b, p, j)] != side):
                continue
            strength = abs(value) if side in CASES else -value if side == "smallest" else value
            if best is None or strength > best[0]:
                best = (strength, p)
        if best is not None:
            found.append((-best[0], int(case.rows[b]), int(best[1]), int(case.text[b, best[1]])))
    once, seen = [], set()
    for entry in sorted(found, key=lambda e: e[:3]):
        if entry[3] not in seen:
            once.append(entry)
            seen.add(entry[3])
    return once


@settings(max_examples=60)
@given(repeated_cases())
def test_lists_are_those_of_a_plain_loop(drawn):
    case, k, batch = drawn
    record = run(on_cpu(case, k, dedupe=True), case, batch)
    for side in (*SIDES, *CASES):
        top = record.lists[side]
        assert top.text is not None
        for j in range(case.x.shape[2]):
            expected = strongest(case, j, side)[:k]
            used = top.row[j] >= 0
            assert list(zip(top.row[j][used], top.position[j][used], top.text[j][used], strict=True)) == [
                e[1:] for e in expected
            ]
            assert used.sum() == len(expected)
            assert (top.text[j][~used] == 0).all()


@settings(max_examples=60)
@given(repeated_cases())
def test_plain_torch_is_equal_bit_for_bit(drawn):
    case, k, batch = drawn
    a, b = (run(make(case, k, dedupe=True), case, batch) for make in (on_cpu, on_device))
    identical(a, b, sums=False)
    for side in a.lists:
        np.testing.assert_array_equal(a.lists[side].text, b.lists[side].text)


@settings(max_examples=60)
@given(repeated_cases(), st.integers(1, 4), st.randoms(use_true_random=False))
def test_shards_in_any_order_give_the_single_run(drawn, shards, random):
    case, k, batch = drawn
    whole = run(on_cpu(case, k, dedupe=True), case, batch)
    starts, parts = list(range(0, len(case.x), batch)), []
    for shard in range(shards):
        own = Sampler(7, seed=SEED)
        parts.append((run(on_cpu(case, k, dedupe=True), case, batch, own, rows=starts[shard::shards]), own.snapshot()))
    random.shuffle(parts)
    merged, sample = parts[0]
    for part, its in parts[1:]:
        sample, best = merge_samples(sample, its, size=7, seed=SEED)
        merged = merge(merged, part, sample=best, seed=SEED)
    identical(whole, merged)
    for side in whole.lists:
        np.testing.assert_array_equal(whole.lists[side].text, merged.lists[side].text)


@settings(max_examples=30)
@given(repeated_cases(), st.integers(1, 8))
def test_resumed_is_uninterrupted(drawn, cut):
    case, k, batch = drawn
    starts = list(range(0, len(case.x), batch))
    whole = run(on_cpu(case, k, dedupe=True), case, batch)
    sampler = Sampler(7, seed=SEED)
    first = run(on_cpu(case, k, dedupe=True), case, batch, sampler, rows=starts[:cut])
    state, own = on_cpu(case, k, dedupe=True), Sampler(7, seed=SEED)
    state.restore(first)
    own.restore(sampler.snapshot())
    identical(whole, run(state, case, batch, own, rows=starts[cut:]))


@pytest.mark.parametrize("seed", range(3))
def test_the_hash_is_that_of_the_last_tokens(seed):
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, 2**32 - 1, (3, 40), dtype=np.uint32)
    tokens[1, 10:30] = tokens[0, 5:25]
    found = text_hashes(tokens)
    for row in range(3):
        for p in range(40):
            h = np.zeros(1, np.uint64)
            for q in range(p - CONTEXT + 1, p + 1):
                h = splitmix64(h ^ np.uint64(2**64 - 1 if q < 0 else int(tokens[row, q])))
            assert found[row, p] == h.view(np.int64)[0]
    same = found[1, 10:30] == found[0, 5:25]
    assert same[CONTEXT - 1 :].all()
    assert not same[: CONTEXT - 1].any()


def test_without_it_nothing_is_held():
    assert neuron_bytes(config(5, dedupe=True)) - neuron_bytes(config(5)) == 2 * 5 * 8
