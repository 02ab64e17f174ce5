"""Three ways to run substitutes, timed in pairs on the same rows: packed, one call a substitute, plain batches.

Shared by `bench_perturb.py` (a real model on this project's text) and `bench_gpu.py --perturb` (random weights).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from neurolocal.subject.branches import Branch, BranchActivations
from neurolocal.subject.model import Subject
from neurolocal.subject.packed import Packed


class Round(NamedTuple):
    """Seconds of the three ways on the same substitutes, and the difference of packed and single calls."""

    packed: float
    single: float
    plain: float
    difference: float


def timed(run: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    begin = time.perf_counter()
    result = run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begin, result


def single(subject: Subject, row: np.ndarray, layer: int, branches: Sequence[Branch]) -> np.ndarray:
    """One plain forward pass a substitute, up to the layer read."""
    found: list[float] = []
    for position, tokens, neuron in branches:
        whole = torch.tensor([[*row[:position].tolist(), *tokens]])
        subject.read(whole, {layer: lambda x, p=position, n=neuron: found.append(float(x[0, p:, n].float().max()))})
    return np.array(found, np.float32)


def plain(subject: Subject, row: np.ndarray, layer: int, branches: Sequence[Branch], *, size: int) -> np.ndarray:
    """Substitutes in batches, each with its own copy of the prefix, padded at the end."""
    found: list[float] = []
    for begin in range(0, len(branches), size):
        some = branches[begin : begin + size]
        tokens = torch.zeros((len(some), max(p + len(t) for p, t, _ in some)), dtype=torch.long)
        for line, (p, t, _) in zip(tokens, some, strict=True):
            line[: p + len(t)] = torch.tensor([*row[:p].tolist(), *t])
        kept: list[torch.Tensor] = []
        subject.read(tokens, {layer: lambda x, kept=kept: kept.append(x.clone())})
        found += [float(kept[0][i, p : p + len(t), n].float().max()) for i, (p, t, n) in enumerate(some)]
    return np.array(found, np.float32)


def substitutes(rng: np.random.Generator, subject: Subject, layer: int, position: int, n: int) -> list[Branch]:
    """Random substitutes of one place and neuron: every third has two or three tokens, the others one."""
    neuron = int(rng.integers(subject.d_mlp[layer]))
    sizes = [int(rng.integers(2, 4)) if i % 3 == 2 else 1 for i in range(n)]
    return [(position, tuple(rng.integers(5, subject.d_vocab, s).tolist()), neuron) for s in sizes]


def one_round(packed: Packed, row: np.ndarray, layer: int, branches: Sequence[Branch]) -> Round:
    subject = packed.subject
    fast, mine = timed(lambda: packed.activations(row, {layer: branches})[layer].largest)
    slow, theirs = timed(lambda: single(subject, row, layer, branches))
    batches, _ = timed(lambda: plain(subject, row, layer, branches, size=len(branches)))
    return Round(fast, slow, batches, float(np.abs(mine - theirs).max() / np.abs(theirs).max()))


def interval(ratios: Sequence[float]) -> str:
    rng = np.random.default_rng(0)
    draws = np.median(rng.choice(np.array(ratios), (2000, len(ratios))), axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{np.median(ratios):5.1f} [{low:5.1f}, {high:5.1f}]"


def one_place(packed: Packed, rows: np.ndarray, rng: np.random.Generator, args: argparse.Namespace) -> list[float]:
    """Setting 1: the substitutes of one example."""
    print(f"\none example, {args.substitutes} substitutes (every third of 2 or 3 tokens), {args.rounds} rounds each")
    print("layer  prefix   vs one call a substitute    vs plain batches        largest difference")
    medians = []
    for layer in args.layers:
        for prefix in args.prefixes:
            rounds = []
            for i in range(args.rounds + 1):
                branches = substitutes(rng, packed.subject, layer, prefix, args.substitutes)
                rounds.append(one_round(packed, rows[i % len(rows)], layer, branches))
            rounds = rounds[1:]  # the first warms up, and compares packed with plain passes
            ratios = [r.single / r.packed for r in rounds]
            medians.append(float(np.median(ratios)))
            print(
                f"{layer:5d}  {prefix:6d}   {interval(ratios)}       {interval([r.plain / r.packed for r in rounds])}"
                f"     {max(r.difference for r in rounds):.1e}",
                flush=True,
            )
    return medians


def whole_layer(packed: Packed, rows: np.ndarray, rng: np.random.Generator, args: argparse.Namespace) -> list[float]:
    """Setting 2: many neurons peak in one row; singles are timed on a sample of the same calls."""
    each = args.substitutes + 1
    print(f"\nmany neurons: {args.sharing} examples in each row, {each} passes each (substitutes and the original)")
    print("layer  vs one call a substitute    vs plain batches        difference    seconds a neuron of 10 examples")
    medians = []
    for layer in args.layers:
        rounds, seconds = [], []
        for i in range(args.rounds + 1):
            row = rows[i % len(rows)]
            places = rng.integers(len(row) // 8, len(row), args.sharing)
            branches = [b for p in places for b in substitutes(rng, packed.subject, layer, int(p), each)]
            fast, mine = timed(lambda r=row, b=branches, at=layer: packed.activations(r, {at: b})[at].largest)
            chosen = rng.choice(len(branches), min(args.sample, len(branches)), replace=False)
            some = [branches[j] for j in chosen]
            slow, theirs = timed(lambda r=row, b=some, at=layer: single(packed.subject, r, at, b))
            by_place = [branches[j : j + each] for j in rng.choice(args.sharing, 2) * each]
            batches = sum(
                timed(lambda r=row, b=b, at=layer: plain(packed.subject, r, at, b, size=len(b)))[0] for b in by_place
            )
            scale = len(branches)
            difference = float(np.abs(mine[chosen] - theirs).max() / np.abs(theirs).max())
            rounds.append(Round(fast, slow * scale / len(some), batches * scale / (2 * each), difference))
            seconds.append(fast / args.sharing * 10)
        rounds, seconds = rounds[1:], seconds[1:]
        ratios = [r.single / r.packed for r in rounds]
        medians.append(float(np.median(ratios)))
        print(
            f"{layer:5d}  {interval(ratios)}       {interval([r.plain / r.packed for r in rounds])}"
            f"     {max(r.difference for r in rounds):.1e}       {np.median(seconds):.3f}",
            flush=True,
        )
    return medians


def few_examples(packed: Packed, rows: np.ndarray, rng: np.random.Generator, args: argparse.Namespace) -> list[float]:
    """Setting 3: two examples in each of many rows, several rows a pass, against a pass a row."""
    each, n = args.substitutes + 1, 32
    print(f"\nfew examples: 2 in each of {n} rows, {each} passes each; several rows a pass")
    print("layer  vs a pass a row    difference    seconds a neuron of 10 examples")
    medians = []
    for layer in args.layers:
        ratios, seconds, differences = [], [], []
        for i in range(args.rounds + 1):
            some = []
            for row in rows[rng.integers(0, len(rows), n)]:
                places = rng.integers(len(row) // 8, len(row), 2)
                some.append((row, [b for p in places for b in substitutes(rng, packed.subject, layer, int(p), each)]))
            together, mine = timed(lambda s=some, at=layer: joined(dict(packed.activations_of_rows(at, s))))
            alone, theirs = timed(
                lambda s=some, at=layer: joined({i: packed.activations(*_one(one, at))[at] for i, one in enumerate(s)})
            )
            if i:  # the first warms up
                ratios.append(alone / together)
                seconds.append(together / (2 * n) * 10)
                differences.append(float(np.abs(mine - theirs).max() / np.abs(theirs).max()))
        medians.append(float(np.median(ratios)))
        print(
            f"{layer:5d}  {interval(ratios)}    {max(differences):.1e}       {np.median(seconds):.3f}",
            flush=True,
        )
    return medians


def joined(found: dict[int, BranchActivations]) -> np.ndarray:
    return np.concatenate([found[i].largest for i in sorted(found)])


def _one(one: tuple[np.ndarray, list[Branch]], layer: int) -> tuple[np.ndarray, dict[int, list[Branch]]]:
    return one[0], {layer: one[1]}
