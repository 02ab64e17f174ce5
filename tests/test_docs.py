"""The documents name every command and every setting, as they are; links lead somewhere; the README stays short."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType

import click
import pytest

from neurolocal.cli import cli
from neurolocal.pipeline.run import tables

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROOMS = sorted(path.parent for path in (ROOT / "neurolocal").glob("*/__init__.py"))


@pytest.fixture(scope="module")
def settings() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "scripts")
        return importlib.import_module("settings")


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= 8192


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_every_room_has_a_readme_that_names_its_files(room: Path) -> None:
    text = (room / "README.md").read_text(encoding="utf-8")
    for path in room.rglob("*.py"):
        if path.name != "__init__.py":
            assert path.stem in text, f"{room.name}/README.md does not name {path.name}"


@pytest.mark.parametrize("room", list(tables()))
def test_every_setting_is_in_its_rooms_readme_as_the_config_says_it(room: str, settings: ModuleType) -> None:
    text = (ROOT / "neurolocal" / room / "README.md").read_text(encoding="utf-8")
    assert settings.with_settings(text, room, tables()[room]) == text, "run: python scripts/settings.py --write"


def test_every_command_is_in_the_readme() -> None:
    for name in cli.list_commands(click.Context(cli)):
        assert f"neurolocal {name} " in README, f"the README does not show `neurolocal {name}`"


@pytest.mark.parametrize("path", [ROOT / "README.md", *ROOT.glob("*/README.md"), *ROOT.glob("neurolocal/*/*.md")])
def test_every_link_leads_to_a_file(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", [ROOT / "README.md", *ROOT.glob("*/README.md"), *ROOT.glob("neurolocal/*/*.md")])
def test_every_script_that_is_named_is_there(path: Path) -> None:
    for target in re.findall(r"scripts/[a-z_]+\.(?:sh|py)", path.read_text(encoding="utf-8")):
        assert (ROOT / target).is_file(), target


def test_every_benchmark_is_in_the_readme_of_the_scripts() -> None:
    text = (ROOT / "scripts" / "README.md").read_text(encoding="utf-8")
    for path in (ROOT / "scripts").glob("*.py"):
        assert f"`{path.name}`" in text, path.name
