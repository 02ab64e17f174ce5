"""The commands that soak.py disturbs: every stage and every command that writes, on a small real model.

Each job starts from what the jobs before it left. They are the commands of the README, on few rows and neurons.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

DOCUMENTS = 40


class Job(NamedTuple):
    """A command."""

    name: str
    """Its row in the table."""
    arguments: tuple[str, ...]
    """Of the command line."""
    store: str | None = "s.h5"
    """The store that it reads or writes; None where it has none."""
    fresh: bool = False
    """Whether it starts without what the jobs before it left."""


def job(name: str, line: str, **more: object) -> Job:
    """A job from the words of its command line."""
    return Job(name, tuple(line.split()), **more)  # type: ignore[arg-type]


def jobs(subject: Path, llm: Path) -> list[Job]:
    """All jobs, in the order in which they are run undisturbed."""
    collect = f"--subject {subject} --corpus corpus.jsonl --row-length 32 --k 4 --batch-size 4 --device cpu"
    layers = "--layers 1,3 --side largest"
    shard = f"collect {collect} --layers 1 --logits 0 --max-rows 32"
    return [
        job("run", "run RUN.toml", store="out/s.h5", fresh=True),
        job(
            "collect",
            f"collect {collect} --store s.h5 --layers 1,3 --logits 3 --max-rows 48 --sample 64 --checkpoint-rows 8",
        ),
        job("shard 0", f"{shard} --store p0.h5 --shard 0/2", store="p0.h5"),
        job("shard 1", f"{shard} --store p1.h5 --shard 1/2", store="p1.h5"),
        job("merge", "merge merged.h5 p0.h5 p1.h5", store="p1.h5"),
        job("similarity", f"similarity s.h5 {layers} --vectors vectors.txt --draws 30"),
        job("meanings", f"meanings s.h5 {layers} --vectors vectors.txt"),
        job("perturbation", f"perturbation s.h5 {layers} --screen 4 --examples 2 --device cpu"),
        job("verdict", f"verdict s.h5 {layers}"),
        job("summary", f"summary s.h5 {layers} --vectors vectors.txt --llm {llm} --limit 3"),
        job(
            "score",
            f"score s.h5 {layers} --vectors vectors.txt --llm {llm} --limit 2 --texts 2 --rows 8 --draws 40 "
            "--device cpu",
        ),
        job("report", "report s.h5 --layers 1,3 --html page.html --parquet neurons.parquet --plots plots"),
        job("export parquet", "export s.h5 tables --layers 1"),
        job("export csv", "export s.h5 csv --format csv --layers 1"),
        job("neuron records", f"export s.h5 records --format neuron-records --layers 1 --subject {subject}"),
        job("neuronpedia", "export s.h5 neuronpedia --format neuronpedia --layers 1"),
        job("site", "site s.h5 site --layers 1 --top 12"),
        job("site by processes", "site s.h5 site2 --processes 2 --top 100"),
        job("pages out", f"neuroscope export s.h5 pages --layers 1 --neurons 0-9 --texts 4 --subject {subject}"),
        job("pages in", "neuroscope import pages --out theirs.h5", store="theirs.h5"),
        job("replay", f"neuroscope replay theirs.h5 --subject {subject} --all --out ours.h5", store="theirs.h5"),
        job("compare", "neuroscope compare s.h5 ours.h5 --html compare.html"),
        job(
            "bundle make",
            "bundle make carry --run RUN.toml --sections subject,corpus,vectors --volume-size 500kB",
            store=None,
        ),
        job("bundle verify", "bundle verify carry.volumes", store=None),
    ]


def write_inputs(folder: Path, subject: Path, llm: Path, corpus: Path) -> None:
    """Write the corpus, made-up word vectors of its words, and a RUN.toml."""
    import zstandard

    folder.mkdir(parents=True, exist_ok=True)
    with corpus.open("rb") as packed:
        lines = zstandard.ZstdDecompressor().stream_reader(packed).read(1 << 20).decode("utf-8", "ignore").split("\n")
    texts = [json.loads(line)["text"][:1200] for line in lines[:DOCUMENTS]]
    (folder / "corpus.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    words = sorted({word.casefold() for text in texts for word in re.findall(r"[A-Za-z]+", text)})
    rng = np.random.default_rng(3)
    rows = (f"{word} {' '.join(f'{x:.4f}' for x in rng.normal(size=8))}\n" for word in words)
    (folder / "vectors.txt").write_text("".join(rows))
    (folder / "RUN.toml").write_text(
        f"[run]\nsubject = '{subject}'\ncorpus = 'corpus.jsonl'\nstore = 'out/s.h5'\nvectors = 'vectors.txt'\n"
        f"llm = '{llm}'\nlayers = [1]\nsides = ['largest']\ndevice = 'cpu'\n"
        "[collect]\nrow_length = 32\nk = 4\nmax_rows = 24\nbatch_size = 4\nlogits = 3\nlayers = [1, 3]\n"
        "[similarity]\ndraws = 30\n[perturbation]\nscreen = 3\nexamples = 2\n[summary]\nlimit = 2\n"
        "[score]\nlimit = 2\ntexts = 2\nrows = 8\ndraws = 40\n"
    )
