"""A store with everything in it, and the one that the pipeline makes of stories260k."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from find_twins import one_neuron
from store_twins import evidence, made_up

from neurolocal.store import add_evidence, write_collected


@pytest.fixture
def store_path(tmp_path) -> Path:
    """A store with every kind of dataset, the same each time."""
    rng = np.random.default_rng(0)
    path = tmp_path / "a.h5"
    neurons = np.arange(4)
    write_collected(path, made_up(rng, cases=True, effects=True, neurons=neurons, sites=("post", "pre")))
    add_evidence(path, evidence(rng), site="post")
    return path


@pytest.fixture(scope="session")
def stories(fixtures, tmp_path_factory) -> Path:
    """What the pipeline makes of stories260k and a few made-up stories: collection and verdicts of one layer."""
    from neurolocal.config import CollectConfig
    from neurolocal.pipeline.collect import Collection, collect_store
    from neurolocal.pipeline.stages import run_stage
    from neurolocal.pipeline.workspace import Workspace
    from neurolocal.subject import load_subject

    folder = tmp_path_factory.mktemp("stories")
    lines = [json.dumps({"text": f"Once there was a cat named {n}. The cat sat on the {n} mat."}) for n in "ABCDEFG"]
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    config = CollectConfig(
        row_length=16, k=4, before=5, after=3, layers=(1, 3), sites=("post", "pre"), sign_cases=True, sample=20
    )
    job = Collection(load_subject(str(fixtures / "stories260k")), folder / "corpus.jsonl", folder / "s.h5", config)
    collect_store(job, say=lambda line: None, bar=False)
    run_stage("verdict", Workspace(job.store, (3,), bar=False))
    return job.store


@pytest.fixture
def copy(stories, tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(stories.read_bytes())
    return path


@pytest.fixture
def poly(tmp_path):
    return one_neuron(tmp_path / "a.h5", [b" poly", b".", b" x"], [0, 1, 0, 2])
