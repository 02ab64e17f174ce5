"""The smallest collection, in a process of its own: what a collection costs before its model and corpus count.

`python -m neurolocal.scale.plan_start float32` prints seconds, processor seconds and peak memory.
Invariant: nothing is left on the disk. Cost: that of importing everything that a collection imports.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path


def main(dtype: str) -> None:
    """Collect one layer of 64 neurons on a few rows, and print what that took."""
    began = time.monotonic()
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    from neurolocal.config import CollectConfig
    from neurolocal.pipeline.collect import Collection, collect_store
    from neurolocal.stage import silent
    from neurolocal.subject import Subject
    from neurolocal.subject.tokenizers import Tokenizer

    config = LlamaConfig(
        hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, vocab_size=64
    )
    config.architectures = ["LlamaForCausalLM"]
    model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype)).eval().requires_grad_(False)
    subject = Subject(model, Tokenizer.numbered(64), name="tiny")
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "corpus.jsonl")
        corpus.write_text(json.dumps({"text": "w1 w2 w3 w4 " * 100}) + "\n", encoding="utf-8")
        settings = CollectConfig(row_length=16, batch_size=4, k=2, bos="none", packing="document", logits=2)
        job = Collection(subject, corpus, Path(folder, "store.h5"), settings)
        collect_store(job, say=silent, bar=False)
    print(json.dumps([time.monotonic() - began, time.process_time(), peak_bytes()]))


def peak_bytes() -> int:
    """The most memory that this process has had. What a parent had counts in `getrusage`, not in /proc."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main(sys.argv[1])
