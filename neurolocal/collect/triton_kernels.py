"""One batch of a layer's activations -> lists, sums and counts, in four kernels (Triton, on a GPU).

    scan    one read of the activations: of each row and neuron the extremes with their first positions, the sums of
            four powers, and counts; with sign cases also the largest |activation|, the count and the sum of each
    merge   rows that beat a list's weakest entry take its place, and only their windows are cut; sums become exact
    bands   each row counted in the band of its strongest position, and kept there if its rank is low
    draw    the drawn positions, into the histogram's bins and into the sample

Invariant: equal to `plain` bit for bit, sums to rounding. A list is an unordered set of k entries while it is on the
device: a stronger row takes the place of the weakest entry (of equal ones the highest row), and `TritonState.snapshot`
sorts. NaN and infinite activations are counted, and are in no list and no sum.
Cost: each activation is read once by `scan`; `merge` reads 4 bytes a row, neuron and side where nothing enters.
"""

# pyright: reportMissingParameterType=false
# Kernels are compiled for the types that they are called with.

from __future__ import annotations

import triton
import triton.language as tl

FLUSH = tl.constexpr(1000)
"""Steps after which counts of 10 bits are added to larger ones."""


@triton.jit
def scan(
    x, gate, linear, runs, n_runs, strength, at, sums, counts, case_sums, case_counts,
    n_rows, n_neurons, most_runs, x_row, x_pos, gate_row, gate_pos, linear_row, linear_pos,
    L0: tl.constexpr, L1: tl.constexpr, L2: tl.constexpr, L3: tl.constexpr,
    CASES: tl.constexpr, BP: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """A program a row and `BN` neurons; it takes `BP` positions at a time.

    `strength` and `at` are (side, batch, neuron), `sums` (4, batch, neuron), `counts` (positive, four levels, not
    finite; neuron); `case_sums` (4, batch, neuron) and `case_counts` (4, neuron) are not read without CASES.
    """
    b = tl.program_id(1)
    n = tl.program_id(0) * BN + tl.arange(0, BN)
    inside = n < n_neurons
    wide = b.to(tl.int64)
    own, own_gate, own_linear = x + wide * x_row, gate + wide * gate_row, linear + wide * linear_row
    step = tl.arange(0, BP)
    high, low = tl.full((BP, BN), float("-inf"), tl.float32), tl.full((BP, BN), float("inf"), tl.float32)
    high_at, low_at = tl.zeros((BP, BN), tl.int32), tl.zeros((BP, BN), tl.int32)
    s1, s2 = tl.zeros((BP, BN), tl.float32), tl.zeros((BP, BN), tl.float32)
    s3, s4 = tl.zeros((BP, BN), tl.float32), tl.zeros((BP, BN), tl.float32)
    t0, t1, t2 = tl.zeros((BN,), tl.int32), tl.zeros((BN,), tl.int32), tl.zeros((BN,), tl.int32)
    t3, t4, t5 = tl.zeros((BN,), tl.int32), tl.zeros((BN,), tl.int32), tl.zeros((BN,), tl.int32)
    a0, a1 = tl.full((BP, BN), float("-inf"), tl.float32), tl.full((BP, BN), float("-inf"), tl.float32)
    a2, a3 = tl.full((BP, BN), float("-inf"), tl.float32), tl.full((BP, BN), float("-inf"), tl.float32)
    a0_at, a1_at = tl.zeros((BP, BN), tl.int32), tl.zeros((BP, BN), tl.int32)
    a2_at, a3_at = tl.zeros((BP, BN), tl.int32), tl.zeros((BP, BN), tl.int32)
    u0, u1 = tl.zeros((BP, BN), tl.float32), tl.zeros((BP, BN), tl.float32)
    u2, u3 = tl.zeros((BP, BN), tl.float32), tl.zeros((BP, BN), tl.float32)
    k0, k1 = tl.zeros((BN,), tl.int32), tl.zeros((BN,), tl.int32)
    k2, k3 = tl.zeros((BN,), tl.int32), tl.zeros((BN,), tl.int32)
    M: tl.constexpr = 1023
    for r in range(0, tl.load(n_runs + b).to(tl.int32)):
        start = tl.load(runs + (b * most_runs + r) * 2).to(tl.int32)
        stop = tl.load(runs + (b * most_runs + r) * 2 + 1).to(tl.int32)
        for piece in range(start, stop, BP * FLUSH):
            c0, c1 = tl.zeros((BP, BN), tl.int32), tl.zeros((BP, BN), tl.int32)
            c2, c3 = tl.zeros((BP, BN), tl.int32), tl.zeros((BP, BN), tl.int32)
            for p in range(piece, tl.minimum(stop, piece + BP * FLUSH), BP):
                place = p + step
                there = (place < stop)[:, None] & inside[None, :]
                v = tl.load(own + place[:, None].to(tl.int64) * x_pos + n[None, :], mask=there, other=0.0)
                v = v.to(tl.float32)
                good = there & (tl.abs(v) < float("inf"))
                bad = there & (good == 0)
                v = tl.where(good, v, 0.0)
                up = good & (v > high)
                high, high_at = tl.where(up, v, high), tl.where(up, place[:, None], high_at)
                down = good & (v < low)
                low, low_at = tl.where(down, v, low), tl.where(down, place[:, None], low_at)
                q = v * v
                s1 += v
                s2 += q
                s3 += q * v
                s4 += q * q
                # Counts of up to 1,023 steps, three in an integer.
                c0 += (v > 0.0).to(tl.int32) + ((v > L0).to(tl.int32) << 10) + ((v > L1).to(tl.int32) << 20)
                c1 += (v > L2).to(tl.int32) + ((v > L3).to(tl.int32) << 10) + (bad.to(tl.int32) << 20)
                if CASES:
                    g = tl.load(own_gate + place[:, None].to(tl.int64) * gate_pos + n[None, :], mask=there, other=0.0)
                    i = tl.load(
                        own_linear + place[:, None].to(tl.int64) * linear_pos + n[None, :], mask=there, other=0.0
                    )
                    minus_gate = g.to(tl.float32).to(tl.int32, bitcast=True) < 0
                    minus_in = i.to(tl.float32).to(tl.int32, bitcast=True) < 0
                    size = tl.abs(v)
                    plus_gate = good & (minus_gate == 0)
                    minus_gate = good & minus_gate
                    h0, h1 = plus_gate & (minus_in == 0), plus_gate & minus_in
                    h2, h3 = minus_gate & (minus_in == 0), minus_gate & minus_in
                    up = h0 & (size > a0)
                    a0, a0_at = tl.where(up, size, a0), tl.where(up, place[:, None], a0_at)
                    up = h1 & (size > a1)
                    a1, a1_at = tl.where(up, size, a1), tl.where(up, place[:, None], a1_at)
                    up = h2 & (size > a2)
                    a2, a2_at = tl.where(up, size, a2), tl.where(up, place[:, None], a2_at)
                    up = h3 & (size > a3)
                    a3, a3_at = tl.where(up, size, a3), tl.where(up, place[:, None], a3_at)
                    u0 += tl.where(h0, v, 0.0)
                    u1 += tl.where(h1, v, 0.0)
                    u2 += tl.where(h2, v, 0.0)
                    u3 += tl.where(h3, v, 0.0)
                    c2 += h0.to(tl.int32) + (h1.to(tl.int32) << 10) + (h2.to(tl.int32) << 20)
                    c3 += h3.to(tl.int32)
            t0 += tl.sum(c0 & M, axis=0)
            t1 += tl.sum((c0 >> 10) & M, axis=0)
            t2 += tl.sum((c0 >> 20) & M, axis=0)
            t3 += tl.sum(c1 & M, axis=0)
            t4 += tl.sum((c1 >> 10) & M, axis=0)
            t5 += tl.sum((c1 >> 20) & M, axis=0)
            if CASES:
                k0 += tl.sum(c2 & M, axis=0)
                k1 += tl.sum((c2 >> 10) & M, axis=0)
                k2 += tl.sum((c2 >> 20) & M, axis=0)
                k3 += tl.sum(c3, axis=0)
    every = tl.full((), 1, tl.int64) * n_rows * n_neurons
    o = wide * n_neurons + n
    _keep(strength + o, at + o, high, high_at, inside)
    _keep(strength + every + o, at + every + o, -low, low_at, inside)
    tl.store(sums + o, tl.sum(s1, axis=0), mask=inside)
    tl.store(sums + every + o, tl.sum(s2, axis=0), mask=inside)
    tl.store(sums + 2 * every + o, tl.sum(s3, axis=0), mask=inside)
    tl.store(sums + 3 * every + o, tl.sum(s4, axis=0), mask=inside)
    tl.atomic_add(counts + n, t0.to(tl.int64), mask=inside)
    tl.atomic_add(counts + n_neurons + n, t1.to(tl.int64), mask=inside)
    tl.atomic_add(counts + 2 * n_neurons + n, t2.to(tl.int64), mask=inside)
    tl.atomic_add(counts + 3 * n_neurons + n, t3.to(tl.int64), mask=inside)
    tl.atomic_add(counts + 4 * n_neurons + n, t4.to(tl.int64), mask=inside)
    tl.atomic_add(counts + 5 * n_neurons + n, t5.to(tl.int64), mask=inside)
    if CASES:
        _keep(strength + 2 * every + o, at + 2 * every + o, a0, a0_at, inside)
        _keep(strength + 3 * every + o, at + 3 * every + o, a1, a1_at, inside)
        _keep(strength + 4 * every + o, at + 4 * every + o, a2, a2_at, inside)
        _keep(strength + 5 * every + o, at + 5 * every + o, a3, a3_at, inside)
        tl.store(case_sums + o, tl.sum(u0, axis=0), mask=inside)
        tl.store(case_sums + every + o, tl.sum(u1, axis=0), mask=inside)
        tl.store(case_sums + 2 * every + o, tl.sum(u2, axis=0), mask=inside)
        tl.store(case_sums + 3 * every + o, tl.sum(u3, axis=0), mask=inside)
        tl.atomic_add(case_counts + n, k0.to(tl.int64), mask=inside)
        tl.atomic_add(case_counts + n_neurons + n, k1.to(tl.int64), mask=inside)
        tl.atomic_add(case_counts + 2 * n_neurons + n, k2.to(tl.int64), mask=inside)
        tl.atomic_add(case_counts + 3 * n_neurons + n, k3.to(tl.int64), mask=inside)


@triton.jit
def _keep(strength, at, best, best_at, inside):
    """Store the strongest of the lanes of a neuron, and of equal ones the first position."""
    most = tl.max(best, axis=0)
    first = tl.min(tl.where(best == most[None, :], best_at, 2147483647), axis=0)
    tl.store(strength, most, mask=inside)
    tl.store(at, first, mask=inside)


@triton.jit
def merge(
    x, rows, text, strength, at, sums, case_sums,
    list_strength, list_row, list_position, list_text, window, maximum, minimum, whole, fraction,
    case_whole, case_fraction, n_rows, n_pos, n_neurons, x_row, x_pos, before, width, k,
    FOURTH: tl.constexpr, LIMIT: tl.constexpr, SCALE: tl.constexpr, DEDUPE: tl.constexpr,
    BM: tl.constexpr, BB: tl.constexpr, K: tl.constexpr, WP: tl.constexpr,
):  # fmt: skip
    """A program `BM` neurons and a side; it takes the batch's rows one after the other, so the lower row wins a tie."""
    n = tl.program_id(0) * BM + tl.arange(0, BM)
    side = tl.program_id(1)
    inside = n < n_neurons
    one = tl.full((), 1, tl.int64)
    every = one * n_rows * n_neurons
    mine = (side.to(tl.int64) * n_neurons + n) * k
    j = tl.arange(0, K)
    used = inside[:, None] & (j < k)[None, :]
    entry = mine[:, None] + j[None, :]
    kept = tl.load(list_strength + entry, mask=used, other=float("inf"))
    weakest = tl.min(kept, axis=1)
    strongest = tl.full((BM,), float("-inf"), tl.float32)
    bb = tl.arange(0, BB)
    for b in range(0, n_rows, BB):
        o = (b + bb).to(tl.int64)[:, None] * n_neurons + n[None, :]
        there = ((b + bb) < n_rows)[:, None] & inside[None, :]
        some = tl.load(strength + side * every + o, mask=there, other=float("-inf"))
        strongest = tl.maximum(strongest, tl.max(some, axis=0))
    if side == 0:
        old = tl.load(maximum + n, mask=inside, other=0.0)
        tl.store(maximum + n, tl.maximum(old, strongest), mask=inside)
        for i in range(4):
            unit = tl.where(i == 3, FOURTH, 1.0)
            place = i * n_neurons + n
            _add_exactly(
                whole + place, fraction + place, sums + i * every, n, inside, n_rows, n_neurons, unit,
                LIMIT, SCALE, BB, BM,
            )  # fmt: skip
    if side == 1:
        old = tl.load(minimum + n, mask=inside, other=0.0)
        tl.store(minimum + n, tl.minimum(old, -strongest), mask=inside)
    if side >= 2:
        place = (side - 2) * n_neurons + n
        _add_exactly(
            case_whole + place, case_fraction + place, case_sums + (side - 2) * every, n, inside, n_rows, n_neurons,
            1.0, LIMIT, SCALE, BB, BM,
        )  # fmt: skip
    if tl.max((inside & (strongest > weakest)).to(tl.int32), axis=0) > 0:
        row = tl.load(list_row + entry, mask=used, other=-1)
        texts = tl.zeros((BM, K), tl.int64)
        if DEDUPE:
            texts = tl.load(list_text + entry, mask=used, other=0)
        for b in range(0, n_rows):
            o = one * b * n_neurons + n
            value = tl.load(strength + side * every + o, mask=inside, other=float("-inf"))
            enters = inside & (value > weakest)
            if tl.max(enters.to(tl.int32), axis=0) > 0:
                place = tl.load(at + side * every + o, mask=enters, other=0)
                number = tl.load(rows + b)
                # The entry that it replaces: the weakest, of equal ones the highest row, of unused ones the first.
                worst = used & (kept == weakest[:, None])
                last = tl.max(tl.where(worst, row, -2), axis=1)
                slot = tl.min(tl.where(worst & (row == last[:, None]), j[None, :], K), axis=1)
                name = tl.zeros((BM,), tl.int64)
                if DEDUPE:
                    name = tl.load(text + one * b * n_pos + place, mask=enters, other=0)
                    same = used & (row >= 0) & (texts == name[:, None])
                    known = tl.max(same.to(tl.int32), axis=1) > 0
                    enters = enters & ((known == 0) | (value > tl.max(tl.where(same, kept, float("-inf")), axis=1)))
                    slot = tl.where(known, tl.min(tl.where(same, j[None, :], K), axis=1), slot)
                hit = enters[:, None] & (j[None, :] == slot[:, None])
                kept, row = tl.where(hit, value[:, None], kept), tl.where(hit, number, row)
                tl.store(list_position + mine + slot, place, mask=enters)
                if DEDUPE:
                    texts = tl.where(hit, name[:, None], texts)
                for first in range(0, width, WP):
                    w = first + tl.arange(0, WP)
                    q = place[:, None] - before + w[None, :]
                    seen = enters[:, None] & (q >= 0) & (q < n_pos) & (w < width)[None, :]
                    cut = tl.load(
                        x + one * b * x_row + q.to(tl.int64) * x_pos + n[:, None], mask=seen, other=float("nan")
                    )
                    tl.store(
                        window + (mine + slot)[:, None] * width + w[None, :], cut,
                        mask=enters[:, None] & (w < width)[None, :],
                    )  # fmt: skip
                weakest = tl.min(kept, axis=1)
        tl.store(list_strength + entry, kept, mask=used)
        tl.store(list_row + entry, row, mask=used)
        if DEDUPE:
            tl.store(list_text + entry, texts, mask=used)


@triton.jit
def _add_exactly(
    whole, fraction, sums, n, inside, n_rows, n_neurons, unit,
    LIMIT: tl.constexpr, SCALE: tl.constexpr, BB: tl.constexpr, BM: tl.constexpr,
):  # fmt: skip
    """Add the rows' sums to a fixed-point number: see `exact`."""
    total = tl.zeros((BM,), tl.float64)
    bb = tl.arange(0, BB)
    for b in range(0, n_rows, BB):
        there = ((b + bb) < n_rows)[:, None] & inside[None, :]
        some = tl.load(sums + (b + bb).to(tl.int64)[:, None] * n_neurons + n[None, :], mask=there, other=0.0)
        total += tl.sum(some.to(tl.float64), axis=0)
    total = total * unit
    total = tl.where(total == total, total, 0.0)
    total = tl.minimum(tl.maximum(total, -LIMIT), LIMIT)
    floor = tl.floor(total)
    more = tl.load(fraction, mask=inside, other=0) + ((total - floor) * (1 << SCALE)).to(tl.int64)
    old = tl.load(whole, mask=inside, other=0)
    tl.store(whole, old + floor.to(tl.int64) + (more >> SCALE), mask=inside)
    tl.store(fraction, more & ((1 << SCALE) - 1), mask=inside)


@triton.jit
def bands(
    strength, at, rows, rank, band_activation, band_row, band_position, band_rank, band_count, band_top,
    n_rows, n_neurons, entries, N_BANDS: tl.constexpr, HALF: tl.constexpr, BM: tl.constexpr, E: tl.constexpr,
):  # fmt: skip
    """A program `BM` neurons; it takes the batch's rows one after the other. `strength` is that of `largest`.

    The entries of a band are an unordered set: a row of a lower rank takes the place of the highest one.
    """
    n = tl.program_id(0) * BM + tl.arange(0, BM)
    inside = n < n_neurons
    top = tl.load(band_top + n, mask=inside, other=0)
    j = tl.arange(0, E)
    used = inside[:, None] & (j < entries)[None, :]
    for b in range(0, n_rows):
        value = tl.load(strength + tl.full((), 1, tl.int64) * b * n_neurons + n, mask=inside, other=float("-inf"))
        key = (value.to(tl.int32, bitcast=True) >> 22) - 230  # from 2^-12: (127 - 12) << 1
        key = tl.minimum(tl.maximum(key, 0), HALF - 1)
        fires = inside & (value > 0.0)
        rises = fires & (key > top)
        if tl.max(rises.to(tl.int32), axis=0) > 0:
            for i in range(0, N_BANDS):
                new = key - i
                empties = rises & (new > top) & (new >= 0)
                place = n.to(tl.int64) * N_BANDS + tl.maximum(new, 0) % N_BANDS
                tl.store(band_count + place, tl.zeros((BM,), tl.int64), mask=empties)
                entry = place[:, None] * entries + j[None, :]
                gone = used & empties[:, None]
                tl.store(band_rank + entry, tl.full((BM, E), 0x7FFFFFFFFFFFFFFF, tl.int64), mask=gone)
                tl.store(band_row + entry, tl.full((BM, E), -1, tl.int64), mask=gone)
            tl.debug_barrier()
            top = tl.where(rises, key, top)
        falls = fires & (key > top - N_BANDS)
        place = n.to(tl.int64) * N_BANDS + key % N_BANDS
        count = tl.load(band_count + place, mask=falls, other=0)
        tl.store(band_count + place, count + 1, mask=falls)
        mine = tl.load(rank + b)
        entry = place[:, None] * entries + j[None, :]
        kept = tl.load(band_rank + entry, mask=used & falls[:, None], other=-0x7FFFFFFFFFFFFFFF)
        highest = tl.max(kept, axis=1)
        enters = falls & (mine < highest)
        slot = tl.min(tl.where(kept == highest[:, None], j[None, :], E), axis=1)
        to = place * entries + slot
        tl.store(band_rank + to, tl.zeros((BM,), tl.int64) + mine, mask=enters)
        tl.store(band_row + to, tl.zeros((BM,), tl.int64) + tl.load(rows + b), mask=enters)
        tl.store(band_activation + to, value, mask=enters)
        tl.store(band_position + to, tl.load(at + tl.full((), 1, tl.int64) * b * n_neurons + n, mask=enters, other=0),
                 mask=enters)  # fmt: skip
        tl.debug_barrier()  # the next row may read what this one wrote
    tl.store(band_top + n, top, mask=inside)


@triton.jit(do_not_specialize=["n_drawn", "n_entering"])  # they differ in every batch
def draw(
    x, drawn, entering, slots, histogram, sample, n_drawn, n_entering, n_neurons, x_row, x_pos,
    BINS: tl.constexpr, BD: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """A program `BN` neurons and `BD` drawn positions; `histogram` is (bin, neuron), `sample` (sample, neuron)."""
    n = tl.program_id(0) * BN + tl.arange(0, BN)
    inside = n < n_neurons
    first = tl.program_id(1) * BD
    for d in range(first, tl.minimum(first + BD, n_drawn)):
        b, p = tl.load(drawn + 2 * d), tl.load(drawn + 2 * d + 1)
        v = tl.load(x + b * x_row + p * x_pos + n, mask=inside, other=0.0).to(tl.float32)
        bits = v.to(tl.int32, bitcast=True)
        size = bits & 0x7FFFFFFF
        i = tl.minimum(tl.maximum((size >> 22) - 230, 0), BINS // 2 - 1)  # from 2^-12: (127 - 12) << 1
        number = tl.where((bits < 0) & (size > 0), BINS // 2 - 1 - i, BINS // 2 + i)
        tl.atomic_add(histogram + number * n_neurons + n, 1, mask=inside & (size < 0x7F800000))
    for d in range(first, tl.minimum(first + BD, n_entering)):
        b, p = tl.load(entering + 2 * d), tl.load(entering + 2 * d + 1)
        v = tl.load(x + b * x_row + p * x_pos + n, mask=inside, other=0.0)
        tl.store(sample + tl.load(slots + d) * n_neurons + n, v, mask=inside)
