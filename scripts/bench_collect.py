"""What does collecting cost over the bare forward pass?

Bare is the decoder body alone: no unembedding, scaled-dot-product attention, same dtype and rows. The two run in turn,
batch by batch, in one process, since separate runs differ by 15 % from noise; where a batch runs the collection twice,
without and with sign cases, the three take turns. What happens outside a batch (tokenising, checkpoints, the final
write) is timed and added, as in a run of an hour; so is what the first batches cost more than those of the pairs, since
almost every row enters a list that is empty. Beside it, on some of the batches, loops as others write them:

- TransformerBridge's own forward pass, bare, and with a hook on every `hook_post` that keeps a top-20 row by row;
- one text at a time through the bridge, everything cached and moved to the host, the maximum of each neuron kept;
- one layer a pass, whole rows of activations kept and sorted afterwards (one pass timed, times the number of layers).

    python scripts/bench_collect.py                          rows of 256 and 1024, float32 and bfloat16, 30 pairs each
    python scripts/bench_collect.py --dtypes float32 --pairs 40 --row-lengths 256 --no-others
    python scripts/bench_collect.py --memory                 resident memory over a run, beside FORMAT.md's formula
    python scripts/bench_collect.py --experts olmoe          a random model with experts in a real model's shape

With experts bare is the fastest of transformers' own implementations, which are timed first; the ratio to its plain
loop over experts (`eager`) is printed beside it.
"""

from __future__ import annotations

import os

# As the command line does: libgomp's idle threads shall not spin for long. It is read when torch is loaded.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import argparse
import dataclasses
import itertools
import platform
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from neurolocal.collect import CHECKPOINT_SECONDS, Progress, resolved, start
from neurolocal.collect.loop import SHARE, take
from neurolocal.collect.workers import Workers
from neurolocal.config import CollectConfig
from neurolocal.corpus import Batch, RowStream, corpus_files
from neurolocal.pipeline.checkpoint import write_store
from neurolocal.pipeline.collect import Collection, collect_store
from neurolocal.pipeline.demo import sample_corpus
from neurolocal.subject import Subject, load_subject

K = 20
RUN = 3600.0
"""Seconds of the run among which is shared what happens once."""

OTHERS_EVERY = 6
"""The others' loops run on every so many batches: they are slow."""


def main() -> None:
    """Measure and print."""
    options = arguments()
    print(f"{cpu()}, {os.cpu_count()} cores, torch {torch.__version__}, {torch.get_num_threads()} threads")
    if options.memory:
        return memory(options)
    for dtype in options.dtypes:
        subject = load_subject(options.subject, dtype=dtype)
        if options.experts:
            subject = with_experts(options.experts, subject, dtype)
        bridge = None if options.no_others or options.experts else boot_bridge(options.subject, dtype)
        for row_length in options.row_lengths:
            measure(subject, bridge, row_length, dtype, options)
    return None


