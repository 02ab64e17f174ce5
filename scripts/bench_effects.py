"""How long the direct logit effects of a layer take: as in 0.1.0, and now, in turn, on random weights.

Run: python scripts/bench_effects.py [PAIRS]. Shapes are those of SmolLM2-135M and Gemma 3 270M, weights in bfloat16 and
float32. Prints seconds a layer of each (median of the pairs), their ratio, the processor seconds (other work on the
machine changes them less), and of how many neurons the tokens are the same. 0.1.0's own way is kept here: float32
products of 256 neurons at a time, and one `topk` a side over them.
"""

from __future__ import annotations

import statistics
import sys
import time

import torch
from torch import Tensor

from neurolocal.subject.strongest import Unembedding

SHAPES = {"SmolLM2-135M": (49_152, 576, 1_536, 30), "Gemma 3 270M": (262_144, 640, 2_048, 18)}
"""d_vocab, d_model, d_mlp, layers."""

K = 10


def earlier(weight: Tensor, directions: Tensor, k: int, block: int = 256) -> list[Tensor]:
    """The tokens and effects of both sides as 0.1.0 found them."""
    unembedding = weight[torch.arange(len(weight))].float()
    mean = unembedding.mean(0)
    sides: list[list[Tensor]] = [[], [], [], []]
    room = torch.empty((block, len(weight)))
    for start in range(0, len(directions), block):
        folded = directions[start : start + block]
        effect = torch.mm(folded, unembedding.T, out=room[: len(folded)])
        for i, largest in enumerate((True, False)):
            values, tokens = effect.topk(k, dim=1, largest=largest)
            sides[2 * i].append(tokens)
            sides[2 * i + 1].append(values - (folded @ mean)[:, None])
    return [torch.cat(side) for side in sides]


def main() -> None:
    """Print one line a shape and dtype."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    torch.manual_seed(0)
    for name, (d_vocab, d_model, d_mlp, layers) in SHAPES.items():
        for dtype in (torch.bfloat16, torch.float32):
            weight = (torch.randn(d_vocab, d_model) * 0.05).to(dtype)
            directions = torch.randn(d_mlp, d_model)
            began = time.perf_counter()
            ready = Unembedding(weight, torch.arange(d_vocab))
            once = time.perf_counter() - began
            old, new, cpu, same = [], [], [0.0, 0.0], 0
            for _ in range(pairs):
                began, busy = time.perf_counter(), time.process_time()
                before = earlier(weight, directions, K)
                old.append(time.perf_counter() - began)
                cpu[0] += (time.process_time() - busy) / pairs
                began, busy = time.perf_counter(), time.process_time()
                found = ready.strongest(directions, K)
                new.append(time.perf_counter() - began)
                cpu[1] += (time.process_time() - busy) / pairs
                same = sum(bool((a == b).all()) for a, b in zip(before[0], found.promoted, strict=True))
            a, b = statistics.median(old), statistics.median(new)
            print(
                f"{name}, {str(dtype).removeprefix('torch.')}, rough products in "
                f"{str(ready.rough).removeprefix('torch.')}: {a:.2f} s a layer before, {b:.2f} now ({a / b:.1f} "
                f"times as fast; pairs {min(x / y for x, y in zip(old, new, strict=True)):.1f} to "
                f"{max(x / y for x, y in zip(old, new, strict=True)):.1f}; "
                f"processor {cpu[0]:.2f} and {cpu[1]:.2f} s); {layers} layers {a * layers:.0f} s and "
                f"{b * layers + once:.0f} s, {once:.2f} s once; same tokens for {same:,} of {d_mlp:,} neurons",
                flush=True,
            )


if __name__ == "__main__":
    main()
