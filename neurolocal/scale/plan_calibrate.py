"""Measures this machine: what `plan` computes with.

Every figure is measured on what the collection itself runs: random models of one and of `BLOCKS + 1` blocks of the
subject's shape, the compiled kernels, HDF5, and a process that imports what a collection imports.
Invariant: nothing is left on the disk. Cost: `REPEATS` runs or `BUDGET` seconds a measurement; memory for both models.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from neurolocal.config import CollectConfig
from neurolocal.errors import NeurolocalError
from neurolocal.machine import cores, total_bytes
from neurolocal.scale.plan_constants import BlockRates, Constants
from neurolocal.scale.plan_shards import SETTINGS
from neurolocal.scale.plan_terms import entries, mean_span
from neurolocal.stage import Say
from neurolocal.store.measure import disk_rates
from neurolocal.subject.shape import Shape
from neurolocal.subject.tokenizers import Tokenizer

REPEATS = 12
"""Runs of which the median counts."""

BUDGET = 6.0
"""Seconds after which a measurement ends, once it has three runs."""

BLOCKS = 3
"""Blocks by which two random models differ, whose time is that of the blocks."""

FILLING = 60
"""Batches of random activations that a state takes in."""

WIDEST = 16_384
"""Neurons of a layer whose kernels are timed, at most."""

TEXTS = 200
"""Documents of the sample corpus that are tokenised."""

FEED = 0.9
"""Share of the feed's time that is the tokenizer's library: 273,835 tokens/s a core, beside 2.4 to 2.8 million of the
feed's Python (corpus/README.md)."""

Clock = Literal["wall", "cpu"]


class Watch(NamedTuple):
    """How time is taken."""

    clock: Clock
    where: torch.device

    def now(self) -> float:
        """Seconds, when the device has done what it was given."""
        if self.where.type == "cuda":
            torch.cuda.synchronize(self.where)
        return time.perf_counter() if self.clock == "wall" else time.process_time() / cores()

    def timed(self, run: Callable[[], Any]) -> float:
        """Median seconds of a call, after one that does not count."""
        times, began = list[float](), time.monotonic()
        for _ in range(REPEATS + 1):
            at = self.now()
            run()
            times.append(self.now() - at)
            if len(times) > 3 and time.monotonic() - began > BUDGET:
                break
        return float(np.median(times[1:]))


def calibrate(
    shape: Shape, config: CollectConfig, *, say: Say, device: str | None = None, tokenizer: Tokenizer | None = None,
    clock: Clock = "wall",
) -> Constants:  # fmt: skip
    """Measure this machine for a subject and settings.

    Args:
        shape: of the subject.
        config: dtype, batch and lists that count.
        say: receives a line a measurement.
        device: torch's; None is the GPU where there is one.
        tokenizer: the subject's own; None measures a small one of the same kind as most.
        clock: `cpu` counts processor time over the cores, where other programs take the machine.
    """
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    watch = Watch(clock, where)
    say(f"plan: measuring {_name(where)}; other work on it makes every figure worse")
    rates = _forward(shape, config, watch)
    say(f"plan: matrices {rates['matmul'] / 1e9:,.1f} GFLOP/s, attention {rates['attention'] / 1e9:,.1f}, "
        f"in {config.dtype}")  # fmt: skip
    rates |= _kernel(shape, config, watch)
    say(f"plan: {1e9 * rates['kernel']:.2f} ns an activation, {1e6 * rates['insert']:.2f} us an example that enters")
    rates |= {"effects": _effects(shape, watch), "tokenizer": _tokenizer(tokenizer, shape.d_vocab)}
    whose = "its own tokenizer" if tokenizer else "a small tokenizer"
    say(f"plan: {rates['tokenizer']:,.0f} tokens/s of text on one core ({whose})")
    write, read = disk_rates(Path(tempfile.gettempdir()))
    say(f"plan: a store is written at {write / 1e6:,.0f} MB/s, and read at {read / 1e6:,.0f}")
    merge = _merging(shape, config, clock)
    say(f"plan: shards are merged at {merge / 1e6:,.0f} MB/s of what is read")
    seconds, base = _start(clock, config.dtype)
    say(f"plan: {seconds:.1f} s to start, {base / 2**20:,.0f} MiB before a model is loaded")
    layer = shape.layers[-1]
    block = BlockRates(
        d_model=shape.d_model,
        d_mlp=layer.d_mlp,
        weights=round(layer.multiplications),
        dtype=config.dtype,
        rows=config.batch_size,
        row_length=config.row_length,
        **rates,
    )
    return Constants(
        device=_name(where),
        source="measured",
        clock=clock,
        gpu=where.type != "cpu",
        cores=cores(),
        memory=_memory(where),
        blocks=(block,),
        write=write,
        read=read,
        merge=merge,
        start_seconds=seconds,
        base=base,
        llm=rates["matmul"],
    )


