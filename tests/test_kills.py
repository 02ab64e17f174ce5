"""Killed before any of its writes, and once more, what writes files ends with those of an undisturbed run when it is
done again. The kill comes before a write of that number, so nothing depends on the time.

The stages that need the subject or an LLM are killed by `scripts/soak.py`, the slow test.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / room) for room in ("report", "store", "neuroscope", "pipeline")]
sys.path.append(str(ROOT / "scripts"))

import import_twins  # noqa: E402
import small_collection  # noqa: E402
from report_twins import SmallStore  # noqa: E402
from soak_compare import contents, differing  # noqa: E402
from soak_process import CONTEXT, watch_writes  # noqa: E402

from neurolocal.store import Store  # noqa: E402


class PlainStore(SmallStore):
    """A small store whose settings are such that a stage can name them."""

    def _manifest(self) -> dict[str, Any]:
        made = super()._manifest()
        return made | {"config": {k: v for k, v in made["config"].items() if k not in ("nothing", "ghost")}}


Work = Callable[[Path], object]
"""Does something in a folder."""


def _killed_at(work: Work, folder: Path, n: int | None, counted) -> None:
    watch_writes(folder, counted, n, signal.SIGKILL)
    work(folder)


def run(work: Work, folder: Path, *, kill: int | None = None) -> int:
    """Do something in a process of its own, which is killed before the write of that number; its writes."""
    counted = CONTEXT.Value("q", 0, lock=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks beside threads
        process = CONTEXT.Process(target=_killed_at, args=(work, folder, kill, counted))
        process.start()
    process.join(600)
    assert process.exitcode == (0 if kill is None or counted.value < kill else -signal.SIGKILL)
    return counted.value


def judge(folder: Path) -> None:
    from neurolocal.config import VerdictConfig
    from neurolocal.pipeline.stages import run_stage
    from neurolocal.pipeline.workspace import Workspace

    workspace = Workspace(folder / "s.h5", sides=("largest",), say=lambda line: None, bar=False)
    run_stage("verdict", workspace, VerdictConfig())


def report(folder: Path) -> None:
    from neurolocal import report
    from neurolocal.report.parquet import write_parquet

    with Store(folder / "s.h5") as store:
        rows = report.report_rows(store, [2])
        report.write_json(store, rows, path=folder / "report.json")
        write_parquet(rows, path=folder / "neurons.parquet")


def export(kind: str, folder: Path) -> None:
    from neurolocal.export.neuron_records import export_neuron_records
    from neurolocal.export.neuronpedia import CREATOR, export_neuronpedia
    from neurolocal.export.table_files import export_tables

    with Store(folder / "s.h5") as store:
        if kind == "neuron-records":
            export_neuron_records(store, folder / "out", layers=(2,), bar=False)
        elif kind == "neuronpedia":
            export_neuronpedia(store, folder / "out", layers=(2,), model="small", creator=CREATOR)
        else:
            export_tables(store, folder / "out", format=kind, tables=("examples", "verdict"), bar=False)


def site(folder: Path) -> None:
    from neurolocal.site.build import write_site

    write_site(folder / "s.h5", folder / "site", layers=[2], neurons=[0, 1], processes=1, bar=False)


def import_pages(folder: Path) -> None:
    import_twins.load([folder / "pages"], folder / "theirs.h5")


def merge(folder: Path) -> None:
    from neurolocal.pipeline.merge import merge_stores

    if not (folder / "merged.h5").exists():
        merge_stores(folder / "merged.h5", [folder / "0.h5", folder / "1.h5"], say=lambda line: None)


def bundle(folder: Path) -> None:
    from neurolocal.bundle import Bundle, make_bundle
    from neurolocal.bundle.local import LocalSection

    sections = [LocalSection("corpus", folder / "pages", licence="none")]
    made = Bundle(sections, "[run]\nsubject = 'subject'\n")
    make_bundle(made, folder / "carry", say=lambda line: None, volume_size=1 << 16)


def verify_bundle(folder: Path) -> None:
    from neurolocal.bundle import verify

    verify(folder / "carry.volumes")


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a store, and pages to import or to bundle."""
    folder = tmp_path_factory.mktemp("before")
    PlainStore().write(folder / "s.h5")
    pages = import_twins.corpus(np.random.default_rng(0), 12, words=import_twins.ENGLISH)
    import_twins.write(folder / "pages", pages[:2])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEUROLOCAL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield folder


def killed_twice(work: Work, before: Path, folder: Path) -> None:
    """Kill at several moments, and each time once more at the next write; compare what a last run leaves."""
    here = folder / "here"  # stores name paths

    def fresh() -> None:
        shutil.rmtree(here, ignore_errors=True)
        shutil.copytree(before, here)

    fresh()
    work(here)  # imports, which every fork has then
    fresh()
    n = run(work, here)
    wanted = contents(here)
    assert n > 2
    assert differing(contents(before), wanted), "it wrote nothing"
    for kill in sorted({1, n // 2, n - 1}):
        fresh()
        assert run(work, here, kill=kill) == kill
        run(work, here, kill=kill + 1)
        run(work, here)
        assert differing(contents(here), wanted) == [], f"after a kill before write {kill} of {n}"


@pytest.mark.parametrize("work", [judge, report, site, import_pages, bundle], ids=lambda work: work.__name__)
def test_killed_twice_before_a_write(work: Work, before: Path, tmp_path: Path) -> None:
    killed_twice(work, before, tmp_path)


def test_a_journal_is_removed_where_a_kill_came_after_its_table(before: Path, tmp_path: Path) -> None:
    here = Path(shutil.copytree(before, tmp_path / "here"))
    judge(here)
    for name in ("s.h5.verdict-2.jsonl", "s.h5.verdict-3.jsonl"):
        (here / name).write_text("{}\n")
    judge(here)
    assert [path.name for path in here.glob("*.jsonl")] == ["s.h5.verdict-3.jsonl"], "layer 3 has no table"


@pytest.mark.parametrize("kind", ["parquet", "csv", "neuron-records", "neuronpedia"])
def test_an_export_killed_twice_before_a_write(kind: str, before: Path, tmp_path: Path) -> None:
    killed_twice(partial(export, kind), before, tmp_path)


def test_a_bundle_that_is_put_together_is_killed(before: Path, tmp_path: Path) -> None:
    made = Path(shutil.copytree(before, tmp_path / "made"))
    bundle(made)
    killed_twice(verify_bundle, made, tmp_path)


@pytest.mark.slow
def test_a_merge_is_killed(fixtures: Path, tmp_path: Path) -> None:
    from neurolocal.subject import load_subject

    subject, corpus, parts = load_subject(fixtures / "stories260k", device="cpu"), tmp_path / "c.jsonl", tmp_path / "p"
    corpus.write_text("\n".join(small_collection.lines(12)))
    for shard in (0, 1):
        small_collection.run(subject, corpus, parts / f"{shard}.h5", shard=shard, shards=2, layers=(0,))
    killed_twice(merge, parts, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="soak.py mounts file systems: it needs root")
def test_every_stage_killed_twice_before_a_write(fixtures: Path, stories_gguf: Path, tmp_path: Path) -> None:
    """By the command line, each command once: killed before its 4th write, then before its 6th."""
    options = ["--faults", "kill", "--writes", "4,6", "--attempts", "23", "--keep", tmp_path / "failed"]
    command = [sys.executable, ROOT / "scripts" / "soak.py", *options]
    environment = os.environ | {"NEUROLOCAL_FIXTURES": str(fixtures), "TMPDIR": str(tmp_path)}
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
