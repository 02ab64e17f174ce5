"""The script for an array of a cluster: its tasks' stores merge into that of one run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "slurm_collect.sh"
SETTINGS = ["--row-length", "32", "--batch-size", "4", "--k", "3", "--max-rows", "24", "--bos", "none"]


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        command, env=os.environ | {"PATH": path} | environment, capture_output=True, text=True, check=False, timeout=900
    )


def test_outside_of_an_array_it_says_how_it_is_used() -> None:
    environment = {"SLURM_ARRAY_TASK_ID": ""}
    done = run(["bash", str(SCRIPT), "out"], **environment)
    assert (done.returncode, done.stderr.splitlines()[0][:42]) == (2, "usage: sbatch --array=0-N scripts/slurm_co")


@pytest.mark.slow
def test_the_tasks_of_an_array_merge_into_the_store_of_one_run(fixtures: Path, tmp_path: Path) -> None:
    corpus, folder = tmp_path / "c.txt", tmp_path / "shards"
    corpus.write_text("Once upon a time there was a little girl who had a red ball. " * 200, encoding="utf-8")
    chosen = ["--subject", str(fixtures / "stories260k"), "--corpus", str(corpus), *SETTINGS]
    for task in ("0", "1"):
        environment = {"SLURM_ARRAY_TASK_ID": task, "SLURM_ARRAY_TASK_COUNT": "2"}
        done = run(["bash", str(SCRIPT), str(folder), *chosen], **environment)
        assert done.returncode == 0, done.stderr
    parts = sorted(folder.glob("shard-*.h5"))
    assert [part.name for part in parts] == ["shard-00000.h5", "shard-00001.h5"]
    merged, one = tmp_path / "merged.h5", tmp_path / "one.h5"
    assert run(["neurolocal", "merge", str(merged), *map(str, parts)]).returncode == 0
    assert run(["neurolocal", "collect", "--store", str(one), *chosen]).returncode == 0
    with h5py.File(merged) as a, h5py.File(one) as b:
        for name in ("activation", "row", "position"):
            found = a[f"collect/post/2/largest/{name}"][()]
            assert np.array_equal(found, b[f"collect/post/2/largest/{name}"][()], equal_nan=True)