def measure(subject: Subject, bridge: Any, row_length: int, dtype: Any, options: argparse.Namespace) -> None:
    """One row length and dtype: pairs, what lies outside the batches, the others."""
    batch_size = max(1, options.batch_tokens // row_length)
    config = resolved(CollectConfig(row_length=row_length, dtype=dtype, batch_size=batch_size), subject)
    with_cases = dataclasses.replace(config, sign_cases=subject.gated)
    stream = RowStream(corpus_files(options.corpus), subject.encode_documents, subject.bos, subject.eos, config)
    batches = list(itertools.islice(stream.batches(), options.pairs + options.warm + 1))
    tokenising = tokenise(dataclasses.replace(stream), config)
    progress, cases = start(subject, config), start(subject, with_cases)
    times: dict[str, list[float]] = {"bare": [], "collect": [], "cases": []}
    others: dict[str, list[float]] = {name: [] for name in OTHERS}
    filling: dict[str, list[float]] = {"collect": [], "cases": []}
    with Workers(torch.get_num_threads()) as workers:
        for batch in batches[: options.warm + 1]:
            filling["collect"].append(timed(lambda b=batch: take(subject, b, progress, config=config, workers=workers)))
            if not options.no_cases:
                take_cases = partial(take, config=with_cases, workers=workers)
                filling["cases"].append(timed(partial(take_cases, subject, batch, cases)))
        forward(subject, batches[0])
        slower = fastest_experts(subject, batches[:4]) if subject.expert_layers else {}
        for name, ratio in slower.items():
            fastest = subject.model.config._experts_implementation
            print(f"\ntransformers' {name} takes {ratio:.2f} of the time of {fastest}")
        for i, batch in enumerate(batches[options.warm + 1 :]):
            runs: list[tuple[str, Callable[[], Any]]] = [
                ("bare", lambda batch=batch: forward(subject, batch)),
                ("collect", lambda batch=batch: take(subject, batch, progress, config=config, workers=workers)),
                ("cases", lambda batch=batch: take(subject, batch, cases, config=with_cases, workers=workers)),
            ][: 2 if options.no_cases else 3]
            turn = i % len(runs)
            for name, run in runs[turn:] + runs[:turn]:
                times[name].append(timed(run))
            if bridge is not None and i % OTHERS_EVERY == 1:
                for name, other in OTHERS.items():
                    others[name].append(timed(partial(other, bridge, subject, batch)) / times["bare"][-1])
    del cases
    outside = Outside(
        tokenising,
        *checkpoint(subject, progress, config, options),
        # The first batch compiles and touches fresh memory: it is left out.
        {name: sum(v[1:]) - len(v[1:]) * float(np.median(times[name])) for name, v in filling.items() if v},
    )
    report(config, {name: np.array(values) for name, values in times.items()}, others, outside, subject)


SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "olmoe": ("Olmoe", {"num_experts": 64, "num_experts_per_tok": 8, "intermediate_size": 1024}),
    "mixtral": ("Mixtral", {"num_local_experts": 8, "num_experts_per_tok": 2, "intermediate_size": 1792}),
}
"""Random models with experts: of OLMoE and Mixtral the experts, fewer layers, a smaller residual stream."""

WIDTH = {"hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 8}


def with_experts(shape: str, other: Subject, dtype: Any) -> Subject:
    """A random model of one of `SHAPES`, with another model's tokenizer."""
    import transformers

    kind, settings = SHAPES[shape]
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(vocab_size=other.d_vocab, **WIDTH, **settings)
    config.architectures = [f"{kind}ForCausalLM"]
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype)).eval()
    return Subject(model.requires_grad_(False), other.tokenizer, name=f"random {shape}")


def fastest_experts(subject: Subject, batches: list[Batch]) -> dict[str, float]:
    """Choose the fastest of transformers' implementations; the times of the others, as a multiple of its time."""
    config, took = subject.model.config, dict[str, list[float]]()
    for batch in batches:
        for name in ("eager", "grouped_mm"):
            config._experts_implementation = name
            took.setdefault(name, []).append(timed(partial(forward, subject, batch)))
    median = {name: float(np.median(times[1:])) for name, times in took.items()}
    config._experts_implementation = min(median, key=lambda name: median[name])
    best = median[config._experts_implementation]
    return {name: time / best for name, time in median.items() if time != best}


class Outside(NamedTuple):
    """What a run takes outside the batches of the pairs, in seconds."""

    tokenising: float
    """A batch."""
    writing: float
    """A checkpoint, and the final write."""
    size: int
    """Bytes of the store."""
    filling: dict[str, float]
    """What the batches took more while the lists were filling."""


