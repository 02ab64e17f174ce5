"""One batch of a layer's activations -> lists, sums and counts, in a single read (CPU, compiled by numba).

Invariant: equal to `neurolocal.collect.plain`, which does the same in plain torch: lists, counts and extremes bit for
bit, sums to rounding. A list holds strengths (the activation for `largest`, its negative for `smallest`, its size
|activation| for a sign case), strongest first. An example enters when it is stronger than the weakest entry, so of
equal ones the earlier row stays, and within a row the earlier position. A window is never moved: `slot` states where it
was written, so that inserting an entry moves a few integers.
Cost: each activation is read from memory once; blocks of 256 neurons stay in the L2 cache while the windows of the
examples that enter are cut out of them. All kernels are in this one file because numba's cache on disk checks the file
of the function that is called and no other: a change in a second file would leave the old machine code in use.
`update` is one long function because, split into functions that share a tuple of arrays, it was slower with sign cases.
"""

# pyright: reportMissingParameterType=false
# Kernels are compiled for the types that they are called with.

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from neurolocal.collect.bands import LOWEST_KEY, NO_RANK
from neurolocal.collect.exact import LIMIT, MASK, SCALE
from neurolocal.records import BINS, MOMENT_UNITS, N_BANDS, THRESHOLDS

BLOCK = 256
"""Neurons scanned at a time. Four positions are read together, so each accumulator is updated once for four."""

PIECE = 64
"""Positions scanned at a time: the range that is searched for an extreme that enters a list."""

FULL = 1 << 14
"""Positions counted in 16-bit integers before these are added to larger ones."""

N_ABOVE = len(THRESHOLDS)
LEVELS = np.array(THRESHOLDS, np.float32)
HALF = BINS // 2
FOURTH = 2.0 ** -MOMENT_UNITS[3]


@intrinsic
def _bits_to_float(typingctx: Any, bits: Any = None) -> Any:
    """uint32 -> the float32 of the same bits."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.uint32), codegen


@intrinsic
def _float_to_bits(typingctx: Any, value: Any = None) -> Any:
    """float32 -> the uint32 of the same bits."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(32))

    return types.uint32(types.float32), codegen


def _to_float(value):
    raise NotImplementedError("called by compiled code only")


@overload(_to_float, inline="always")
def _to_float_overload(value):
    if value == types.uint16:  # bfloat16 is the upper half of a float32
        return lambda value: _bits_to_float(np.uint32(np.uint32(value) << np.uint32(16)))
    return lambda value: np.float32(value)


def _size(bits):
    raise NotImplementedError("called by compiled code only")


@overload(_size, inline="always")
def _size_overload(bits):
    """The float of a size's bits; -inf for -1, which stands for "no position"."""
    if bits == types.int16:
        return lambda bits: (
            _bits_to_float(np.uint32(np.uint32(np.uint16(bits)) << np.uint32(16))) if bits >= 0 else np.float32(-np.inf)
        )
    return lambda bits: _bits_to_float(np.uint32(bits)) if bits >= 0 else np.float32(-np.inf)


def _row(x, batch, b):
    raise NotImplementedError("called by compiled code only")


@overload(_row, inline="always")
def _row_overload(x, batch, b):
    """The activations of one row: all positions, or of an expert's neurons (2-D) those that were routed to it."""
    if x.ndim == 3:
        return lambda x, batch, b: x[b]
    return lambda x, batch, b: x[batch.first[b] : batch.first[b + 1]]


def _places(batch, b):
    raise NotImplementedError("called by compiled code only")


@overload(_places, inline="always")
def _places_overload(batch, b):
    """The position of each entry of a row; None where the entries are the positions."""
    if "first" not in batch.fields:
        return lambda batch, b: None
    return lambda batch, b: batch.position[batch.first[b] : batch.first[b + 1]]


def _position(places, at):
    raise NotImplementedError("called by compiled code only")


@overload(_position, inline="always")
def _position_overload(places, at):
    if isinstance(places, types.NoneType):
        return lambda places, at: at
    return lambda places, at: places[at]


def _cut(window, x, places, at, before):
    raise NotImplementedError("called by compiled code only")


