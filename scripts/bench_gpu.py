"""What does collecting cost over the bare forward pass on a GPU? Random weights in the shapes of real models.

Needs torch, transformers, h5py and this package alone, no model and no corpus: weights and tokens are drawn. The bare
decoder body and the collection take turns, batch by batch, on the same rows, each between two synchronisations; lists
begin empty. Everything stays on the device between checkpoints; what a checkpoint costs is timed beside it.

    python scripts/bench_gpu.py                                  all shapes, rows of 256 and 1024, bfloat16
    python scripts/bench_gpu.py --shapes pythia-1.4b --pairs 60 --batch-tokens 65536
    python scripts/bench_gpu.py --perturb                        instead: substitutes packed, and one call each
    python scripts/bench_gpu.py --device cpu --shapes tiny       a try without a GPU: says nothing about speed
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

if importlib.util.find_spec("jaxtyping") is None:  # shapes in annotations, which nothing here evaluates

    class _Shape:
        def __class_getitem__(cls, item: Any) -> Any:
            return Any

    stand_in = types.ModuleType("jaxtyping")
    stand_in.__dict__.update(
        dict.fromkeys(
            ["Bool", "Float", "Float32", "Float64", "Int", "Int32", "Int64", "Integer", "Shaped", "UInt8", "UInt64"],
            _Shape,
        )
    )
    sys.modules["jaxtyping"] = stand_in

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from neurolocal.collect import CHECKPOINT_SECONDS, Progress, resolved, start
from neurolocal.collect.device import DeviceState
from neurolocal.collect.loop import SHARE, take
from neurolocal.collect.workers import Workers
from neurolocal.config import CollectConfig
from neurolocal.corpus import Batch, Cursor
from neurolocal.provenance import Parts
from neurolocal.store import StoreContent, StoredRows, write_collected
from neurolocal.subject.model import Subject
from neurolocal.subject.sites import ModulePaths
from neurolocal.subject.tokenizers import Tokenizer

SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "smollm2-135m": ("Llama", {
        "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
        "num_key_value_heads": 3, "vocab_size": 49152, "max_position_embeddings": 2048,
    }),
    "gpt2-small": ("GPT2", {"n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024, "vocab_size": 50257}),
    "solu-8l": ("GPT2", {
        "n_embd": 1024, "n_layer": 8, "n_head": 16, "n_positions": 1024, "vocab_size": 48262,
        "activation_function": "solu",
    }),
    "pythia-1.4b": ("GPTNeoX", {
        "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24, "num_attention_heads": 16,
        "vocab_size": 50304, "max_position_embeddings": 2048, "rotary_pct": 0.25,
    }),
    "llama-8b": ("Llama", {
        "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 8192,
    }),
    "tiny": ("Llama", {
        "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 1000, "max_position_embeddings": 2048,
    }),
}  # fmt: skip
"""Kind and settings of each model's Hugging Face config. solu-8l is a GPT-2 body whose activation is SoLU."""

PATHS = {
    "Llama": ("model.layers.{}.mlp.down_proj", "model.layers.{}.mlp.up_proj", "model.layers.{}.mlp.gate_proj"),
    "GPT2": ("transformer.h.{}.mlp.c_proj", "transformer.h.{}.mlp.c_fc", ""),
    "GPTNeoX": ("gpt_neox.layers.{}.mlp.dense_4h_to_h", "gpt_neox.layers.{}.mlp.dense_h_to_4h", ""),
}
"""Out, in and gate projection of a layer."""


def main() -> None:
    """Measure and print."""
    options = arguments()
    device = torch.device(options.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    print(f"{name}, torch {torch.__version__}, transformers {transformers.__version__}")
    for shape in options.shapes:
        subject = random_subject(shape, getattr(torch, options.dtype), device)
        for row_length in options.row_lengths:
            if options.perturb:
                perturb(subject, shape, row_length, options)
                continue
            measure(subject, shape, row_length, options)
        del subject
        if device.type == "cuda":
            torch.cuda.empty_cache()


def random_subject(shape: str, dtype: torch.dtype, device: torch.device) -> Subject:
    """A model with random weights, at a given size."""
    kind, settings = SHAPES[shape]
    if settings.get("activation_function") == "solu":
        from transformers.activations import ACT2FN

        ACT2FN["solu"] = SoLU
    config = getattr(transformers, f"{kind}Config")(**settings)
    torch.manual_seed(0)
    with torch.device(device):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype).eval().requires_grad_(False)
    n = config.num_hidden_layers
    out, in_, gate = ([path.format(i) for i in range(n)] for path in PATHS[kind])
    paths = ModulePaths(out, in_, gate, [""] * n, "", "")
    return Subject(model, Tokenizer.numbered(config.vocab_size), name=shape, paths=paths)


