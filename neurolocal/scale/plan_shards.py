"""How fast this machine merges: small shards of a collection of the subject's shape, merged by the real code.

`python -m neurolocal.scale.plan_shards JSON` prints the bytes of the shards, and the seconds and processor seconds of a
merge: in a process of its own, so that the time of no other thread counts.
Invariant: nothing is left on the disk. Cost: `BYTES` on the disk for the shards, and what they are merged into.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurolocal.collect.memory import neuron_bytes
from neurolocal.config import CollectConfig

if TYPE_CHECKING:
    from neurolocal.subject import Subject

BYTES = 1 << 27
"""Of all shards together, about."""

SHARDS = 4
"""Shards that are merged."""

WORDS = 64
"""Ids of the random model, and different words of its corpus."""


SETTINGS = ("k", "before", "after", "sample", "row_length")
"""Settings that decide the size of a neuron and of a row."""


def merging(d_mlp: int, settings: dict[str, int]) -> tuple[int, float, float]:
    """Bytes of the shards, and seconds and processor seconds of the second of two merges; the first one compiles.

    Args:
        d_mlp: neurons of a layer.
        settings: those of `SETTINGS`.
    """
    from neurolocal.pipeline.merge import merge_stores
    from neurolocal.stage import silent

    config = dataclasses.replace(CollectConfig(packing="document", bos="none", logits=0), **settings)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        neurons = round(BYTES / SHARDS / neuron_bytes(config))
        width = min(d_mlp, neurons)
        paths = shards(folder, _subject(width, max(1, neurons // width)), config)
        took = (0.0, 0.0)
        for _ in range(2):
            out = folder / "merged.h5"
            out.unlink(missing_ok=True)
            began, cpu = time.monotonic(), time.process_time()
            merge_stores(out, paths, say=silent, bar=False)
            took = time.monotonic() - began, time.process_time() - cpu
        return sum(path.stat().st_size for path in paths), *took


def shards(folder: Path, subject: Subject, config: CollectConfig) -> list[Path]:
    """The stores of `SHARDS` shards; each fills the lists of all neurons."""
    import numpy as np

    from neurolocal.pipeline.collect import Collection, collect_store
    from neurolocal.stage import silent

    rows = SHARDS * -(-config.k // config.batch_size) * config.batch_size
    rng, corpus = np.random.default_rng(0), folder / "corpus.jsonl"
    ids = rng.integers(0, WORDS, (rows, config.row_length))
    texts = [json.dumps({"text": " ".join(f"w{i}" for i in row)}) for row in ids.tolist()]
    corpus.write_text("\n".join(texts) + "\n", encoding="utf-8")
    made = []
    for shard in range(SHARDS):
        path = folder / f"{shard}.h5"
        part = dataclasses.replace(config, shard=shard, shards=SHARDS, max_rows=rows)
        collect_store(Collection(subject, corpus, path, part), say=silent, bar=False)
        made.append(path)
    return made


def _subject(d_mlp: int, n_layers: int) -> Subject:
    """A random model with layers of this many neurons, whose forward pass costs little."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    from neurolocal.subject import Subject
    from neurolocal.subject.tokenizers import Tokenizer

    config = LlamaConfig(
        hidden_size=32, intermediate_size=d_mlp, num_hidden_layers=n_layers, num_attention_heads=2, vocab_size=WORDS
    )
    config.architectures = ["LlamaForCausalLM"]
    model: Any = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    return Subject(model, Tokenizer.numbered(WORDS), name="shards")


if __name__ == "__main__":
    print(json.dumps(merging(**json.loads(sys.argv[1]))))
