"""What does describing cost, and what does the shared prefix save?

Describes neurons of STORE (best verdicts first, as `neurolocal summary` does) with an LLM, in chunks, in one process:
alternately as the stage does it, and with the head of each prompt evaluated again each time. Prints neurons a minute,
prompt tokens a second (shared ones counted each time), the median ratio of the times of a neuron, and the share of
equal descriptions. The first neuron of a chunk is described twice, and the first time is not measured.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from neurolocal.config import SummaryConfig
from neurolocal.llm import LLM, load_llm
from neurolocal.pipeline.workspace import Workspace
from neurolocal.summary import Description, describe
from neurolocal.summary.stage import best, neurons_of

CHUNK = 5
"""Neurons described in one way before the other way is used."""

IDLE = 0.05
"""Seconds below which a neuron was described without the LLM."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("llm", type=Path)
    parser.add_argument("--layers", type=int, nargs="+")
    parser.add_argument("--limit", type=int, default=10, help="neurons a layer")
    args = parser.parse_args()
    config = SummaryConfig(limit=args.limit)
    workspace = Workspace(args.store, sides=("largest",), bar=False)
    layers = workspace.store.require_layers(args.layers)
    neurons = [
        n
        for i in layers
        for n in neurons_of(workspace, i, "largest", best(workspace, i, "largest", config), notes=True)
    ]
    seconds: dict[bool, list[float]] = {True: [], False: []}
    asked = dict.fromkeys(seconds, 0)
    said: dict[bool, list[str]] = {True: [], False: []}
    with load_llm(args.llm, n_ctx=config.n_ctx) as llm:
        print(llm)
        for number, low in enumerate(range(0, len(neurons), CHUNK)):
            chunk = neurons[low : low + CHUNK]
            for shared in ((True, False), (False, True))[number % 2]:
                with counted(llm, shared=shared) as count:
                    stamps, tokens = list[float](), list[int]()

                    def done(
                        row: Description, stamps: list[float] = stamps, tokens: list[int] = tokens, n: list[int] = count
                    ) -> None:
                        stamps.append(time.monotonic())
                        tokens.append(n[0])

                    table = describe(
                        [chunk[0], *chunk], llm, vocabulary=workspace.store.vocabulary, config=config,
                        vectors=workspace.loaded_vectors, done=done,
                    )  # fmt: skip
                seconds[shared] += np.diff(stamps).tolist()
                asked[shared] += tokens[-1] - tokens[0]
                said[shared] += table.description[1:]
    for shared, name in ((True, "shared prefix"), (False, "no shared prefix")):
        total = sum(seconds[shared])
        print(f"{name}: {60 * len(neurons) / total:.1f} neurons a minute, {asked[shared] / total:,.0f} prompt tokens/s")
    busy = [i for i, s in enumerate(seconds[False]) if s > IDLE]
    ratio = np.median([seconds[False][i] / seconds[True][i] for i in busy])
    same = np.mean([a == b for a, b in zip(said[True], said[False], strict=True)])
    print(f"without it a neuron takes {ratio:.2f} times as long (median of {len(busy)} that the LLM is asked about)")
    print(f"the same description: {same:.0%} of {len(neurons)}")


@contextmanager
def counted(llm: LLM, *, shared: bool) -> Generator[list[int], None, None]:
    """Count the prompt tokens of every call; without sharing, evaluate the head again each time."""
    plain, count = llm.branch, [0]

    @contextmanager
    def branch(
        tokens: Sequence[int], head: int | None
    ) -> Generator[tuple[int, Float64[np.ndarray, "d_vocab"]], None, None]:
        before = [] if head is None else llm.heads[head].tokens
        count[0] += len(before) + len(tokens)
        if shared:
            with plain(tokens, head) as found:
                yield found
        else:
            with plain([*before, *tokens], None) as found:
                yield found

    llm.branch = branch  # type: ignore[method-assign]
    try:
        yield count
    finally:
        llm.branch = plain  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
