"""The documents name every command and every setting, as they are; links lead somewhere; the README stays short."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

from neurolocal.cli import cli
from neurolocal.pipeline.run import read_run, tables

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("neurolocal/*/*.md")]
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
    text = settings.readme(room).read_text(encoding="utf-8")
    assert settings.with_settings(text, room, tables()[room]) == text, "run: python scripts/settings.py --write"


def test_every_command_is_in_the_readme() -> None:
    for name in cli.list_commands(click.Context(cli)):
        assert f"neurolocal {name} " in README, f"the README does not show `neurolocal {name}`"


def sections(path: Path) -> set[str]:
    """The names by which links lead to the headings of a document, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_its_section(path: Path) -> None:
    for target, section in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", path.read_text(encoding="utf-8")):
        document = path.parent / target if target else path
        assert document.exists(), target
        assert not section or section in sections(document), f"{target}#{section}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_script_that_is_named_is_there(path: Path) -> None:
    for target in re.findall(r"scripts/[a-z_]+\.(?:sh|py)", path.read_text(encoding="utf-8")):
        assert (ROOT / target).is_file(), target


def test_every_benchmark_is_in_the_readme_of_the_scripts() -> None:
    text = (ROOT / "scripts" / "README.md").read_text(encoding="utf-8")
    for path in (ROOT / "scripts").glob("*.py"):
        assert f"`{path.name}`" in text, path.name


def blocks(path: Path, language: str) -> list[str]:
    """The code of a document in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(path: Path) -> Iterator[list[str]]:
    """The arguments of each `neurolocal` in a document's shell code; lines that end in a backslash go on."""
    for code in blocks(path, "sh"):
        for line in code.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["neurolocal"]:
                yield words[1:]


def parse(words: list[str]) -> click.Context:
    """What the real parser makes of a command line; it raises a UsageError where an option or argument is wrong."""
    command, context = cli, click.Context(cli, info_name="neurolocal")
    while isinstance(command, click.Group):
        found = command.get_command(context, words[0])
        assert found is not None, f"no command {words[0]}"
        command, context, words = found, click.Context(found, parent=context, info_name=words[0]), words[1:]
    return command.make_context(context.info_name, list(words), parent=context.parent)


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if any(commands(path))], ids=lambda p: p.parent.name)
def test_every_command_in_a_document_is_understood(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(click.Path, "convert", lambda _self, value, _param, _ctx: Path(value))  # files need not exist
    for words in commands(path):
        more = words[-1:] == ["..."]  # what may follow is left out
        try:
            parse(words[:-1] if more else words)
        except click.UsageError as error:
            if more and isinstance(error, click.MissingParameter):
                continue
            raise AssertionError(f"{path}: neurolocal {shlex.join(words)}: {error.format_message()}") from error


def test_the_parser_notices_what_is_wrong() -> None:
    for words in (["show", "a.h5", "1"], ["report", "a.h5", "--nothing"], ["bundle", "make"], ["merge"]):
        with pytest.raises(click.UsageError):
            parse(words)


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if blocks(path, "toml")], ids=lambda p: p.parent.name)
def test_every_run_file_in_a_document_can_be_read(path: Path, tmp_path: Path) -> None:
    for code in blocks(path, "toml"):
        if "[run]" in code:
            (tmp_path / "RUN.toml").write_text(code, encoding="utf-8")
            read_run(tmp_path / "RUN.toml")


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if blocks(path, "python")], ids=lambda p: p.parent.name)
def test_python_in_a_document_compiles(path: Path) -> None:
    for code in blocks(path, "python"):
        compile(code, str(path), "exec", dont_inherit=True)
