"""A subject, a corpus, and the store of a single process."""

import pytest
from worker_twins import SETTINGS, write_text

from neurolocal.config import CollectConfig


@pytest.fixture(scope="session")
def subject(fixtures):
    from neurolocal.subject import load_subject

    return load_subject(str(fixtures / "stories260k"), device="cpu")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    return write_text(tmp_path_factory.mktemp("scale") / "c.jsonl")


@pytest.fixture(scope="session")
def single(subject, corpus, tmp_path_factory):
    """The bytes of every dataset and the manifest of a single process's store."""
    from contents import content

    from neurolocal.pipeline.collect import Collection, collect_store

    path = tmp_path_factory.mktemp("single") / "s.h5"
    collect_store(Collection(subject, corpus, path, CollectConfig(**SETTINGS)), say=lambda line: None, bar=False)
    return content(path)