class SoLU(torch.nn.Module):
    """x * softmax(x) over the neurons (Elhage et al. 2022)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The activation."""
        return x * x.softmax(dim=-1)


def measure(subject: Subject, shape: str, row_length: int, options: argparse.Namespace) -> None:
    """One shape and row length: pairs of each way, and a checkpoint."""
    batch_size = max(1, options.batch_tokens // row_length)
    base = CollectConfig(row_length=row_length, dtype=options.dtype, batch_size=batch_size, logits=0)
    config = resolved(base, subject)
    ways: dict[str, tuple[CollectConfig, Progress]] = {"collection": (config, empty(subject, config, options))}
    if subject.gated:
        cases = dataclasses.replace(config, sign_cases=True)
        ways["with sign cases"] = (cases, empty(subject, cases, options))
    rng = np.random.default_rng(0)
    times: dict[str, list[float]] = {name: [] for name in ("bare", *ways)}
    calls: dict[str, str] = {}
    with Workers(1) as workers:
        for i in range(options.pairs + 3):
            batch = random_batch(rng, i, batch_size, row_length, subject.d_vocab)
            runs: list[tuple[str, Callable[[], Any]]] = [("bare", lambda batch=batch: forward(subject, batch))]
            for name, (chosen, progress) in ways.items():
                runs.append(
                    (name, lambda c=chosen, p=progress, b=batch: take(subject, b, p, config=c, workers=workers))
                )
            turn = i % len(runs)
            for name, run in runs[turn:] + runs[:turn]:
                times[name].append(timed(run, subject.device))
        if subject.device.type == "cuda":
            batch = random_batch(rng, options.pairs + 3, batch_size, row_length, subject.d_vocab)
            calls["bare"] = calls_of(lambda: forward(subject, batch))
            for name, (chosen, progress) in ways.items():
                calls[name] = calls_of(lambda c=chosen, p=progress: take(subject, batch, p, config=c, workers=workers))
    waited, seconds, size = checkpoint(subject, ways["collection"][1], config)
    bare = np.array(times["bare"][3:])
    share = waited / max(CHECKPOINT_SECONDS, SHARE * waited)
    print(f"\n{shape}, rows of {row_length}, {options.dtype}, {batch_size} rows a batch, {len(bare)} pairs")
    rate = batch_size * row_length / np.median(bare)
    print(f"  bare forward              {rate:10,.0f} tokens/s")
    for name in ways:
        cost = np.array(times[name][3:]) / bare
        print(f"  {name:<25} {said(1 / cost)}")
        if name == "collection":
            print(f"  {'with checkpoints':<25} {said(1 / (cost + share))}")
            hours = 1e8 / (rate * np.median(1 / (cost + share))) / 3600
            print(f"  100 million tokens        {hours:10.2f} h")
    print(f"  a checkpoint              {seconds:10.2f} s, {size / 2**20:,.0f} MiB")
    print(f"  the pass waits for it     {waited:10.2f} s, {share:.2%} of the time")
    for name, found in calls.items():
        print(f"  a batch, {name:<16} {found}")
    if subject.device.type == "cuda":
        print(f"  most memory on the device {torch.cuda.max_memory_allocated(subject.device) / 2**30:10.2f} GiB")


def empty(subject: Subject, config: CollectConfig, options: argparse.Namespace) -> Progress:
    """An empty collection; on a CPU, and with `--plain`, its states are those of a device without Triton."""
    progress = start(subject, config)
    if options.plain or subject.device.type == "cpu":
        for (site, layer), d in zip(progress.states, subject.d_mlp, strict=True):
            state = DeviceState(d, config, cases=config.sign_cases, device=subject.device)
            progress.states[site, layer] = state
    return progress


def random_batch(rng: np.random.Generator, number: int, batch_size: int, row_length: int, d_vocab: int) -> Batch:
    """Rows of random tokens."""
    rows = np.arange(number * batch_size, (number + 1) * batch_size)
    tokens = rng.integers(0, d_vocab, (batch_size, row_length))
    parts = Parts.of(range(1, batch_size + 1), [(0, 0, int(row), 0, "") for row in rows])
    return Batch(number, tokens, np.full(batch_size, row_length), rows, parts, Cursor())


@torch.inference_mode()
def forward(subject: Subject, batch: Batch) -> None:
    """The decoder body alone."""
    subject.body(input_ids=torch.from_numpy(batch.tokens).to(subject.device), use_cache=False)


def timed(run: Callable[[], Any], device: torch.device) -> float:
    """Seconds of a call, between two synchronisations."""
    wait = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    wait()
    began = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - began


CALLS = {
    "launches": ("cudaLaunchKernel", "cuLaunchKernel", "cuLaunchKernelEx", "cudaLaunchKernelExC"),
    "synchronisations": ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize"),
    "copies to the device": ("Memcpy HtoD (Pageable -> Device)", "Memcpy HtoD (Pinned -> Device)"),
    "copies to the host": ("Memcpy DtoH (Device -> Pageable)", "Memcpy DtoH (Device -> Pinned)"),
}
"""What the profiler counts of a batch, and by which names."""


def calls_of(run: Callable[[], Any]) -> str:
    """What one batch asks of the device, counted by the profiler."""
    from torch.profiler import ProfilerActivity, profile

    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
        run()
    counts = {event.key: event.count for event in found.key_averages()}
    return ", ".join(f"{sum(counts.get(key, 0) for key in keys)} {what}" for what, keys in CALLS.items())


def checkpoint(subject: Subject, progress: Progress, config: CollectConfig) -> tuple[float, float, int]:
    """One checkpoint: seconds that the pass waits, seconds in all, bytes of the flushed file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.h5"
        began = time.perf_counter()
        progress.prune()
        contents = progress.frozen()
        if subject.device.type == "cuda":
            torch.cuda.synchronize()
        copied = time.perf_counter() - began
        kept = progress.kept
        write_collected(
            path,
            StoreContent(
                manifest={"config": dataclasses.asdict(config), "complete": False},
                layers=(contents or progress.contents()).records(),
                sample=progress.sampler.snapshot(),
                rows=lambda: StoredRows(kept.tokens, kept.length, kept.index, kept.parts.columns()),
                token_count=progress.token_count,
                vocabulary=subject.vocabulary,
            ),
        )
        seconds = time.perf_counter() - began
        return seconds if contents is None else copied, seconds, path.stat().st_size


def said(ratios: NDArray[Any], *, draws: int = 2000) -> str:
    """The median with its 95 % bootstrap interval."""
    medians = np.median(np.random.default_rng(0).choice(ratios, (draws, len(ratios))), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return f"{np.median(ratios):10.3f} of bare  (95 % {low:.3f} to {high:.3f})"


def perturb(subject: Subject, shape: str, row_length: int, options: argparse.Namespace) -> None:
    """Substitutes of one example and of many, packed, against one call a substitute and plain batches."""
    sys.path.insert(0, str(Path(__file__).parent))
    from perturb_ways import few_examples, one_place, whole_layer

    from neurolocal.subject.packed import Packed

    n, rounds = subject.n_layers, max(1, options.pairs // 6)
    settings = argparse.Namespace(
        substitutes=10, rounds=rounds, sharing=26, sample=8, layers=sorted({n // 4, n // 2, n - 1}),
        prefixes=[row_length // 4, row_length * 7 // 8],
    )  # fmt: skip
    for budget in options.budgets:
        rng, packed = np.random.default_rng(0), Packed(subject, budget=budget)
        rows = rng.integers(0, subject.d_vocab, (rounds + 1, row_length))
        print(f"\n{shape}, rows of {row_length}, {options.dtype}, at most {packed.budget} branch tokens a pass")
        one_place(packed, rows, rng, settings)
        whole_layer(packed, rows, rng, settings)
        few_examples(packed, rows, rng, settings)
        if not packed.packs:
            print("  this model cannot run side by side: plain batches were used")
    if subject.device.type == "cuda":
        print(f"  most memory on the device {torch.cuda.max_memory_allocated(subject.device) / 2**30:10.2f} GiB")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="What does collecting cost over the bare forward pass on a GPU?")
    parser.add_argument("--perturb", action="store_true", help="substitutes instead of collection")
    parser.add_argument("--budgets", type=int, nargs="+", default=[256, 1024, 4096], help="of --perturb")
    parser.add_argument("--device", default="cuda")
    parser.add_argument(
        "--shapes", nargs="+", default=[name for name in SHAPES if name != "tiny"], choices=list(SHAPES)
    )
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--row-lengths", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--batch-tokens", type=int, default=32768, help="tokens a batch (default 32768)")
    parser.add_argument("--plain", action="store_true", help="without Triton: the state of other devices")
    return parser.parse_args()


if __name__ == "__main__":
    main()
