"""A wheel built from the tree holds what the program needs at run time, and nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.mark.slow
def test_it_holds_every_file_of_the_package(names):
    ours = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "neurolocal").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {n for n in ours if n.endswith((".html", ".css", ".js", ".txt", ".md"))}, "no templates in the tree"
    assert ours - names == set()


@pytest.mark.slow
def test_it_holds_the_sample_corpus_the_command_and_the_licence(names):
    assert "neurolocal/data/sample.jsonl.zst" in names
    assert any(name.endswith("entry_points.txt") for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_it_holds_nothing_else(names):
    assert {name.split("/")[0].split("-")[0] for name in names} == {"neurolocal"}