def merged(old: Constants, new: Constants) -> Constants:
    """New constants of the same machine, with the kinds of blocks that only the old ones have."""
    key = dataclasses.astuple
    there = {key(one)[:6] for one in new.blocks}
    blocks = (*new.blocks, *(one for one in old.blocks if key(one)[:6] not in there))
    return dataclasses.replace(new, blocks=blocks)


def _name(where: torch.device) -> str:
    if where.type == "cuda":
        return torch.cuda.get_device_name(where)
    return f"{platform.processor() or platform.machine()}, {cores()} cores"


def _memory(where: torch.device) -> float:
    if where.type == "cuda":
        return float(torch.cuda.get_device_properties(where).total_memory)
    return float(total_bytes() or 1 << 34)


def _forward(shape: Shape, config: CollectConfig, watch: Watch) -> dict[str, float]:
    """One block of the subject's shape with random weights, in the batches of the config.

    The block is timed whole; its matrices and its attention are timed alone, and what is left is `elementwise`.
    """
    dtype, tokens, where = getattr(torch, config.dtype), config.batch_size * config.row_length, watch.where
    layer = shape.layers[-1]
    with torch.inference_mode():
        one, more = (watch.timed(_pass(shape, config, n, where)) for n in (1, BLOCKS + 1))
        block = max(1e-9, (more - one) / BLOCKS)
        matrices = 0.0
        for product in layer.products:
            x = torch.randn(max(1, round(tokens * product.uses)), product.n_in, dtype=dtype, device=where)
            w = torch.randn(product.n_out, product.n_in, dtype=dtype, device=where)
            matrices += product.copies * watch.timed(lambda x=x, w=w: torch.nn.functional.linear(x, w))
        attention = _attention(layer, config, watch)
    scale = min(1.0, 0.95 * block / (matrices + attention))  # alone they may be slower than in the block, by noise
    matrices, attention = scale * matrices, scale * attention
    pairs = tokens * mean_span(config.row_length, layer.window)
    return {
        "matmul": 2 * layer.multiplications * tokens / matrices,
        "attention": 2 * layer.heads * layer.d_scores * pairs / attention if layer.heads else 1e12,
        "elementwise": (block - matrices - attention) / (tokens * (8 * shape.d_model + 3 * layer.active)),
        "batch_seconds": max(0.0, one - block),
    }


