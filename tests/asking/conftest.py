"""A small trained subject, and a store that was collected with it, with verdicts and two descriptions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from asking_twins import DESCRIPTIONS
from small_run import write_corpus
from tables import filled

from neurolocal.config import CollectConfig
from neurolocal.pipeline.collect import Collection, collect_store
from neurolocal.pipeline.stages import run_stage
from neurolocal.pipeline.workspace import Workspace
from neurolocal.records import SummaryTable
from neurolocal.store import Store, add_evidence
from neurolocal.subject import load_subject


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def subject(fixtures: Path) -> Any:
    return load_subject(fixtures / "stories260k", device="cpu")


@pytest.fixture(scope="session")
def collected(subject: Any, tmp_path_factory: pytest.TempPathFactory):
    """Write a small store with some settings of the collection."""

    def write(**settings: Any) -> Path:
        folder = tmp_path_factory.mktemp("asked")
        config = CollectConfig(**{"row_length": 32, "k": 3, "max_rows": 24, "logits": 0} | settings)
        job = Collection(subject, write_corpus(folder / "corpus.jsonl"), folder / "store.h5", config)
        collect_store(job, say=lambda line: None, bar=False)
        return folder / "store.h5"

    return write


@pytest.fixture(scope="session")
def path(collected) -> Path:
    found = collected()
    run_stage("verdict", Workspace(found, layers=(1, 2), say=lambda line: None, bar=False))
    table = filled(SummaryTable, list(DESCRIPTIONS), description=list(DESCRIPTIONS.values()), source=["llm", "llm"])
    add_evidence(found, [("summary", 2, "largest", table, {})], site="post")
    return found


@pytest.fixture(scope="session")
def store(path: Path):
    with Store(path) as opened:
        yield opened
