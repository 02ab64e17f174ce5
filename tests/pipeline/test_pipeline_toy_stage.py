"""A stage is added by its folder and one line in TABLES: it is run, reported, shown, paged and documented."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Generator
from io import StringIO
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from small_run import write_run

import neurolocal
from neurolocal import report
from neurolocal.cli import cli
from neurolocal.pipeline.run import read_run, run_all, tables
from neurolocal.records import TABLES
from neurolocal.store import Store, check

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "tests" / "store" / "golden_0_1_0" / "model"

TABLE = '''"""The table of the stage."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64


@dataclass(frozen=True)
class VowelTable:
    """How much of a neuron's peak tokens are vowels?"""

    neuron: Int64[np.ndarray, "n"]
    """Index within the layer."""
    vowels: Float32[np.ndarray, "n"]
    """Share of the letters of its peak tokens."""
'''

STAGE = '''"""The share of vowels in the peak tokens of every neuron."""

from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from neurolocal.stage import Result, Stage
from neurolocal.vowels.table import VowelTable


@dataclass(frozen=True)
class VowelConfig:
    """What counts as a vowel."""

    letters: str = "aeiou"
    """Letters that are vowels."""


@contextmanager
def work(workspace, config):
    def one_layer(layer, side):
        store, shares = workspace.store, []
        for examples in store.example_lists(layer, side):
            text = "".join(store.vocabulary.str_tokens([int(e.tokens[e.peak]) for e in examples])).casefold()
            shares.append(sum(c in config.letters for c in text) / max(1, sum(map(str.isalpha, text))))
        return Result(VowelTable(store.neurons(layer), np.array(shares, np.float32)))

    yield one_layer


STAGE = Stage("vowels", VowelConfig, revision=1, inputs=lambda *_: {}, work=work)
'''

README = "# vowels\n\n<!-- settings vowels -->\n<!-- end settings -->\n"


@pytest.fixture
def vowels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path, None, None]:
    """The stage's folder, found as a room of the package, and its line."""
    folder = tmp_path / "rooms" / "vowels"
    folder.mkdir(parents=True)
    texts = {"__init__.py": '"""Vowels."""\n', "table.py": TABLE, "stage.py": STAGE, "README.md": README}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(neurolocal, "__path__", [*neurolocal.__path__, str(folder.parent)])
    monkeypatch.setitem(TABLES, "vowels", "neurolocal.vowels.table:VowelTable")
    yield folder
    for name in [name for name in sys.modules if name.startswith("neurolocal.vowels")]:
        del sys.modules[name]


@pytest.fixture
def run_toml(tmp_path: Path) -> Path:
    return write_run(tmp_path, MODEL, "[vowels]\nletters = 'aeiouy'\n")


def test_a_stage_is_its_folder_and_one_line(vowels: Path, run_toml: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    run = read_run(run_toml)
    run_all(run, limit=2, say=said.append)
    assert "vowels" in next(line for line in said if line.startswith("seconds "))
    with Store(run.store) as store:
        table = store.evidence("vowels", 1)
        assert table.neuron.tolist() == list(range(24))
        assert 0 < table.vowels.max() <= 1
        best = report.report_rows(store, [1], limit=1)[0]
        share = float(table.vowels[best.neuron])
        assert best.evidence == {"vowels": {"vowels": share}}
        shown = StringIO()
        report.show(store, 1, best.neuron, out=shown, width=100)
        assert re.search(rf"vowels: vowels +{share:.2f}", shown.getvalue())
    reported = json.loads(run.json.read_text())
    assert reported["stages"]["vowels"]["1"]["config"] == {"letters": "aeiouy"}
    assert reported["neurons"][0]["evidence"] == {"vowels": {"vowels": pytest.approx(share)}}
    assert "vowels: vowels" in run.page.read_text(encoding="utf-8")
    found = check(run.store, progress=False)
    assert found.faults == ()
    assert not [note for note in found.notes if "vowels" in note]
    said.clear()
    run_all(run, limit=2, say=said.append)
    assert "vowels: layer 1 is there and its inputs are unchanged; not done again" in said


def test_its_settings_are_a_table_of_the_run_a_table_of_the_readme_and_flags(vowels: Path) -> None:
    sys.path.insert(0, str(ROOT / "scripts"))
    settings = importlib.import_module("settings")
    sys.path.remove(str(ROOT / "scripts"))
    config = tables()["vowels"]
    readme = settings.with_settings((vowels / "README.md").read_text(), "vowels", config)
    assert "| `letters` | `aeiou` | Letters that are vowels. |" in readme
    done = CliRunner().invoke(cli, ["vowels", "--help"])
    assert "--letters" in done.output
    command = cli.get_command(click.Context(cli), "vowels")
    assert command is not None
    assert command.help == "What counts as a vowel."