def _attention(layer: Any, config: CollectConfig, watch: Watch) -> float:
    if not layer.heads:
        return 0.0
    q = torch.randn(config.batch_size, layer.heads, config.row_length, max(1, layer.d_scores // 2))
    q = q.to(watch.where)
    q = q.to(getattr(torch, config.dtype))
    sdpa = torch.nn.functional.scaled_dot_product_attention
    return watch.timed(lambda: sdpa(q, q, q, is_causal=True))


def _pass(shape: Shape, config: CollectConfig, n_layers: int, where: torch.device) -> Callable[[], Any]:
    """A pass through a random model of this many blocks, as the collection runs it."""
    tokens = torch.randint(0, SMALL, (config.batch_size, config.row_length), device=where)
    body, experts = random_body(shape, n_layers, config.dtype, where)
    for one in experts:
        one.unread()
    return lambda: body(input_ids=tokens, use_cache=False)


SMALL = 256
"""Token ids of a random model: its embedding costs nothing."""


def random_body(shape: Shape, n_layers: int, dtype: str, where: torch.device) -> tuple[Any, list[Any]]:
    """The decoder body of a random model with the last blocks of a shape, and its layers with experts."""
    from transformers import AutoModelForCausalLM

    from neurolocal.subject.experts import expert_layer
    from neurolocal.subject.wrapper import text_body, text_paths

    config = copy.deepcopy(shape.config)
    text = config.get_text_config()
    text.num_hidden_layers, text.vocab_size = n_layers, SMALL
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(text, name, None)
    if kinds := getattr(text, "layer_types", None):
        text.layer_types = (list(kinds) * n_layers)[-n_layers:]
    with torch.device(where):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    model = model.eval().requires_grad_(False)
    paths = text_paths(model, n_layers)
    found = [expert_layer(model.get_submodule(path), name=shape.name) for path in paths.mlp if path]
    return text_body(model), [one for one in found if one is not None]


def _kernel(shape: Shape, config: CollectConfig, watch: Watch) -> dict[str, float]:
    """The layer's state on random activations: first rows, most of which enter lists, and later ones."""
    from neurolocal.collect.empty import empty_state
    from neurolocal.collect.sample import Sampler
    from neurolocal.collect.state import CountedBatch
    from neurolocal.collect.workers import Workers

    width = min(shape.layers[-1].active, WIDEST)
    lists = dataclasses.replace(config, sign_cases=False, neurons=None, layers=None, sites=("post",))
    dtype = getattr(torch, config.dtype)

    def run(d_mlp: int, batches: int, workers: Workers) -> list[float]:
        sampler = Sampler(config.sample, seed=0)
        state = empty_state(d_mlp, lists, cases=False, experts=None, device=watch.where)
        mask, took = np.ones((config.batch_size, config.row_length), bool), list[float]()
        for i in range(batches):
            rows = np.arange(config.batch_size, dtype=np.int64) + i * config.batch_size
            counted = CountedBatch.of(rows, mask, sampler)
            x = torch.randn(config.batch_size, config.row_length, d_mlp, device=watch.where).to(dtype)
            at = watch.now()
            state.update(x, None, counted, workers)
            took.append(watch.now() - at)
        return took

    with Workers(torch.get_num_threads()) as workers:
        run(8, 2, workers)  # compiles
        took, little = run(width, FILLING, workers), float(np.median(run(8, 20, workers)))
    b, k, half = config.batch_size, config.k, FILLING // 2
    first, late = sum(took[1:half]), float(np.mean(took[half:]))
    entered = 2 * width * (entries(b * half, k) - entries(b, k))
    entered_late = 2 * width * (entries(b * FILLING, k) - entries(b * half, k)) / (FILLING - half)
    more = first - (half - 1) * late
    insert = max(0.0, more / max(1.0, entered - (half - 1) * entered_late))
    steady = max(0.0, late - little - insert * entered_late)
    return {"kernel": steady / (b * config.row_length * width), "insert": insert, "layer_seconds": little}


def _tokenizer(own: Tokenizer | None, d_vocab: int) -> float:
    """Tokens/s of a tokenizer on the sample corpus, on one core, with what the feed does besides."""
    from neurolocal.corpus import corpus_files, documents
    from neurolocal.pipeline.demo import sample_corpus

    texts = [one.text for one in documents(corpus_files(sample_corpus()), most=TEXTS)]
    encode = _small(texts) if own is None else own.encode
    encode(texts[:1])
    began = time.process_time()
    ids = encode(texts)
    return FEED * sum(map(len, ids)) / (time.process_time() - began)


def _small(texts: list[str]) -> Callable[[list[str]], list[list[int]]]:
    """Byte-level BPE of these texts."""
    from tokenizers import Tokenizer as Library
    from tokenizers import models, pre_tokenizers, trainers

    made = Library(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel()
    made.train_from_iterator(texts[:200], trainers.BpeTrainer(vocab_size=8000, show_progress=False))
    return lambda some: [one.ids for one in made.encode_batch(some)]


def _effects(shape: Shape, watch: Watch) -> float:
    """Seconds of the strongest tokens of a random direction, for 1,000 token ids."""
    from neurolocal.subject.strongest import Unembedding

    with torch.inference_mode():
        rows = torch.randn(min(shape.d_vocab, 65_536), shape.d_model, device=watch.where)
        unembedding = Unembedding(rows, torch.arange(len(rows)))
        some = torch.randn(min(512, max(shape.d_mlp)), shape.d_model, device=watch.where)
        return 1000 * watch.timed(lambda: unembedding.strongest(some, 10)) / len(some) / len(rows)


def _merging(shape: Shape, config: CollectConfig, clock: Clock) -> float:
    """Bytes/s of shards that are merged."""
    job = {"d_mlp": max(shape.d_mlp), "settings": {name: getattr(config, name) for name in SETTINGS}}
    n, wall, cpu = _apart("neurolocal.scale.plan_shards", json.dumps(job), doing="measuring a merge")
    return n / (wall if clock == "wall" else cpu / cores())


def _start(clock: Clock, dtype: str) -> tuple[float, float]:
    """Seconds and bytes of the smallest collection in a process of its own; the first one fills the cache."""
    module, doing = "neurolocal.scale.plan_start", "measuring the start of a collection"
    _apart(module, dtype, doing=doing)
    wall, cpu, peak = _apart(module, dtype, doing=doing)
    return wall if clock == "wall" else cpu / cores(), peak


def _apart(module: str, argument: str, *, doing: str) -> tuple[float, float, float]:
    """The three figures that a module prints, run in a process of its own.

    Raises:
        NeurolocalError: it failed.
    """
    command = [sys.executable, "-m", module, argument]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NeurolocalError(f"{doing}: {done.stderr[-300:]}")
    first, second, third = map(float, json.loads(done.stdout.splitlines()[-1]))
    return first, second, third
