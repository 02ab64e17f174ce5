"""Ways to damage an input: bytes, texts, JSON, TOML, and what is compressed.

Invariant: a function of the input and the source of chance alone, for any input. Cost: O(bytes) an input.
"""

from __future__ import annotations

import gzip
import json
import math
import random
import struct
import tomllib
from collections.abc import Callable
from typing import Any

from fuzzing.reader import Mutate

NUMBERS = [
    0,
    1,
    7,
    127,
    128,
    255,
    256,
    32767,
    65535,
    65536,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**32,
    2**53,
    2**60,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
]
"""Whole numbers at which lengths and offsets break."""

PLACES = [
    "../x",
    "../../etc/hostname",
    "/etc/hostname",
    "/dev/zero",
    "C:\\x",
    "a/../../b",
    "x\0y",
    "~/x",
    "con",
    ".",
    "",
]
"""Names that lead elsewhere."""

TEXTS = [
    *PLACES,
    "a" * 5000,
    "\u202e",
    "\x1b[31m",
    "\ud800",
    "\0",
    "\ufeff",
    "é",
    "e\u0301",
    "🙂",
    "\n",
    "\r\n",
    "<script>",
    "{{ 7*7 }}",
    "%s",
    "NaN",
    "nan",
    "-0",
    "1e999",
    "0x10",
    "１２",
    "null",
    "true",
    "__class__",
    "text",
    "-1",
    " ",
]
"""Texts on which readers part."""

LITERALS = [
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e999",
    b"-1",
    b"9" * 400,
    b"9" * 5000,
    b"[" * 3000,
    b'{"a":' * 2000,
    b"null",
    b'""',
    b"\\ud800",
    b"\\u0000",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\xc0\x80",
    b"\x00",
    b"\r",
    b"\n",
    b'"',
    b"\\",
    b"{}",
    b"[]",
    b"]]",
    b" " * 300,
    b"\xf4\x90\x80\x80",
    b"0.1",
    b"true",
    b",",
    b":",
]
"""Pieces of JSON and of text."""


def flat(data: bytes, rng: random.Random) -> bytes:
    """One to eight changes of bytes: flips, numbers, cuts, repeats, pieces."""
    changed = bytearray(data)
    for _ in range(min(8, 1 + int(rng.expovariate(0.7)))):
        _change(changed, rng)
    return bytes(changed)


def _change(data: bytearray, rng: random.Random) -> None:
    n = len(data)
    at = rng.randrange(n) if n else 0
    kind = rng.randrange(9)
    if kind == 0 and n:
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 1 and n:
        data[at] = rng.randrange(256)
    elif kind == 2:
        form, width = rng.choice([("<I", 4), ("<Q", 8), (">I", 4), (">Q", 8), ("<H", 2)])
        number = rng.choice(NUMBERS) & ((1 << 8 * width) - 1)
        data[at : at + width] = struct.pack(form, number)
    elif kind == 3 and n:
        del data[at : at + rng.choice([1, 2, 8, 64, n])]
    elif kind == 4 and n:
        data[at:at] = data[at : at + rng.choice([1, 4, 32, 256])] * rng.choice([1, 2, 16])
    elif kind == 5:
        data[at:at] = rng.choice(LITERALS)
    elif kind == 6:
        data[at:at] = rng.randbytes(rng.choice([1, 3, 16]))
    elif kind == 7 and n:
        other, width = rng.randrange(n), rng.choice([1, 4, 16, 64])
        piece = data[other : other + width]
        data[at : at + len(piece)] = piece
    else:
        piece = rng.choice(TEXTS).encode("utf-8", "surrogatepass")
        data[at : at + rng.choice([0, len(piece)])] = piece


def value(rng: random.Random, *, deep: int = 2) -> Any:
    """A JSON value that few readers expect."""
    kind = rng.randrange(12)
    if kind < 2:
        return rng.choice([None, True, False])
    if kind < 5:
        return rng.choice([*NUMBERS, -1, -(2**63), 10**30, 10**400])
    if kind < 6:
        return rng.choice([0.5, -0.0, 1e308, 1e-320, math.nan, math.inf, -math.inf])
    if kind < 9:
        return rng.choice(TEXTS)
    if kind < 10:
        nested: Any = 0
        for _ in range(rng.choice([1, 5, 300])):
            nested = [nested] if rng.random() < 0.5 else {"a": nested}
        return nested
    if not deep:
        return rng.choice([[], {}])
    if kind < 11:
        return [value(rng, deep=deep - 1) for _ in range(rng.choice([0, 1, 3, 200]))]
    return {rng.choice(TEXTS): value(rng, deep=deep - 1) for _ in range(rng.choice([0, 1, 3]))}


