"""A site whose files are written by workers: that of one process, byte for byte, whatever fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import zstandard
from click.testing import CliRunner
from task_twins import DIE, NEVER, Fault, ThreadPool

from neurolocal.cli.site import site as command
from neurolocal.config import ScaleConfig
from neurolocal.errors import ConfigError, NeurolocalError
from neurolocal.scale.cluster import ScaleError
from neurolocal.scale.deal import Dealer
from neurolocal.scale.pages import Files, SiteWorker, pages_on_ray
from neurolocal.site.build import Deal, FileCounts, PageWriter, write_site
from neurolocal.stage import Failure

pytest.importorskip("jinja2")

PACKED = Path(__file__).parents[1] / "store" / "golden_0_1_0" / "store.h5.zst"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "s.h5"
    with zstandard.open(PACKED, "rb") as packed:
        path.write_bytes(packed.read())
    return path


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neurolocal.site.build.TOGETHER", 5)


def threads(fault: Fault = lambda *_: None) -> Deal:
    """Two workers that are threads."""

    def deal(make: Callable[[], PageWriter], parts: Iterator[tuple[str, ...]]) -> Iterator[Any]:
        pool = ThreadPool(lambda: SiteWorker(make, threads=None), fault)
        dealer = Dealer(pool, ScaleConfig(engine="ray", slow=NEVER), workers=2, name="site", say=lambda line: None)
        for task, written in dealer.answers(map(Files, parts)):
            yield task.names, None if isinstance(written, Failure) else written

    return deal


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_site_is_that_of_one_process(store: Path, tmp_path: Path) -> None:
    one = write_site(store, tmp_path / "one", processes=1, bar=False)
    tried: list[str] = []
    calls = count()

    def fault(worker: int, method: str, arguments: tuple[Any, ...]) -> Any:
        if method != "do":
            return None
        tried.append(arguments[0].names[0])
        return DIE if next(calls) == 1 else None

    shared = write_site(store, tmp_path / "shared", deal=threads(fault), bar=False)
    assert files(tmp_path / "shared") == files(tmp_path / "one")
    assert (shared.files, shared.neurons, shared.removed) == (one.files, one.neurons, 0)
    assert len(tried) == len(set(tried)) + 1 > 4
    assert write_site(store, tmp_path / "shared", deal=threads(), bar=False) == FileCounts(one.files, 0, one.neurons, 0)


def test_files_that_cannot_be_written_are_named_and_the_others_are_there(store: Path, tmp_path: Path) -> None:
    def fault(worker: int, method: str, arguments: tuple[Any, ...]) -> Any:
        if method == "do" and "neuron/1/3.html" in arguments[0].names:
            raise MemoryError
        return None

    with pytest.raises(NeurolocalError, match=r"5 files could not be written, from .* on\. The others are there: run"):
        write_site(store, tmp_path / "s", deal=threads(fault), bar=False)
    there = files(tmp_path / "s")
    whole = write_site(store, tmp_path / "s", deal=threads(), bar=False)
    assert whole.written == 5
    assert len(files(tmp_path / "s")) == len(there) + 5


def test_the_command(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("neurolocal.scale.pages.pages_on_ray", lambda scale, *, say: scale)

    def write(*arguments: Any, deal: Any, **more: Any) -> FileCounts:
        asked.append(deal)
        return FileCounts(1, 1, 1, 0)

    monkeypatch.setattr("neurolocal.site.build.write_site", write)
    given = [str(store), str(tmp_path / "s"), "--engine", "ray", "--workers", "2"]
    assert CliRunner().invoke(command, given).exit_code == 0
    assert CliRunner().invoke(command, given[:2]).exit_code == 0
    assert asked == [ScaleConfig(engine="ray", workers=2), None]
    both = CliRunner().invoke(command, [*given, "--processes", "2"])
    assert isinstance(both.exception, ConfigError)
    assert "give --workers in place of --processes" in str(both.exception)


def test_without_ray_the_extra_is_named(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    deal = pages_on_ray(ScaleConfig(engine="ray"), say=print)
    with pytest.raises(ScaleError, match=r"site with --engine ray: .*ray is not installed.*or omit --engine"):
        write_site(store, tmp_path / "s", deal=deal, bar=False)
