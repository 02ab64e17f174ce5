"""Workers that read the corpus at an address."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from test_storage_collect import fill

from neurolocal.config import CollectConfig
from neurolocal.pipeline.collect import Collection, collect_store
from neurolocal.storage import Address

sys.path.append(str(Path(__file__).parents[1] / "scale"))

from contents import content
from worker_twins import SETTINGS, drive


@pytest.mark.slow
def test_workers_read_the_corpus_at_an_address(subject: Any, bucket: Any, tmp_path: Path) -> None:
    fill(bucket, "/bucket/pile")
    corpus, single = Address("memory", "bucket/pile"), tmp_path / "single.h5"
    collect_store(Collection(subject, corpus, single, CollectConfig(**SETTINGS)), say=lambda line: None, bar=False)
    outcome = drive(subject, corpus, tmp_path / "s.h5", workers=2)
    assert outcome.complete
    assert content(tmp_path / "s.h5") == content(single)
