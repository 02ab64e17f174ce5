"""What does collecting cost over the bare forward pass?

Bare is the decoder body alone: no unembedding, scaled-dot-product attention, same dtype and rows. The two run in turn,
batch by batch, in one process, since separate runs differ by 15 % from noise. What happens outside a batch (tokenising,
a checkpoint) is timed once and added, a checkpoint every 300 s of forward pass as in a real run. Lists begin empty, so
the first batches, in which almost every row enters, are in the figure. Beside it, on some of the batches: the
TransformerBridge's own forward pass, bare and with a hook on every `hook_post` that keeps a running top-20 row by row.

    python scripts/bench_collect.py                          rows of 256 and 1024, bfloat16, 30 pairs each
    python scripts/bench_collect.py --dtype float32 --pairs 40 --row-lengths 256
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import platform
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neurolocal.collect import CHECKPOINT_SECONDS, Progress, start
from neurolocal.collect.loop import keep_rows, take
from neurolocal.config import CollectConfig
from neurolocal.corpus import Batch, RowStream, corpus_files
from neurolocal.demo import sample_corpus
from neurolocal.store import Collected, write_collected
from neurolocal.subject import Subject, load_subject

K = 20


def main() -> None:
    """Measure and print."""
    options = arguments()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    subject = load_subject(options.subject, dtype=options.dtype)
    bridge = None if options.no_bridge else boot_bridge(options.subject, options.dtype)
    for row_length in options.row_lengths:
        measure(subject, bridge, row_length, options)


def measure(subject: Subject, bridge: Any, row_length: int, options: argparse.Namespace) -> None:
    """One row length: pairs, what lies outside the batches, the bridge."""
    config = CollectConfig(
        row_length=row_length, dtype=options.dtype, batch_size=max(1, options.batch_tokens // row_length)
    )
    stream = RowStream(corpus_files(options.corpus), subject.encode_documents, subject.bos, subject.eos, config)
    began = time.process_time()
    batches = list(itertools.islice(stream.batches(), options.pairs + 1))
    tokenising = (time.process_time() - began) / len(batches)
    progress = start(subject, config)
    bare, ours, hooked, unhooked = [], [], [], []
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        take(subject, batches[0], progress, config=config, pool=pool)  # compiles the kernels, warms both
        timed(lambda: forward(subject, batches[0]))
        for i, batch in enumerate(batches[1:]):
            pair = [
                lambda batch=batch: ours.append(
                    timed(lambda: take(subject, batch, progress, config=config, pool=pool))
                ),
                lambda batch=batch: bare.append(timed(lambda: forward(subject, batch))),
            ]
            for run in pair if i % 2 else reversed(pair):
                run()
            if bridge is not None and i % 6 == 0:
                unhooked.append((timed(lambda batch=batch: bridge_bare(bridge, batch)), bare[-1]))
                hooked.append((timed(lambda batch=batch: bridge_hooked(bridge, batch, subject)), bare[-1]))
    writing, size = checkpoint(subject, progress, batches, config)
    report(row_length, config, np.array(bare), np.array(ours), tokenising, writing, size, unhooked, hooked)


def report(
    row_length: int, config: CollectConfig, bare: np.ndarray, ours: np.ndarray, tokenising: float, writing: float,
    size: int, unhooked: list[tuple[float, float]], hooked: list[tuple[float, float]],
) -> None:  # fmt: skip
    """Print one row length."""
    cost = ours / bare
    outside = tokenising / bare.mean() + writing / CHECKPOINT_SECONDS
    tokens = row_length * config.batch_size
    print(f"\nrows of {row_length}, {config.dtype}, {config.batch_size} rows a batch, {len(bare)} pairs")
    print(f"  bare forward              {tokens / np.median(bare):8,.0f} tokens/s")
    low, high = interval(1 / cost)
    print(f"  collection in the batch   {np.median(1 / cost):8.3f} of bare  (95 % {low:.3f} to {high:.3f})")
    third = len(cost) // 3
    first, last = np.median(1 / cost[:third]), np.median(1 / cost[-third:])
    print(f"    first third / last      {first:8.3f} / {last:.3f}  (lists begin empty)")
    print(f"  tokenising                {tokenising / bare.mean():8.3%} of the forward pass")
    print(f"  a checkpoint              {writing:8.2f} s, {size / 2**20:,.0f} MiB: {writing / CHECKPOINT_SECONDS:.3%}")
    low, high = interval(1 / (cost + outside))
    print(f"  WHOLE COLLECTION          {np.median(1 / (cost + outside)):8.3f} of bare  (95 % {low:.3f} to {high:.3f})")
    for name, pairs in (("bridge, no hooks", unhooked), ("bridge, row-by-row top-20", hooked)):
        if pairs:
            print(f"  {name:<25} {np.median([b / t for t, b in pairs]):8.3f} of bare  ({len(pairs)} pairs)")


def interval(ratios: np.ndarray, *, draws: int = 2000) -> tuple[float, float]:
    """95 % bootstrap interval of the median."""
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(ratios, (draws, len(ratios))), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return float(low), float(high)


@torch.inference_mode()
def forward(subject: Subject, batch: Batch) -> None:
    """The decoder body alone."""
    subject.body(input_ids=torch.from_numpy(batch.tokens).to(subject.device), use_cache=False)
    if subject.device.type == "cuda":
        torch.cuda.synchronize()


def timed(run: Any) -> float:
    """Seconds of a call."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def checkpoint(subject: Subject, progress: Progress, batches: list[Batch], config: CollectConfig) -> tuple[float, int]:
    """Seconds and bytes of one checkpoint, snapshot and flush included."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        path = Path(folder) / "store.h5"
        began = time.perf_counter()
        snapshots = {layer: state.snapshot() for layer, state in progress.layers.items()}
        keep_rows(progress, batches, snapshots)
        manifest = {"subject": subject.facts(), "config": dataclasses.asdict(config)}
        write_collected(
            path,
            Collected(
                manifest=manifest,
                site=config.site,
                lists={layer: s.lists for layer, s in snapshots.items()},
                statistics={layer: s.statistics for layer, s in snapshots.items()},
                tokens=progress.tokens,
                length=progress.length,
                index=progress.index,
                token_count=progress.token_count,
                vocabulary=subject.vocabulary,
            ),
        )
        return time.perf_counter() - began, path.stat().st_size


def boot_bridge(spec: str, dtype: Any) -> Any:
    """A TransformerBridge on a copy of its own: booting one changes the model."""
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

    copy = load_subject(spec, dtype=dtype)
    architecture = copy.facts()["architecture"]
    return build_bridge_from_module(
        copy.model, architecture, hf_config=copy.model.config, tokenizer=copy.tokenizer, dtype=getattr(torch, dtype)
    )


@torch.inference_mode()
def bridge_bare(bridge: Any, batch: Batch) -> None:
    """The bridge's forward pass; it unembeds whatever is asked for."""
    bridge(torch.from_numpy(batch.tokens), return_type=None)


@torch.inference_mode()
def bridge_hooked(bridge: Any, batch: Batch, subject: Subject) -> None:
    """The usual loop: a hook a layer, a running top-20 of each neuron's maximum, row by row."""
    best = {i: torch.full((K, d), -torch.inf) for i, d in enumerate(subject.d_mlp)}

    def keep(activations: torch.Tensor, hook: Any, layer: int) -> None:
        for row in activations:
            most = row[1:].float().amax(0)
            best[layer] = torch.cat([best[layer], most[None]]).topk(K, dim=0).values

    hooks = [
        (f"blocks.{i}.mlp.hook_post", lambda activations, hook, i=i: keep(activations, hook, i))
        for i in range(subject.n_layers)
    ]
    bridge.run_with_hooks(torch.from_numpy(batch.tokens), return_type=None, fwd_hooks=hooks)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="What does collecting cost over the bare forward pass?")
    parser.add_argument("--subject", default="smollm2")
    parser.add_argument("--corpus", type=Path, default=sample_corpus())
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--row-lengths", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--batch-tokens", type=int, default=2048, help="tokens a batch (default 2048)")
    parser.add_argument("--no-bridge", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