@overload(_cut)
def _cut_overload(window, x, places, at, before):
    """Fill a window with the activations around entry `at` of a row; NaN where there is none."""
    if isinstance(places, types.NoneType):

        def every_position(window, x, places, at, before):
            first = at - before
            low, high = max(0, -first), min(len(window), len(x) - first)
            window[:low], window[high:] = np.nan, np.nan
            for w in range(low, high):
                window[w] = _to_float(x[first + w])

        return every_position

    def routed_positions(window, x, places, at, before):
        first = places[at] - before
        window[:] = np.nan
        i = at
        while i >= 0 and places[i] >= first:
            window[places[i] - first] = _to_float(x[i])
            i -= 1
        i = at + 1
        while i < len(places) and places[i] - first < len(window):
            window[places[i] - first] = _to_float(x[i])
            i += 1

    return routed_positions


def _drawn(x, drawn, i):
    raise NotImplementedError("called by compiled code only")


@overload(_drawn, inline="always")
def _drawn_overload(x, drawn, i):
    if x.ndim == 3:
        return lambda x, drawn, i: x[drawn[i, 0], drawn[i, 1]]
    return lambda x, drawn, i: x[drawn[i]]


@numba.njit(nogil=True, error_model="numpy", inline="always")
def _more(a, b):
    return a if a > b else b


