"""The README names every command and every setting, as they are."""

import importlib.util
import re
from pathlib import Path

from neurolocal.cli.main import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def settings() -> str:
    spec = importlib.util.spec_from_file_location("settings", ROOT / "scripts" / "settings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return "\n".join(
        module.table(f.name, type(f.default_factory())) for f in module.dataclasses.fields(module.config.RunConfig)
    )


def test_every_command_is_in_the_readme():
    for name in cli.commands:
        assert f"neurolocal {name} " in README, f"the README does not show `neurolocal {name}`"


def test_every_setting_is_in_the_readme_as_the_config_says_it():
    for line in settings().splitlines():
        assert line in README, f"the README lacks {line!r}: paste the output of scripts/settings.py"


def test_every_file_that_the_readme_links_to_is_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_script_that_the_readme_names_is_there():
    for target in re.findall(r"scripts/[a-z_]+\.(?:sh|py)", README):
        assert (ROOT / target).is_file(), target
