"""Stores written by neurolocal 0.1.0 still open, mean the same, and are carried on with.

`golden_0_1_0/` holds a whole store with every stage, a checkpoint, a store imported from pages, and what 0.1.0 printed
of the first; beside them the model, the corpus and the word vectors that they were made from.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from click.testing import CliRunner

from neurolocal.cli.main import cli
from neurolocal.config import CollectConfig, PerturbationConfig, SimilarityConfig, SummaryConfig
from neurolocal.errors import StoreError
from neurolocal.pipeline.collect import Collection, collect_store
from neurolocal.pipeline.stages import run_stage
from neurolocal.pipeline.workspace import Workspace
from neurolocal.records import SIDES, TABLES, VerdictTable
from neurolocal.store import Store, check
from neurolocal.subject import load_subject

GOLDEN = Path(__file__).with_name("golden_0_1_0")
STORES = ("store", "checkpoint", "imported")
CONFIGS = {
    "similarity": SimilarityConfig(draws=40),
    "perturbation": PerturbationConfig(examples=3, neighbours=2, controls=2, screen=8),
    "summary": SummaryConfig(limit=5),
}
"""Of the stages that are not done again; scores are: other ones lead, and prompts are asked together."""
COLLECT = CollectConfig(row_length=32, k=6, before=8, after=4, batch_size=4, sample=64, max_rows=60, logits=4)
"""The settings of the checkpoint."""
NEW_SETTINGS = {"halfway": 4.0, "floor": 0.3, "around": 0.25, "closed": 3.5}
"""Settings of the verdict that 0.1.0 had as constants, or not at all, with their values."""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder with everything unpacked, which is the working directory: 0.1.0 was given relative paths."""
    for path in GOLDEN.glob("*.zst"):
        unpacked = zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes())
        (tmp_path / path.stem).write_bytes(unpacked)
    shutil.copytree(GOLDEN / "model", tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(*arguments: str) -> Any:
    """What a command prints as JSON."""
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def require_kept(old: Any, new: Any, where: str = "") -> None:
    """Every value of the old object is in the new one and unchanged, versions aside; new keys may be added."""
    if isinstance(old, dict):
        assert isinstance(new, dict), where
        assert set(old) <= set(new), (where, sorted(set(old) - set(new)))
        for key in old.keys() - {"versions"}:
            require_kept(old[key], new[key], f"{where}.{key}")
    elif isinstance(old, list):
        assert isinstance(new, list), where
        assert len(old) == len(new), where
        for i, (one, other) in enumerate(zip(old, new, strict=True)):
            require_kept(one, other, f"{where}[{i}]")
    else:
        assert (type(old), old) == (type(new), new), where


def require_equal(one: Any, other: Any) -> None:
    """Two tables or records are equal, column by column."""
    for field in dataclasses.fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if dataclasses.is_dataclass(a):
            require_equal(a, b)
        elif isinstance(a, dict):
            assert a.keys() == b.keys()
            for key in a:
                require_equal(a[key], b[key])
        elif isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b, err_msg=field.name)
        else:
            assert a == b, field.name


def _without(table: VerdictTable, omitted: list[bool]) -> VerdictTable:
    """A table of verdicts with nothing said of some neurons."""
    columns = {
        name: ["" if out else value for value, out in zip(getattr(table, name), omitted, strict=True)]
        for name in ("verdict", "reason")
    }
    return dataclasses.replace(table, **columns)


def tables(path: Path) -> dict[tuple[str, int, str], Any]:
    """The evidence tables of a store at its first site, of the stages that 0.1.0 had."""
    stages = [name for name in TABLES if name not in ("intervention", "meanings")]
    with Store(path) as store:
        return {(s, n, side): store.evidence(s, n, side) for s in stages for n in store.layers for side in SIDES}