@numba.njit(nogil=True, error_model="numpy", inline="always")
def _less(a, b):
    return a if a < b else b


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _scan(x, start, stop, low, n, most, least, powers):
    """Add positions start..stop of one row to a block's extremes and sums of powers."""
    one, two, three, four = powers[0], powers[1], powers[2], powers[3]
    p = start
    while p + 4 <= stop:
        x0, x1 = x[p, low : low + n], x[p + 1, low : low + n]
        x2, x3 = x[p + 2, low : low + n], x[p + 3, low : low + n]
        for j in range(n):
            a, b, c, d = _to_float(x0[j]), _to_float(x1[j]), _to_float(x2[j]), _to_float(x3[j])
            most[j] = _more(_more(_more(a, b), _more(c, d)), most[j])
            least[j] = _less(_less(_less(a, b), _less(c, d)), least[j])
            one[j] += (a + b) + (c + d)
        for j in range(n):
            a, b, c, d = _to_float(x0[j]), _to_float(x1[j]), _to_float(x2[j]), _to_float(x3[j])
            aa, bb, cc, dd = a * a, b * b, c * c, d * d
            two[j] += (aa + bb) + (cc + dd)
            three[j] += (aa * a + bb * b) + (cc * c + dd * d)
            four[j] += (aa * aa + bb * bb) + (cc * cc + dd * dd)
        p += 4
    while p < stop:
        x0 = x[p, low : low + n]
        for j in range(n):
            a = _to_float(x0[j])
            most[j] = _more(a, most[j])
            least[j] = _less(a, least[j])
            one[j] += a
            two[j] += a * a
            three[j] += a * a * a
            four[j] += (a * a) * (a * a)
        p += 1


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _keep_extremes(here_most, here_least, start, n, most, least, most_at, least_at):
    """Merge the extremes of the piece that begins at `start` into those of the row, with where the piece begins."""
    for j in range(n):
        most_at[j] = start if here_most[j] > most[j] else most_at[j]
        most[j] = _more(here_most[j], most[j])
    for j in range(n):
        least_at[j] = start if here_least[j] < least[j] else least_at[j]
        least[j] = _less(here_least[j], least[j])


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _count(bits, start, stop, low, n, levels, counts):
    """Add to a block's counts how many of positions start..stop of one row are above each level.

    Integers of the same bits are compared: positive floats are ordered as their bits, negative floats are negative
    integers. So nothing is converted, and in bfloat16 a vector register holds twice as many.
    """
    p = start
    while p + 4 <= stop:
        x0, x1 = bits[p, low : low + n], bits[p + 1, low : low + n]
        x2, x3 = bits[p + 2, low : low + n], bits[p + 3, low : low + n]
        for t in range(len(levels)):
            level, count = levels[t], counts[t]
            for j in range(n):
                count[j] += (x0[j] > level) + (x1[j] > level) + (x2[j] > level) + (x3[j] > level)
        p += 4
    while p < stop:
        x0 = bits[p, low : low + n]
        for t in range(len(levels)):
            level, count = levels[t], counts[t]
            for j in range(n):
                count[j] += x0[j] > level
        p += 1


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _empty_into(small, large, n):
    """Add small counts to large ones, and set the small ones to 0."""
    for t in range(len(small)):
        some, total = small[t], large[t]
        for j in range(n):
            total[j] += some[j]
            some[j] = 0


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _scan_cases(x, bits, gate, linear, start, stop, low, n, size_bits, best, count, sums):
    """Add positions start..stop of one row to a block's sign cases.

    `best` receives the largest size in each case, as bits. `count` and `sums` receive the number of positions, and the
    sum of the activation, where the gate is negative (0), the in projection (1), both (2). The four cases follow from
    these and the totals.
    """
    none, flip = bits.dtype.type(-1), bits.dtype.type(0)
    for p in range(start, stop):
        x0, b0, g, u = x[p, low : low + n], bits[p, low : low + n], gate[p, low : low + n], linear[p, low : low + n]
        for case in range(4):
            flip_gate, flip_in = none if case >= 2 else flip, none if case % 2 == 1 else flip
            b = best[case]
            for j in range(n):
                size = b0[j] & size_bits if ((g[j] ^ flip_gate) | (u[j] ^ flip_in)) >= 0 else none
                b[j] = size if size > b[j] else b[j]
        c0, c1, c2 = count[0], count[1], count[2]
        for j in range(n):
            c0[j] += g[j] < 0
            c1[j] += u[j] < 0
            c2[j] += (g[j] & u[j]) < 0
        s0, s1, s2 = sums[0], sums[1], sums[2]
        for j in range(n):
            a = _to_float(x0[j])
            s0[j] += a if g[j] < 0 else np.float32(0)
            s1[j] += a if u[j] < 0 else np.float32(0)
            s2[j] += a if (g[j] & u[j]) < 0 else np.float32(0)


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _keep_best(here, start, n, best, best_at):
    """Merge the largest sizes of the piece that begins at `start` into those of the row, with where it begins."""
    for case in range(4):
        h, b, at = here[case], best[case], best_at[case]
        for j in range(n):
            size = _size(h[j])
            at[j] = start if size > b[j] else at[j]
            b[j] = _more(size, b[j])


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _scan_carefully(x, runs, extremes, sums, counts):
    """Scan one neuron of one row without NaN and infinities; returns how many of these there are."""
    bad = 0
    extremes[0], extremes[1] = -np.inf, np.inf
    sums[:], counts[:] = 0, 0
    for r in range(len(runs)):
        for p in range(runs[r, 0], runs[r, 1]):
            a = _to_float(x[p])
            if not np.isfinite(a):
                bad += 1
                continue
            extremes[0], extremes[1] = _more(a, extremes[0]), _less(a, extremes[1])
            power = np.float64(a)
            for i in range(4):
                sums[i] += power
                power *= a
            counts[0] += a > 0
            for t in range(N_ABOVE):
                counts[1 + t] += a > LEVELS[t]
    return bad


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _scan_cases_carefully(x, gate, linear, runs, best, sums, counts):
    """Scan the sign cases of one neuron of one row without NaN and infinities."""
    best[:], sums[:], counts[:] = -np.inf, 0, 0
    for r in range(len(runs)):
        for p in range(runs[r, 0], runs[r, 1]):
            a = _to_float(x[p])
            if np.isfinite(a):
                case = 2 * (gate[p] < 0) + (linear[p] < 0)
                best[case] = _more(np.abs(a), best[case])
                sums[case] += a
                counts[case] += 1


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _first(x, runs, value, near):
    """The first counted position from `near` on where the neuron has this value."""
    for r in range(len(runs)):
        for p in range(max(near, runs[r, 0]), runs[r, 1]):
            if _to_float(x[p]) == value:
                return p
    return -1


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _first_of_case(x, gate, linear, runs, size, case, near):
    """The first counted position of a sign case from `near` on where the neuron has this size."""
    for r in range(len(runs)):
        for p in range(max(near, runs[r, 0]), runs[r, 1]):
            if np.abs(_to_float(x[p])) == size and 2 * (gate[p] < 0) + (linear[p] < 0) == case:
                return p
    return -1


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _add(whole, fraction, value):
    """Add a float64 to a sum of two integers; returns both parts. See `exact`."""
    value = min(max(value, -LIMIT), LIMIT)
    floor = np.floor(value)
    fraction += np.int64((value - floor) * 2.0**SCALE)
    return whole + np.int64(floor) + (fraction >> SCALE), fraction & MASK


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _enter(kept, side, d, s, row, x, places, at, before, text):
    """Insert an example into one list, in order; the last entry drops out and its window is overwritten.

    Where the list keeps each text once, the entry of the same text drops out instead, or it stays if it is as strong.
    """
    strength, rows = kept.strength[side, d], kept.row[side, d]
    position, slot, texts = kept.position[side, d], kept.slot[side, d], kept.text[side, d]
    i = len(strength) - 1
    for same in range(len(texts)):
        if rows[same] >= 0 and texts[same] == text[_position(places, at)]:
            if s <= strength[same]:
                return
            i = same
            break
    place = slot[i]
    while i > 0 and s > strength[i - 1]:
        strength[i], rows[i], position[i], slot[i] = strength[i - 1], rows[i - 1], position[i - 1], slot[i - 1]
        if len(texts):
            texts[i] = texts[i - 1]
        i -= 1
    strength[i], rows[i], position[i], slot[i] = s, row, _position(places, at), place
    if len(texts):
        texts[i] = text[_position(places, at)]
    _cut(kept.window[side, d, place], x, places, at, before)


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _bins(x, low, n, bins):
    """The bin of each neuron of a block at one position: a float's sign, exponent and first bit of the mantissa."""
    for j in range(n):
        bits = _float_to_bits(_to_float(x[low + j]))
        size = np.int32(bits & np.uint32(0x7FFFFFFF))
        i = min(max((size >> np.int32(22)) - np.int32(LOWEST_KEY), np.int32(0)), np.int32(HALF - 1))
        negative = bits > np.uint32(0x80000000)
        i = np.int32(HALF - 1) - i if negative else np.int32(HALF) + i
        bins[j] = np.uint8(i if size < np.int32(0x7F800000) else np.int32(BINS))


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _draw(x, drawn, kept, base, low, n):
    """Count the drawn positions of a block in the histogram, neuron by neuron: its bins then stay in the L1 cache."""
    bins = np.empty((len(drawn), BLOCK), np.uint8)
    for i in range(len(drawn)):
        _bins(_drawn(x, drawn, i), low, n, bins[i])
    for j in range(n):
        histogram = kept.histogram[base + low + j]
        for i in range(len(drawn)):
            if bins[i, j] < BINS:
                histogram[bins[i, j]] += 1


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _add_row(most, least, powers, counts, low, n, kept, sums, weakest, look):
    """Add one row of a block to the statistics; `look` receives which neurons `_look_closer` must see."""
    maximum, minimum = kept.maximum[low : low + n], kept.minimum[low : low + n]
    largest, smallest, four = weakest[0], weakest[1], powers[3]
    for j in range(n):
        plain = np.abs(four[j]) < np.inf  # no NaN, no infinity, nothing too large for its fourth power
        maximum[j] = _more(most[j] if plain else np.float32(-np.inf), maximum[j])
        minimum[j] = _less(least[j] if plain else np.float32(np.inf), minimum[j])
        look[j] = (not plain) | (most[j] > largest[j]) | (-least[j] > smallest[j])
    for i in range(4):
        total, row = sums[i], powers[i]
        for j in range(n):
            total[j] += np.float64(row[j]) if np.abs(four[j]) < np.inf else 0.0
    for t in range(1 + N_ABOVE):
        counted = kept.positive[low : low + n] if t == 0 else kept.above[t - 1, low : low + n]
        row = counts[t]
        for j in range(n):
            counted[j] += np.int64(row[j]) if np.abs(four[j]) < np.inf else 0


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _add_case_row(best, count, row_sums, powers, positions, low, n, kept, sums, weakest, look):
    """Add the sign cases of one row of a block; see `_scan_cases`."""
    one, four = powers[0], powers[3]
    for case in range(4):
        b, weak = best[case], weakest[2 + case]
        for j in range(n):
            look[j] = look[j] | (b[j] > weak[j])
    for j in range(n):
        if np.abs(four[j]) < np.inf:
            gate, linear, both = np.int64(count[0, j]), np.int64(count[1, j]), np.int64(count[2, j])
            kept.case_count[0, low + j] += positions - gate - linear + both
            kept.case_count[1, low + j] += linear - both
            kept.case_count[2, low + j] += gate - both
            kept.case_count[3, low + j] += both
            s0, s1, s2 = np.float64(row_sums[0, j]), np.float64(row_sums[1, j]), np.float64(row_sums[2, j])
            sums[0, j] += np.float64(one[j]) - s0 - s1 + s2
            sums[1, j] += s1 - s2
            sums[2, j] += s0 - s2
            sums[3, j] += s2


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _band(top_bin, count, ranks, rows, d, value):
    """The slot of the band that a row falls in, which counts it; -1 where it falls in none that is kept.

    It takes the arrays one by one: a call that copies all of `StateArrays` for each neuron costs 0.5 µs.
    """
    if not value > 0:
        return -1
    key = min(max((np.int64(_float_to_bits(value)) >> 22) - LOWEST_KEY, 0), HALF - 1)
    top = top_bin[d]
    if key > top:  # the bands that come into reach take the slots of those that drop out of it
        for new in range(max(top + 1, key - N_BANDS + 1), key + 1):
            slot = new % N_BANDS
            count[d, slot] = 0
            ranks[d, slot], rows[d, slot] = NO_RANK, -1
        top_bin[d] = key
    elif key <= top - N_BANDS:
        return -1
    slot = key % N_BANDS
    count[d, slot] += 1
    return slot


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _add_bands(most, powers, low, n, kept, rank, slots, look):
    """Count one row of a block in the bands; `look` also receives which neurons keep it."""
    top_bin, count, ranks, rows = kept.band_top, kept.band_count, kept.band_rank, kept.band_row
    last = ranks.shape[2] - 1
    for j in range(n):
        slots[j] = -1
        if np.abs(powers[3, j]) < np.inf:
            d, value = low + j, most[j]
            key = min(max((np.int64(_float_to_bits(value)) >> 22) - LOWEST_KEY, 0), HALF - 1)
            if not value > 0 or key <= top_bin[d] - N_BANDS:
                continue
            slot = key % N_BANDS
            if key > top_bin[d]:
                _band(top_bin, count, ranks, rows, d, value)
            else:  # here and not in a call, which costs as much as the rest of an event
                count[d, slot] += 1
            if rank < ranks[d, slot, last]:
                slots[j], look[j] = slot, True


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _enter_band(x, places, runs, row, d, value, near, odd, kept, rank, slot):
    """Keep one row in a band of one neuron, in the order of ranks; see `_look_closer`."""
    if odd:
        slot, near = _band(kept.band_top, kept.band_count, kept.band_rank, kept.band_row, d, value), 0
        if slot < 0 or rank >= kept.band_rank[d, slot, -1]:
            return
    ranks, rows = kept.band_rank[d, slot], kept.band_row[d, slot]
    values, positions = kept.band_activation[d, slot], kept.band_position[d, slot]
    i = len(ranks) - 1
    while i > 0 and rank < ranks[i - 1]:
        ranks[i], rows[i], values[i], positions[i] = ranks[i - 1], rows[i - 1], values[i - 1], positions[i - 1]
        i -= 1
    ranks[i], rows[i], values[i] = rank, row, value
    positions[i] = _position(places, _first(x, runs, value, near))


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _look_closer(x, places, runs, row, j, low, extremes, near, odd, kept, sums, weakest, before, text):
    """One neuron of one row that may enter a list, or that has activations which must not be counted.

    `x` is the row of this neuron alone; `near` is where the pieces begin that hold its extremes. `odd` states that the
    row holds NaN, an infinity, or an activation whose fourth power is beyond float32.
    """
    d = low + j
    if odd:
        near[:] = 0
        powers, counts = np.empty(4, np.float64), np.empty(1 + N_ABOVE, np.int64)
        kept.nonfinite[d] += _scan_carefully(x, runs, extremes, powers, counts)
        for i in range(4):
            sums[i, j] += powers[i]
        kept.positive[d] += counts[0]
        for t in range(N_ABOVE):
            kept.above[t, d] += counts[1 + t]
        kept.maximum[d] = _more(extremes[0], kept.maximum[d])
        kept.minimum[d] = _less(extremes[1], kept.minimum[d])
    for side in range(2):
        s = extremes[0] if side == 0 else -extremes[1]
        if s > weakest[side, j]:
            _enter(kept, side, d, s, row, x, places, _first(x, runs, extremes[side], near[side]), before, text)
            weakest[side, j] = kept.strength[side, d, -1]


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _look_closer_at_cases(
    x, places, gate, linear, runs, row, j, low, best, near, odd, kept, sums, weakest, before, text
):  # fmt: skip
    """The same for the sign cases."""
    d = low + j
    if odd:
        near[:] = 0
        powers, counts = np.empty(4, np.float64), np.empty(4, np.int64)
        _scan_cases_carefully(x, gate, linear, runs, best, powers, counts)
        for case in range(4):
            sums[case, j] += powers[case]
            kept.case_count[case, d] += counts[case]
    for case in range(4):
        s = best[case]
        if s > weakest[2 + case, j]:
            at = _first_of_case(x, gate, linear, runs, s, case, near[case])
            _enter(kept, 2 + case, d, s, row, x, places, at, before, text)
            weakest[2 + case, j] = kept.strength[2 + case, d, -1]


