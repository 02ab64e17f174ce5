"""A small collection, made once."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_run import write_corpus, write_vectors


@pytest.fixture(scope="session")
def made(fixtures, tmp_path_factory) -> Path:
    from neurolocal.config import CollectConfig
    from neurolocal.pipeline.collect import Collection, collect_store
    from neurolocal.subject import load_subject

    folder = tmp_path_factory.mktemp("made")
    job = Collection(
        load_subject(fixtures / "stories260k", device="cpu"),
        write_corpus(folder / "corpus.jsonl", 12),
        folder / "store.h5",
        CollectConfig(row_length=32, k=3, max_rows=8, before=4, after=2),
    )
    collect_store(job, say=lambda line: None, bar=False)
    write_vectors(folder / "vectors.txt")
    return folder