@pytest.mark.parametrize("name", STORES)
def test_it_opens_and_has_no_fault(name: str, folder) -> None:
    checked = check(folder / f"{name}.h5", progress=False)
    assert not checked.faults, [str(fault) for fault in checked.faults]
    assert bool(checked.notes) == (name == "checkpoint"), checked.notes
    with Store(folder / f"{name}.h5") as store:
        assert store.manifest["versions"]["neurolocal"] == "0.1.0"
        assert store.manifest["complete"] == (name != "checkpoint")
        assert store.imported == (name == "imported")
        assert all(store.record(layer).lists["largest"].row.max() >= 0 for layer in store.layers)


def test_find_finds_the_same(folder) -> None:
    wanted = json.loads((GOLDEN / "find.json").read_text())
    assert printed("find", "store.h5", "the", "--word", "--json") == wanted


def test_report_says_the_same(folder) -> None:
    wanted = json.loads((GOLDEN / "report.json").read_text())
    for neuron in wanted["neurons"]:
        neuron["rank"] += 1  # 0.1.0 counted from 0
    require_kept(wanted, printed("report", "store.h5", "--json"))


CHANGED = {"similarity": "revision: 3 -> 5", "summary": "revision: 2 -> 5"}
"""Stages that have computed something else since, and why they are done again."""


def test_a_stage_is_done_again_only_where_it_computes_something_else(folder) -> None:
    before, said = tables(folder / "store.h5"), list[str]()
    assert all(table is not None for table in before.values())
    workspace = Workspace(folder / "store.h5", vectors="vectors.txt", say=said.append, bar=False)
    for name, config in CONFIGS.items():
        if name in CHANGED:
            continue
        run_stage(name, workspace, config)
        assert said.pop() == f"{name}: layers 0, 1 are there and their inputs are unchanged; not done again"
    assert not [line for line in said if "again" in line], said
    run_stage("verdict", workspace)  # its settings are named in the store, and four were added
    assert not any("not done again" in line for line in said), said
    for place, table in tables(folder / "store.h5").items():
        old = before[place]
        if place[0] == "verdict":
            # Since then `unclear` has been divided: what was not tested is `untested`, and its reason says why.
            untested = [verdict == "untested" for verdict in table.verdict]
            assert all(v == "unclear" for v, new in zip(old.verdict, untested, strict=True) if new)
            assert any(untested)
            old, table = (_without(one, untested) for one in (old, table))
        require_equal(old, table)
    with Store(folder / "store.h5") as store:
        config = (store.inputs("verdict", 0) or {})["config"]
    assert {name: config[name] for name in NEW_SETTINGS} == NEW_SETTINGS
    for name, why in CHANGED.items():
        said.clear()
        run_stage(name, workspace, CONFIGS[name])
        assert sum(line.startswith(f"{name}: layer ") and why in line for line in said) == 4, said


def collected(path: Path, *, say: Callable[[str], None] = lambda line: None, **settings: Any) -> Path:
    """Collect with the settings of the checkpoint, resuming where the path holds one."""
    config = dataclasses.replace(COLLECT, **settings)
    collect_store(Collection(load_subject("model"), Path("corpus.jsonl"), path, config), say=say, bar=False)
    return path


def test_a_checkpoint_resumes_to_the_store_of_an_uninterrupted_run(folder) -> None:
    said = list[str]()
    resumed, anew = collected(folder / "checkpoint.h5", say=said.append), collected(folder / "anew.h5", bands=0)
    assert any("row 20" in line for line in said), said
    assert any("kept no examples by band" in line for line in said), said
    with pytest.raises(StoreError, match=r"config\.bands: 0 -> 3"):
        collected(folder / "checkpoint.h5", bands=3)
    assert not check(resumed, progress=False).faults
    with Store(resumed) as one, Store(anew) as other:
        assert one.manifest == other.manifest
        assert one.manifest["rows"] == 60
        for layer in other.layers:
            require_equal(one.record(layer), other.record(layer))
        require_equal(one.sample, other.sample)
        for name in ("row_index", "token_count"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        for mine, theirs in zip(one.rows_stored, other.rows_stored, strict=True):
            np.testing.assert_array_equal(mine, theirs)
        assert one.parts == other.parts
        assert one.rest() == other.rest() == {}
