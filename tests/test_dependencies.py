"""Every pin has a reason, every package that is needed has a pin, and DEPENDENCIES.md says so."""

from __future__ import annotations

import importlib
import itertools
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def dependencies() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "scripts")
        return importlib.import_module("dependencies")


def installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


PINNED = sys.version_info[:2] == (3, 11) and sys.platform == "linux"
"""What constraints.txt pins: other Pythons and systems need other packages."""


@pytest.mark.skipif(not PINNED, reason="the pins are for Python 3.11 on Linux")
def test_the_table_is_the_one_of_the_installed_packages(dependencies: ModuleType) -> None:
    assert dependencies.table(ROOT) in (ROOT / "DEPENDENCIES.md").read_text(encoding="utf-8"), (
        "run: python scripts/dependencies.py --write"
    )


@pytest.mark.skipif(not PINNED, reason="the pins are for Python 3.11 on Linux")
def test_every_package_that_is_needed_has_a_pin(dependencies: ModuleType) -> None:
    missing = {name for name in dependencies.required(ROOT) if installed(name)} - set(dependencies.pins(ROOT))
    assert not missing, f"pin in constraints.txt: {', '.join(f'{name}=={version(name)}' for name in sorted(missing))}"


def test_what_our_code_imports_is_named_in_pyproject(dependencies: ModuleType) -> None:
    needed = dependencies.required(ROOT)
    named = {name for name, by in needed.items() if any(one.startswith("neurolocal") for one in by)}
    assert dependencies.imported(ROOT / "neurolocal") - {"neurolocal"} <= named


def test_a_pin_that_nothing_requires_is_refused(dependencies: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "neurolocal").mkdir()
    (tmp_path / "neurolocal" / "a.py").write_text("import click\n")
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["click"]\noptional-dependencies = {x = ["h11"]}\n'
    )
    (tmp_path / "constraints.txt").write_text("# pins\nclick==8.5.1\nh11==0.16.0\n")
    table = dependencies.table(tmp_path).splitlines()[2:]
    assert table == ["| click | 8.5.1 | yes | neurolocal |", "| h11 | 0.16.0 |  | neurolocal[x] |"]
    (tmp_path / "constraints.txt").write_text("click==8.5.1\nh11==0.16.0\ncolorama==1\nSix==1.17.0\n")
    with pytest.raises(ValueError, match=r"pins what nothing requires: .*six\. Remove these lines"):
        dependencies.table(tmp_path)


def test_markers_and_extras_decide_what_applies(dependencies: ModuleType) -> None:
    wanted = ["a", "b; extra == 'x'", "c; sys_platform == 'none'", "d>=2; python_version >= '3.11'"]
    apply = dependencies.applying
    assert [Requirement.__str__(r) for r in apply(wanted, frozenset())] == ["a", 'd>=2; python_version >= "3.11"']
    assert [r.name for r in apply(wanted, frozenset({"x"}))] == ["a", "b", "d"]


def test_every_pin_is_within_its_range(dependencies: ModuleType) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = dependencies.pins(ROOT)
    for wanted in itertools.chain(project["dependencies"], *project["optional-dependencies"].values()):
        requirement = Requirement(wanted)
        name = dependencies.canonicalize_name(requirement.name)
        if name != "neurolocal":
            assert requirement.specifier.contains(pins[name]), f"{wanted}, pinned {pins[name]}"
