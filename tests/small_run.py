"""What the tests of whole runs share: a small corpus, made-up word vectors, and the command line as a subprocess."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from neurolocal.words import WORD

TEXT = """Once upon a time there was a little girl named Lily. She loved to play outside in the park with her dog.
One day she saw a big red ball near the tree and she was very happy. Her mom said, "Lily, you can have the ball."
Tom and his friend went to the lake to swim. They saw a fish and a frog. The frog was green and the fish was blue.
The sun was hot, so they sat under a tall tree and ate cake. "I like cake," said Tom. "Me too," said his friend.
A small cat was sad because it had no food. A kind boy gave the cat some milk. The cat was glad and ran home fast.
"""


def write_corpus(path: Path, documents: int = 12) -> Path:
    lines = [json.dumps({"text": TEXT + f"The end of story {'again ' * i}."}) for i in range(documents)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_vectors(path: Path, seed: int = 3) -> Path:
    """GloVe's text format, a vector of 8 for every word of the corpus."""
    rng = np.random.default_rng(seed)
    words = sorted({word.casefold() for word in WORD.findall(TEXT)})
    lines = [f"{word} {' '.join(f'{x:.4f}' for x in rng.normal(size=8))}" for word in words]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_run(folder: Path, model: Path, more: str = "") -> Path:
    """A RUN.toml of a run of seconds, with its corpus and vectors; `more` is further tables."""
    write_corpus(folder / "corpus.jsonl")
    write_vectors(folder / "vectors.txt")
    path = folder / "RUN.toml"
    path.write_text(
        f"[run]\nsubject = {str(model)!r}\ncorpus = 'corpus.jsonl'\nstore = 'out/s.h5'\nvectors = 'vectors.txt'\n"
        "layers = [1]\nsides = ['largest']\ndevice = 'cpu'\n"
        "[collect]\nrow_length = 32\nk = 4\nmax_rows = 24\nlogits = 0\n[similarity]\ndraws = 30\n"
        f"[perturbation]\nscreen = 3\nexamples = 2\n[summary]\nlimit = 2\n[score]\nlimit = 0\n{more}"
    )
    return path


def neurolocal(*arguments: object, cwd: Path, timeout: float = 900) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    command = [sys.executable, "-c", "from neurolocal.cli.main import main; main()", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)
