"""A small store of a trained subject, with verdicts and two descriptions, for tests that ask about texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from small_run import write_corpus
from tables import filled

from neurolocal.config import CollectConfig
from neurolocal.pipeline.collect import Collection, collect_store
from neurolocal.pipeline.stages import run_stage
from neurolocal.pipeline.workspace import Workspace
from neurolocal.records import SummaryTable
from neurolocal.store import add_evidence

DESCRIPTIONS = {5: "names of girls", 7: "</script><img src=x onerror=alert(1)>\u202e"}
"""Of neurons of layer 2."""


def collect_small(folder: Path, subject: Any, **settings: Any) -> Path:
    """A store of a few rows, with some settings of the collection."""
    config = CollectConfig(**{"row_length": 32, "k": 3, "max_rows": 24, "logits": 0} | settings)
    collect_store(
        Collection(subject, write_corpus(folder / "corpus.jsonl"), folder / "store.h5", config),
        say=lambda line: None, bar=False,
    )  # fmt: skip
    return folder / "store.h5"


def write_asked_store(folder: Path, subject: Any) -> Path:
    """The same with verdicts of layers 1 and 2, and `DESCRIPTIONS`."""
    path = collect_small(folder, subject)
    run_stage("verdict", Workspace(path, layers=(1, 2), say=lambda line: None, bar=False))
    table = filled(SummaryTable, list(DESCRIPTIONS), description=list(DESCRIPTIONS.values()), source=["llm", "llm"])
    add_evidence(path, [("summary", 2, "largest", table, {})], site="post")
    return path
