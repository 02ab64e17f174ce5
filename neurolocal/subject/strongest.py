"""The tokens whose unembedding rows have the largest and smallest products with each of many directions.

Invariant: exact. A product is the one of the float32 direction and the row as it is stored, summed in float64, less its
mean over the tokens, rounded to float32 once; ties go to the lower token id. The result depends neither on the machine
nor on the blocks.
How: all products are computed roughly, in the CPU's fastest number format (bfloat16 where it is faster), and only the
largest and smallest of each group of GROUP tokens are looked at. By Cauchy-Schwarz the true product differs from the
rough one by at most |direction - its rounding| |row| + |direction| |row - its rounding|, and the roundings of the sum
and of the result (`_bounds`). k groups whose largest rough product, less its bound, is L or more hold k tokens of at
least L. So no token is lost whose rough product, plus its bound, is below L. The others, some 20 a direction, are
computed exactly. A direction with more than MOST of them is multiplied exactly with all tokens.
On a CPU each thread has a block of directions of its own: threads that share every product wait for each other, most
of all on a machine that others use too.
Cost: one rough product of (directions, d) and (d, tokens), and ROOM bytes for the rough products of the blocks; also a
bfloat16 copy of the unembedding where it is in another format and bfloat16 is used.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

GROUP = 64
"""Tokens of which only the largest and the smallest rough product is looked at first."""

VOCABULARY = 32 * GROUP
"""Tokens of a product: with 512 directions in bfloat16 its result stays in a core's cache."""

ROOM = 1 << 28
"""Bytes for the rough products of all blocks of directions that are at work."""

MOST = 4096
"""Exact products of single tokens a direction; beyond this a product with all of them is faster."""

FLOAT, HALF = torch.float32, torch.bfloat16

PAIRS = 256
"""Exact products at a time: more would leave the cache."""


class Strongest(NamedTuple):
    """Of each direction the k tokens with the largest products, and the k with the smallest."""

    promoted: Int[Tensor, "n k"]
    promoted_effect: Float[Tensor, "n k"]
    suppressed: Int[Tensor, "n k"]
    suppressed_effect: Float[Tensor, "n k"]


