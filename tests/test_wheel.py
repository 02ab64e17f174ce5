"""The sdist holds what a wheel is built from, and a wheel built from it what the program needs, and nothing else."""

import re
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

MACHINE = re.compile(rb"/(?:root|home|Users|work|tmp|build)/[A-Za-z0-9_.-]+/")
"""A path of the machine that built it."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from that sdist."""
    out = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def files(built: Path) -> dict[str, bytes]:
    """Every file of the wheel."""
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def names(files: dict[str, bytes]) -> set[str]:
    return set(files)


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


@pytest.mark.slow
def test_no_file_names_the_machine_that_built_it(files):
    for name, data in files.items():
        if not name.endswith((".zst", ".png")):
            assert not MACHINE.findall(data), name


@pytest.mark.slow
def test_its_metadata_says_what_it_runs_on_and_needs(files):
    (text,) = (data.decode() for name, data in files.items() if name.endswith(".dist-info/METADATA"))
    metadata = Parser().parsestr(text)
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert {"similarity", "summary", "site", "plots", "notebook", "bundle", "all"} <= set(
        metadata.get_all("Provides-Extra", [])
    )
    assert not [line for line in metadata.get_all("Requires-Dist", []) if "@" in line.split(";")[0]], "an address"


@pytest.mark.slow
def test_the_sdist_holds_documents_pins_and_tests_and_no_environment(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        members = archive.getmembers()
    names = {member.name.partition("/")[2] for member in members}
    assert {"README.md", "CHANGELOG.md", "CITATION.cff", "SECURITY.md", "DEPENDENCIES.md", "LICENSE", "constraints.txt",
            "data/sample.jsonl.zst", "tests/conftest.py", "scripts/test.sh"} <= names  # fmt: skip
    assert all(member.isfile() or member.isdir() for member in members), "a link"
    assert not [name for name in names if ".venv" in name or "__pycache__" in name or name.startswith(".git/")]
