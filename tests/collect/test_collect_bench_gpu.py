"""scripts/bench_gpu.py needs torch, transformers, h5py and this package alone: other machines may have no more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_gpu.py"

# What else the package depends on, made impossible to find in the process that runs the script.
ALONE = """
import importlib.metadata, importlib.util, runpy, sys

absent = set(
    "transformer_lens jaxtyping numba llvmlite gguf datasets click zstandard scipy gensim rich pyarrow jinja2 "
    "llama_cpp beartype accelerate pandas".split()
)
find, version = importlib.util.find_spec, importlib.metadata.version

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in absent:
            raise ModuleNotFoundError(name)

def known(name):
    if name == "transformer-lens":
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)

sys.meta_path.insert(0, Absent())
importlib.util.find_spec = lambda name, *more: None if name.split(".")[0] in absent else find(name, *more)
importlib.metadata.version = known
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def alone(folder: Path, *more: str) -> str:
    """What the script prints, run with little installed on a tiny shape."""
    small = ["--shapes", "tiny", "--pairs", "3", "--batch-tokens", "512", "--row-lengths", "128"]
    ran = subprocess.run(
        [sys.executable, "-c", ALONE, str(SCRIPT), "--device", "cpu", "--plain", *small, *more],
        env=os.environ | {"NEUROLOCAL_CACHE": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.slow
def test_it_runs_with_little_installed(tmp_path):
    printed = alone(tmp_path)
    assert "tiny, rows of 128, bfloat16, 4 rows a batch, 3 pairs" in printed
    for name in ("bare forward", "collection", "with sign cases", "a checkpoint"):
        assert f"  {name} " in printed


@pytest.mark.slow
def test_substitutes_run_with_little_installed(tmp_path):
    printed = alone(tmp_path, "--perturb", "--budgets", "64", "256")
    for budget in (64, 256):
        assert f"tiny, rows of 128, bfloat16, at most {budget} branch tokens a pass" in printed
    assert printed.count("one example, 10 substitutes") == printed.count("many neurons: 26 examples") == 2
    assert "cannot run side by side" not in printed
