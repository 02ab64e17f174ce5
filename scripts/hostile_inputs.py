"""Hostile corpora and vector files, for `hostile.py`: each maker writes one, and returns the command that reads it.

Cost: tens of MB on the disk for the largest, and a tiny random model for each.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "subject"))


def collect(folder: Path, corpus: Path, *options: str) -> list[str]:
    """The command that collects a corpus with a tiny random model, whose tokenizer is of GPT-2's kind."""
    from subject_twins import tiny_model
    from tokenizer_twins import byte_level

    library = byte_level("GPT-2")
    model = tiny_model("GPT2", larger={"vocab_size": library.get_vocab_size()})
    model.save_pretrained(folder / "model")
    library.save(str(folder / "model" / "tokenizer.json"))
    rows = ("--row-length", "32", "--batch-size", "4", "--max-rows", "8", "--k", "2", "--bos", "none")
    rows += ("--packing", "document")
    return ["collect", "--subject", "model", "--corpus", str(corpus), "--store", "store.h5", *rows, *options]


def good_corpus(folder: Path) -> list[str]:
    """A corpus without a fault."""
    path = folder / "corpus.jsonl"
    path.write_text((json.dumps({"text": "The cat sat on the mat. " * 20}) + "\n") * 4)
    return collect(folder, path)


def deep_json(folder: Path) -> list[str]:
    """A line of 100,000 brackets among good ones."""
    path = folder / "corpus.jsonl"
    good = json.dumps({"text": "The cat sat on the mat. " * 20}) + "\n"
    path.write_text(good + '{"text": "x", "meta": ' + "[" * 100_000 + "\n" + good * 3)
    return collect(folder, path)


INPUTS: dict[str, Callable[[Path], list[str]]] = {
    "corpus: JSON 100,000 deep": deep_json,
}