def within(found: Any, rng: random.Random) -> Any:
    """Change one place in nested lists and dictionaries: replace, drop, double, rename, swap, or alter a little."""
    if not isinstance(found, (dict, list)) or not found or rng.random() < 0.03:
        return _altered(found, rng)
    keys = list(found) if isinstance(found, dict) else range(len(found))
    key: Any = rng.choice(list(keys))
    kind = rng.random()
    if isinstance(found[key], (dict, list)) and found[key] and kind < 0.75:
        found[key] = within(found[key], rng)
    elif kind < 0.8:
        found[key] = _altered(found[key], rng)
    elif kind < 0.88:
        del found[key]
    elif isinstance(found, dict):
        other = rng.choice(list(found))
        if kind < 0.94:
            found[key], found[other] = found[other], found[key]
        else:
            found[rng.choice([*TEXTS, str(key).upper(), f"{key} "])] = found.pop(key) if kind < 0.97 else found[key]
    else:
        other = rng.randrange(len(found))
        if kind < 0.94:
            found[key], found[other] = found[other], found[key]
        else:
            found[key:key] = [found[key]] * rng.choice([1, 2, 50])
    return found


def _altered(one: Any, rng: random.Random) -> Any:
    """A little different, or something else."""
    if rng.random() < 0.4:
        return value(rng)
    if isinstance(one, bool) or one is None:
        return rng.choice([not one, 0, 1, "true"])
    if isinstance(one, (int, float)):
        return rng.choice(
            [one + 1, one - 1, -one, one * 2, float(one) if abs(one) < 1e300 else 0, str(one), [one], one * 1000]
        )
    if isinstance(one, str):
        at = rng.randrange(len(one) + 1)
        return one[:at] + rng.choice(TEXTS) + one[at + rng.choice([0, 1, 5]) :]
    return rng.choice([[one], {}, [], None, json.dumps(one, default=str)[:2000]])


def as_json(data: bytes, rng: random.Random) -> bytes:
    """Change places in a JSON value, or bytes of it."""
    if rng.random() < 0.25:
        return flat(data, rng)
    try:
        found = json.loads(data)
        for _ in range(rng.choice([1, 1, 2, 4])):
            found = within(found, rng)
        return json.dumps(found, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return flat(data, rng)


def as_lines(data: bytes, rng: random.Random) -> bytes:
    """Change a line of JSON lines, the lines' order, or bytes."""
    lines = data.split(b"\n")
    i, kind = rng.randrange(len(lines)), rng.random()
    if kind < 0.6:
        lines[i] = as_json(lines[i], rng)
    elif kind < 0.65:
        lines[i:i] = [lines[i]] * rng.choice([1, 40])
    elif kind < 0.7:
        del lines[i]
    else:
        return flat(data, rng)
    return b"\n".join(lines)


def as_toml(data: bytes, rng: random.Random) -> bytes:
    """Change places in a TOML file, or bytes of it."""
    import tomli_w

    if rng.random() < 0.4:
        return flat(data, rng)
    try:
        found = tomllib.loads(data.decode())
        for _ in range(rng.choice([1, 1, 2, 4])):
            found = within(found, rng)
        return tomli_w.dumps(found).encode("utf-8", "surrogatepass")
    except (ValueError, TypeError, RecursionError, AttributeError):
        return flat(data, rng)


def compressed(inner: Mutate, pack: Callable[[bytes], bytes], unpack: Callable[[bytes], bytes]) -> Mutate:
    """Damage what a compressed file holds, or the compressed bytes."""

    def mutate(data: bytes, rng: random.Random) -> bytes:
        if rng.random() < 0.5:
            return flat(data, rng)
        try:
            return pack(inner(unpack(data), rng))
        except Exception:  # each package has its own errors
            return flat(data, rng)

    return mutate


def zst(data: bytes) -> bytes:
    """Compressed by zstandard."""
    import zstandard

    return zstandard.ZstdCompressor().compress(data)


def unzst(data: bytes) -> bytes:
    """What zstandard compressed, at most 16 MiB."""
    import zstandard

    return zstandard.ZstdDecompressor().decompress(data, max_output_size=1 << 24)


GZIP = (lambda data: gzip.compress(data, 1, mtime=0)), gzip.decompress
ZST = zst, unzst