def tokenise(stream: RowStream, config: CollectConfig) -> float:
    """Seconds that making a batch takes from the model: of processor time, shared among the cores that both use."""
    n = max(1, 200_000 // (config.row_length * config.batch_size))
    began = time.process_time()
    made = len(list(itertools.islice(stream.batches(), n)))
    return (time.process_time() - began) / made / torch.get_num_threads()


def report(
    config: CollectConfig, times: dict[str, NDArray[Any]], others: dict[str, list[float]], outside: Outside,
    subject: Subject,
) -> None:  # fmt: skip
    """Print one row length and dtype."""
    bare, writing = times["bare"], outside.writing
    tokens = config.row_length * config.batch_size
    checkpoints = writing / max(CHECKPOINT_SECONDS, SHARE * writing)
    tokenising = outside.tokenising / bare.mean()
    print(f"\nrows of {config.row_length}, {config.dtype}, {config.batch_size} rows a batch, {len(bare)} pairs")
    print(f"  bare forward                   {tokens / np.median(bare):8,.0f} tokens/s")
    print(f"  outside the batches: tokenising {tokenising:.2%}, checkpoints {checkpoints:.2%}, ", end="")
    print(f"final write {writing / RUN:.2%} ({writing:.1f} s, {outside.size / 2**20:,.0f} MiB)")
    for name, said in (("collect", "collection"), ("cases", "with sign cases")):
        if not len(times[name]):
            continue
        cost, filling = times[name] / bare, max(0.0, outside.filling[name]) / RUN
        print(f"  {said + ', in the batch':<30} {said_ratio(1 / cost)}")
        whole = cost + tokenising + checkpoints + writing / RUN + filling
        print(f"  {'WHOLE ' + said.upper():<30} {said_ratio(1 / whole)}  filling the lists {filling:.2%}")
    for name, costs in others.items():
        if costs:
            scale = subject.n_layers if name == ONE_LAYER else 1
            print(f"  {name:<30} {1 / (scale * np.median(costs)):8.3f} of bare  ({len(costs)} pairs)", flush=True)


def said_ratio(ratios: NDArray[Any], *, draws: int = 2000) -> str:
    """The median with its 95 % bootstrap interval."""
    medians = np.median(np.random.default_rng(0).choice(ratios, (draws, len(ratios))), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return f"{np.median(ratios):8.3f} of bare  (95 % {low:.3f} to {high:.3f})"


@torch.inference_mode()
def forward(subject: Subject, batch: Batch) -> None:
    """The decoder body alone."""
    subject.body(input_ids=torch.from_numpy(batch.tokens).to(subject.device), use_cache=False)


def timed(run: Callable[[], Any]) -> float:
    """Seconds of a call."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def checkpoint(
    subject: Subject, progress: Progress, config: CollectConfig, options: argparse.Namespace
) -> tuple[float, int]:
    """Seconds and bytes of one checkpoint, snapshot and flush included."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        job = Collection(subject, options.corpus, Path(folder) / "store.h5", config)
        files = corpus_files(options.corpus)
        began = time.perf_counter()
        progress.prune()
        write_store(job, files, {}, progress.contents(), complete=False, bar=False)
        return time.perf_counter() - began, job.store.stat().st_size


def boot_bridge(spec: str, dtype: Any) -> Any:
    """A TransformerBridge on a copy of its own: booting one changes the model."""
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

    copy = load_subject(spec, dtype=dtype)
    architecture = copy.facts()["architecture"]
    return build_bridge_from_module(
        copy.model, architecture, hf_config=copy.model.config, tokenizer=copy.tokenizer, dtype=getattr(torch, dtype)
    )


@torch.inference_mode()
def bridge_bare(bridge: Any, subject: Subject, batch: Batch) -> None:
    """The bridge's forward pass; it unembeds whatever is asked for."""
    bridge(torch.from_numpy(batch.tokens), return_type=None)


@torch.inference_mode()
def bridge_hooked(bridge: Any, subject: Subject, batch: Batch) -> None:
    """The usual loop: a hook a layer, a running top-20 of each neuron's maximum, row by row."""
    best = {i: torch.full((K, d), -torch.inf) for i, d in enumerate(subject.d_mlp)}

    def keep(activations: torch.Tensor, layer: int) -> None:
        for row in activations:
            most = row[1:].float().amax(0)
            best[layer] = torch.cat([best[layer], most[None]]).topk(K, dim=0).values

    hooks = [(name, lambda x, hook, i=i: keep(x, i)) for i, name in enumerate(hook_names(subject))]
    bridge.run_with_hooks(torch.from_numpy(batch.tokens), return_type=None, fwd_hooks=hooks)


@torch.inference_mode()
def one_text_at_a_time(bridge: Any, subject: Subject, batch: Batch) -> None:
    """Each row by itself, everything cached, the layers' activations moved to the host as numpy arrays."""
    best = {
        name: np.full((K, d), -np.inf, np.float32) for name, d in zip(hook_names(subject), subject.d_mlp, strict=True)
    }
    for row in batch.tokens:
        _, cache = bridge.run_with_cache(torch.from_numpy(row)[None])
        for name in best:
            most = cache[name][0, 1:].float().cpu().numpy().max(axis=0)
            best[name] = np.sort(np.concatenate([best[name], most[None]]), axis=0)[1:]


def one_layer_a_pass(bridge: Any, subject: Subject, batch: Batch) -> None:
    """A whole pass of the model for one layer, whose rows of activations are all kept, and sorted afterwards."""
    kept: list[torch.Tensor] = []
    hook = (hook_names(subject)[subject.n_layers // 2], lambda x, hook: kept.append(x.float().cpu()))
    with torch.inference_mode():
        bridge.run_with_hooks(torch.from_numpy(batch.tokens), return_type=None, fwd_hooks=[hook])
    rows = torch.cat(kept)
    rows[:, 1:].amax(dim=1).topk(min(K, len(rows)), dim=0)


def hook_names(subject: Subject) -> list[str]:
    """TransformerLens's names of the place that is read."""
    return [f"blocks.{i}.mlp.hook_post" for i in range(subject.n_layers)]


ONE_LAYER = "one layer a pass"
OTHERS: dict[str, Callable[[Any, Subject, Batch], None]] = {
    "bridge, no hooks": bridge_bare,
    "bridge, row-by-row top-20": bridge_hooked,
    "one text at a time, cached": one_text_at_a_time,
    ONE_LAYER: one_layer_a_pass,
}


def memory(options: argparse.Namespace) -> None:
    """Resident memory at 10 % and at the end of a run, beside what FORMAT.md's formula says."""
    # The compiler belongs to what Python and its packages take.
    import neurolocal.collect.kernels  # noqa: F401  # pyright: ignore[reportUnusedImport]
    from neurolocal.collect.memory import expected_bytes

    config = CollectConfig(
        row_length=options.row_lengths[0], dtype=options.dtypes[0], max_rows=options.rows, sample=1024,
        batch_size=max(1, options.batch_tokens // options.row_lengths[0]),
    )  # fmt: skip
    subject = load_subject(options.subject, dtype=config.dtype)
    weights = sum(p.numel() * p.element_size() for p in subject.model.parameters())
    forward(subject, short_batch(subject, config))  # what a first pass loads and sets up
    before = resident() - weights
    seen: list[int] = []

    def look() -> bool:
        seen.append(resident())
        return False

    with tempfile.TemporaryDirectory(dir=".") as folder:
        job = Collection(subject, options.corpus, Path(folder) / "store.h5", config)
        collect_store(job, say=print, stop=look)
    early, late, peak = seen[len(seen) // 10], seen[-1], max(*seen, high_water())
    expected = before + expected_bytes(
        subject.d_mlp, resolved(config, subject), weights=weights, d_vocab=subject.d_vocab,
        d_model=subject.model.config.get_text_config().hidden_size,
    )  # fmt: skip
    mib = [f"{n / 2**20:,.0f}" for n in (before, early, late, peak, expected)]
    print(
        f"MiB: Python and packages {mib[0]}; at 10 % {mib[1]}, at the end {mib[2]} ({late / early - 1:+.1%}); ", end=""
    )
    print(f"peak {mib[3]}, expected {mib[4]} ({peak / expected - 1:+.1%})")


def short_batch(subject: Subject, config: CollectConfig) -> Batch:
    """One short row."""
    stream = RowStream(
        corpus_files(sample_corpus()), subject.encode_documents, subject.bos, subject.eos,
        dataclasses.replace(config, row_length=16, batch_size=1, max_rows=1),
    )  # fmt: skip
    return next(stream.batches())


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def high_water() -> int:
    """The most that there ever were."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def cpu() -> str:
    """The processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="What does collecting cost over the bare forward pass?")
    parser.add_argument("--subject", default="smollm2")
    parser.add_argument("--experts", choices=sorted(SHAPES), help="a random model with experts instead")
    parser.add_argument("--corpus", type=Path, default=sample_corpus())
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float32"])
    parser.add_argument("--row-lengths", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--warm", type=int, default=24, help="batches before the pairs, which fill the lists")
    parser.add_argument("--batch-tokens", type=int, default=2048, help="tokens a batch (default 2048)")
    parser.add_argument("--no-others", action="store_true", help="only our collection and the bare pass")
    parser.add_argument("--no-cases", action="store_true", help="without the series with sign cases")
    parser.add_argument("--memory", action="store_true", help="measure memory instead")
    parser.add_argument("--rows", type=int, default=400, help="rows of the run that measures memory")
    return parser.parse_args()


if __name__ == "__main__":
    main()