class Unembedding:
    """The rows of an unembedding, made ready for the directions of many layers."""

    def __init__(
        self, weight: Float[Tensor, "d_vocab d"], tokens: Int[Tensor, "token"], *, rough: torch.dtype | None = None
    ) -> None:
        """Measure the rows.

        Args:
            weight: one row an id.
            tokens: the ids that count, ascending.
            rough: number format of the rough products; None is the fastest.

        Raises:
            ValueError: a row is not finite.
        """
        n = len(tokens)
        leading = n == 0 or int(tokens[-1]) == n - 1
        self.tokens = tokens.to(weight.device)
        self.rows = weight[:n] if leading else weight[self.tokens]
        self.rough = rough or fastest(self.rows)
        self._rounded = self.rows.to(self.rough)
        # float64 where the device has it
        self._home = torch.device("cpu") if weight.device.type == "mps" else weight.device
        norms, errors, total = [], [], torch.zeros(weight.shape[1], dtype=torch.float64, device=self._home)
        for rows, rounded in zip(self.rows.split(VOCABULARY), self._rounded.split(VOCABULARY), strict=True):
            wide = rows.float()
            norms.append(_groups(wide.norm(dim=1)[:, None]).amax(1)[:, 0])
            errors.append(_groups((wide - rounded.float()).norm(dim=1)[:, None]).amax(1)[:, 0])
            total += rows.to(self._home).double().sum(0)
        self._norms, self._errors, self.mean = torch.cat(norms), torch.cat(errors), total / n
        self._padded = len(self._norms) * GROUP
        self._rooms: list[Tensor] = []
        if not self._norms.isfinite().all():
            raise ValueError("its unembedding holds numbers that are not finite")

    def strongest(
        self, directions: Float[Tensor, "n d"], k: int, *, block: int | None = None,
        progress: Callable[[int], object] = lambda n: None,
    ) -> Strongest:  # fmt: skip
        """The k tokens a side.

        Args:
            directions: float32.
            k: at most the tokens there are.
            block: directions at a time; None is what ROOM has room for, 512 at most.
            progress: called with the number of directions that were done.

        Raises:
            ValueError: a direction is not finite.
        """
        if not directions.isfinite().all():
            raise ValueError("a neuron's output direction holds numbers that are not finite")
        threads = torch.get_num_threads() if self.rows.device.type == "cpu" else 1
        fits = max(8, ROOM // (threads * self._padded * self._rounded.itemsize))
        block = min(block or 512, fits, max(1, -(-len(directions) // threads)))
        found: list[Strongest] = []
        with _single_threads(threads) as pool:
            blocks = directions.to(self.rows.device).split(block)
            for some in pool.map(lambda some: self._block(some, k), blocks):
                found.append(some)
                progress(len(some.promoted))
        return Strongest(*(torch.cat(parts) for parts in zip(*found, strict=True)))

    @torch.inference_mode()
    def _block(self, directions: Float[Tensor, "n d"], k: int) -> Strongest:
        size = self._padded * len(directions)
        room = self._rooms.pop() if self._rooms else torch.empty(0, dtype=self.rough, device=self.rows.device)
        if len(room) < size:
            room = torch.empty(size, dtype=self.rough, device=self.rows.device)
        try:
            return self._in_room(directions, k, room[:size])
        finally:
            self._rooms.append(room)

    def _in_room(self, directions: Float[Tensor, "n d"], k: int, room: Tensor) -> Strongest:
        norms = directions.norm(dim=1)
        unit = directions / torch.where(norms > 0, norms, 1)[:, None]
        products = room.view(-1, len(directions))
        largest, smallest = self._multiply(unit, products)
        bound = self._bounds(unit)
        sides = []
        for sign, extreme in ((1, largest), (-1, smallest)):
            pairs = self._candidates(products, sign, sign * extreme.float(), bound, k)
            sides += self._exactly(directions, sign, *pairs, k)
        return Strongest(*sides)

    def _multiply(self, unit: Float[Tensor, "n d"], products: Tensor) -> tuple[Tensor, Tensor]:
        """Fill `products` (token, n) in the rough format; gives the extremes of each group (group, n)."""
        n, right = len(self.rows), unit.to(self.rough).T.contiguous()
        largest = torch.empty((len(products) // GROUP, products.shape[1]), dtype=self.rough, device=products.device)
        smallest = torch.empty_like(largest)
        for start in range(0, n, VOCABULARY):
            rows = self._rounded[start : start + VOCABULARY]
            torch.mm(rows, right, out=products[start : start + len(rows)])
            if start + VOCABULARY >= n:
                products[n:] = products[n - 1]  # fills the last group without changing its extremes
            part = products[start : start + VOCABULARY].view(-1, GROUP, products.shape[1])
            at = slice(start // GROUP, start // GROUP + len(part))
            torch.amax(part, 1, out=largest[at])
            torch.amin(part, 1, out=smallest[at])
        return largest, smallest

    def _bounds(self, unit: Float[Tensor, "n d"]) -> Float[Tensor, "group n"]:
        """How far a rough product may be from the true one, apart from the rounding of the result.

        |u w - u' w'| <= |u - u'| |w| + |u'| |w - w'|; a sum of d products in float32, in any order, is within
        d 2^-23 |u'| |w'| of the true one. 1.01 covers the rounding of the norms; the constant, the tiny numbers
        that some processors take for 0.
        """
        rounded = unit.to(self.rough).float()
        d = unit.shape[1]
        summing = d * 2.0**-23 + (0 if self._precise else 2.0**-6)
        size = rounded.norm(dim=1)
        return 1e-30 + 1.01 * (
            self._norms[:, None] * ((unit - rounded).norm(dim=1) + summing * size)
            + self._errors[:, None] * ((1 + summing) * size)
        )

    @property
    def _precise(self) -> bool:
        """Whether products of the rough format are not rounded to a narrower one inside (TF32)."""
        return self.rows.device.type == "cpu" and torch.get_float32_matmul_precision() == "highest"

    def _candidates(
        self, products: Tensor, sign: int, extreme: Float[Tensor, "group n"], bound: Float[Tensor, "group n"], k: int
    ) -> tuple[Int[Tensor, "pair"], Int[Tensor, "pair"]]:
        """(direction, row) of every token that may be among the k largest of `sign` times the products, in order."""
        # Bounds are of the direction's length 1; rounding the effect to float32 makes ties, hence the slack.
        slack = 2.0**-20 * (self._norms.max() + self.mean.norm().to(self._norms))
        last = 0 if self.rough == torch.float32 else 1.01 * torch.finfo(self.rough).eps / 2
        lower, upper = extreme - bound, extreme + bound
        if last:
            rounding = extreme.abs() * last
            lower, upper = lower.sub_(rounding), upper.add_(rounding)
        if len(lower) < k:
            least = torch.full_like(lower[0], -torch.inf)
        else:
            least = lower.T.contiguous().topk(k, dim=1).values[:, -1] - 2 * slack
        group, direction = (upper >= least).nonzero(as_tuple=True)
        some = sign * products.view(-1, GROUP, products.shape[1])[group, :, direction].float()
        some = some + last * some.abs() + bound[group, direction][:, None]
        pair, within = (some >= least[direction][:, None]).nonzero(as_tuple=True)
        row, direction = group[pair] * GROUP + within, direction[pair]
        direction, row = direction[row < len(self.rows)], row[row < len(self.rows)]
        order = (direction * len(self.rows) + row).argsort()
        return direction[order], row[order]

    def _exactly(
        self, directions: Float[Tensor, "n d"], sign: int, direction: Int[Tensor, "pair"], row: Int[Tensor, "pair"],
        k: int,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """The k strongest of the candidates by their exact effects, ties by the lower id."""
        n = len(directions)
        wide = directions.to(self._home).double()
        mean = wide @ self.mean
        counts = direction.bincount(minlength=n)
        many = counts > MOST
        tokens, effects = (torch.empty((n, k), dtype=kind, device=self._home) for kind in (torch.int64, torch.float32))
        for at in many.nonzero()[:, 0].to(self._home).split(16) if many.any() else ():
            tokens[at], effects[at] = self._all(wide[at], mean[at], sign, k)
        few = ~many[direction]
        direction, row, counts = direction[few], row[few], torch.where(many, 0, counts)
        exact = self._products(wide, direction, row)
        direction, row, counts = (x.to(self._home) for x in (direction, row, counts))
        exact = (exact - mean[direction]).float()
        place = torch.arange(len(row), device=self._home) - (counts.cumsum(0) - counts)[direction]
        padded = exact.new_full((n, max(k, int(counts.max()))), -torch.inf)
        padded[direction, place] = sign * exact
        ids = torch.zeros_like(padded, dtype=torch.int64)
        ids[direction, place] = row
        values, order = padded.sort(dim=1, descending=True, stable=True)
        rest = (~many).to(self._home)
        tokens[rest], effects[rest] = ids.gather(1, order)[rest, :k], sign * values[rest, :k]
        return self.tokens.to(self._home)[tokens], effects

    def _products(
        self, wide: Float[Tensor, "n d"], direction: Int[Tensor, "pair"], row: Int[Tensor, "pair"]
    ) -> Float[Tensor, "pair"]:
        """The exact products, in one array: small results between large temporaries would fragment the heap."""
        found = wide.new_empty(len(row))
        for into, some, at in zip(found.split(PAIRS), direction.split(PAIRS), row.split(PAIRS), strict=True):
            into[:] = (wide[some.to(self._home)] * self.rows[at].to(self._home).double()).sum(1)
        return found

    def _all(self, wide: Float[Tensor, "n d"], mean: Float[Tensor, "n"], sign: int, k: int) -> tuple[Tensor, Tensor]:
        """The same from the products with all tokens."""
        parts = [(rows.to(self._home).double() @ wide.T) for rows in self.rows.split(VOCABULARY)]
        effects = (torch.cat(parts).T - mean[:, None]).float()
        values, tokens = (sign * effects).sort(dim=1, descending=True, stable=True)
        return tokens[:, :k], sign * values[:, :k]


def fastest(rows: Float[Tensor, "token d"]) -> torch.dtype:
    """bfloat16 where this CPU multiplies it at least 1.5 times as fast as float32; both are tried once."""
    if rows.device.type != "cpu":
        return torch.float32
    with _single_threads(1) as pool:
        seconds = {dtype: pool.submit(_seconds, dtype, rows.shape[1]).result() for dtype in (FLOAT, HALF)}
    return HALF if seconds[FLOAT] > 1.5 * seconds[HALF] else FLOAT


def _seconds(dtype: torch.dtype, d: int) -> float:
    """Of this thread's own time, so that others do not count; the second of two products."""
    x, y = torch.ones((512, d), dtype=dtype), torch.ones((d, 512), dtype=dtype)
    torch.mm(x, y)
    began = time.thread_time()
    torch.mm(x, y)
    return time.thread_time() - began


@contextmanager
def _single_threads(n: int) -> Generator[ThreadPoolExecutor, None, None]:
    """Threads whose products use no others."""
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(n, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)  # one of the libraries counts its threads for all of a process


def _groups(x: Float[Tensor, "token n"]) -> Float[Tensor, "group GROUP n"]:
    """In groups; the last is filled with its last token."""
    missing = -len(x) % GROUP
    return torch.cat([x, x[-1:].expand(missing, -1)]).view(-1, GROUP, x.shape[1])
