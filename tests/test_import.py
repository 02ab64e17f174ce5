"""Importing the package, and asking for help, loads nothing heavy; the public names are all there."""

from __future__ import annotations

import subprocess
import sys

import pytest

import neurolocal

HEAVY = (
    "numpy",
    "torch",
    "gensim",
    "llama_cpp",
    "transformers",
    "transformer_lens",
    "h5py",
    "numba",
    "datasets",
    "scipy",
    "ray",
    "pandas",
    "matplotlib",
)

WATCH = f"""
import sys
{{code}}
print("loaded:", *[name for name in {HEAVY!r} if name in sys.modules])
"""


def heavy_after(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", WATCH.format(code=code)], capture_output=True, text=True, check=True)
    return done.stdout.rpartition("loaded:")[2].split()


@pytest.mark.parametrize(
    "code",
    [
        "import neurolocal",
        "import neurolocal.cli.main",
        "from neurolocal import NeurolocalError",
        "import neurolocal\ndir(neurolocal)",
    ],
)
def test_importing_loads_nothing_heavy(code: str) -> None:
    assert heavy_after(code) == []


def test_the_vocabulary_needs_numpy_alone() -> None:
    assert heavy_after("from neurolocal import Example, CollectConfig, Vocabulary") == ["numpy"]


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["collect", "--help"], ["report", "--help"], []])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "from neurolocal.cli.main import main\n"
        f"sys.argv = ['neurolocal', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass"
    )
    assert heavy_after(code) == []


def test_the_watch_itself_would_notice() -> None:
    assert "h5py" in heavy_after("from neurolocal import Store")


def test_every_public_name_is_there_and_listed() -> None:
    for name in neurolocal._MODULE:
        assert getattr(neurolocal, name).__name__ == name
        assert name in dir(neurolocal)
        assert getattr(neurolocal, name).__doc__


def test_public_names_hide_no_room() -> None:
    """`neurolocal.collect` is a package; a public function of that name would hide it, or be hidden by it."""
    from pathlib import Path

    rooms = {path.stem for path in Path(neurolocal.__file__).parent.iterdir()}
    assert not rooms & set(neurolocal._MODULE)


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        neurolocal.nothing  # noqa: B018
    with pytest.raises(ImportError):
        from neurolocal import nothing  # noqa: F401  # pyright: ignore[reportUnusedImport]