@numba.njit(nogil=True, error_model="numpy", cache=True)
def update(x, bits, gate, linear, batch, kept, base, first, last, before, cases, levels, size_bits):
    """Add neurons `first` to `last` of one batch to the state of a layer; threads share a batch by neurons.

    Args:
        x: (batch, pos, neuron) float32, or bfloat16 seen as uint16; of one expert (entry, neuron), see `RoutedRuns`.
        bits: the same memory as signed integers.
        gate, linear: of the same shape, outputs of the gate and in projections, seen as signed integers; not read
            without `cases`.
        batch: a `state.BatchRuns`, or of one expert a `state.RoutedRuns`.
        kept: a `state.StateArrays`.
        base: number in `kept` of the neuron that is first in `x`.
        first, last: the half-open range of neurons of `x`.
        before: positions of a window before its peak.
        cases: whether sign cases are collected.
        levels: 0 and the thresholds, seen as the same integers.
        size_bits: all bits but the sign.
    """
    f32, small = np.float32, bits.dtype
    most, least, powers = np.empty(BLOCK, f32), np.empty(BLOCK, f32), np.empty((4, BLOCK), f32)
    piece, counts = np.empty((1 + N_ABOVE, BLOCK), small), np.empty((1 + N_ABOVE, BLOCK), np.int32)
    best_bits, case_piece = np.empty((4, BLOCK), small), np.empty((3, BLOCK), small)
    best, case_counts, row_sums = np.empty((4, BLOCK), f32), np.empty((3, BLOCK), np.int32), np.empty((3, BLOCK), f32)
    sums, case_sums = np.empty((4, BLOCK), np.float64), np.empty((4, BLOCK), np.float64)
    weakest, look = np.empty((6, BLOCK), f32), np.empty(BLOCK, np.bool_)
    extremes, case_best, near = np.empty(2, f32), np.empty(4, f32), np.empty(4, np.int64)
    here_most, here_least = np.empty(BLOCK, f32), np.empty(BLOCK, f32)
    most_at, least_at, best_at = np.empty(BLOCK, np.int32), np.empty(BLOCK, np.int32), np.empty((4, BLOCK), np.int32)
    bands, slots = kept.band_rank.shape[2] > 0, np.full(BLOCK, -1, np.int64)
    for low in range(first, last, BLOCK):
        n, own = min(BLOCK, last - low), base + low
        sums[:], case_sums[:] = 0, 0
        for side in range(len(kept.strength)):
            for j in range(n):
                weakest[side, j] = kept.strength[side, own + j, -1]
        for b in range(len(batch.rows)):
            xb, bits_b, places = _row(x, batch, b), _row(bits, batch, b), _places(batch, b)
            most[:], least[:], powers[:], counts[:] = -np.inf, np.inf, 0, 0
            most_at[:], least_at[:] = 0, 0
            mine, row, positions = batch.runs[b, : batch.n_runs[b]], batch.rows[b], 0
            piece[:], since = 0, 0
            for r in range(len(mine)):
                positions += mine[r, 1] - mine[r, 0]
                for start in range(mine[r, 0], mine[r, 1], PIECE):
                    stop = min(start + PIECE, mine[r, 1])
                    here_most[:], here_least[:] = -np.inf, np.inf
                    _scan(xb, start, stop, low, n, here_most, here_least, powers)
                    _keep_extremes(here_most, here_least, np.int32(start), n, most, least, most_at, least_at)
                    _count(bits_b, start, stop, low, n, levels, piece)
                    since += PIECE
                    if since >= FULL:
                        _empty_into(piece, counts, n)
                        since = 0
            _empty_into(piece, counts, n)
            _add_row(most, least, powers, counts, own, n, kept, sums, weakest, look)
            if bands:
                _add_bands(most, powers, own, n, kept, batch.rank[b], slots, look)
            if cases:
                gate_b, linear_b = _row(gate, batch, b), _row(linear, batch, b)
                best[:], best_at[:], case_counts[:], row_sums[:], since = -np.inf, 0, 0, 0, 0
                case_piece[:] = 0
                for r in range(len(mine)):
                    for start in range(mine[r, 0], mine[r, 1], PIECE):
                        stop = min(start + PIECE, mine[r, 1])
                        best_bits[:] = -1
                        _scan_cases(
                            xb, bits_b, gate_b, linear_b, start, stop, low, n, size_bits,
                            best_bits, case_piece, row_sums,
                        )  # fmt: skip
                        _keep_best(best_bits, np.int32(start), n, best, best_at)
                        since += PIECE
                        if since >= FULL:
                            _empty_into(case_piece, case_counts, n)
                            since = 0
                _empty_into(case_piece, case_counts, n)
                _add_case_row(best, case_counts, row_sums, powers, positions, own, n, kept, case_sums, weakest, look)
            for j in range(n):
                if not look[j]:
                    continue
                d, odd = low + j, not np.isfinite(powers[3, j])
                extremes[0], extremes[1], near[0], near[1] = most[j], least[j], most_at[j], least_at[j]
                _look_closer(
                    xb[:, d], places, mine, row, j, own, extremes, near, odd, kept, sums, weakest, before, batch.text[b]
                )
                if bands and (odd or slots[j] >= 0):
                    _enter_band(
                        xb[:, d], places, mine, row, own + j, extremes[0], near[0], odd, kept, batch.rank[b], slots[j]
                    )
                if cases:
                    for case in range(4):
                        case_best[case], near[case] = best[case, j], best_at[case, j]
                    _look_closer_at_cases(
                        xb[:, d], places, gate_b[:, d], linear_b[:, d], mine, row, j, own, case_best, near, odd, kept,  # pyright: ignore[reportPossiblyUnbound, reportUnboundVariable]
                        case_sums, weakest, before, batch.text[b],
                    )  # fmt: skip
        for i in range(4):
            unit = FOURTH if i == 3 else 1.0
            for j in range(n):
                d = own + j
                kept.whole[i, d], kept.fraction[i, d] = _add(kept.whole[i, d], kept.fraction[i, d], sums[i, j] * unit)
                if cases:
                    kept.case_whole[i, d], kept.case_fraction[i, d] = _add(
                        kept.case_whole[i, d], kept.case_fraction[i, d], case_sums[i, j]
                    )
        _draw(x, batch.drawn, kept, base, low, n)
