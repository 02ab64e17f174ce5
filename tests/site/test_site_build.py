"""Writing the site: every file, by several processes, only what changed, whole or not at all."""

from __future__ import annotations

import os
import shutil
import signal
from functools import partial
from pathlib import Path

import pytest
from site_twins import SmallStore, opened, small
from small_run import neurolocal

from neurolocal.errors import NeurolocalError, StoreError
from neurolocal.records import SummaryTable
from neurolocal.site import build
from neurolocal.site.build import MARK, write_site
from neurolocal.site.pages import Pages
from neurolocal.site.written import LIST
from neurolocal.store import Store, add_evidence


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def dies(names: object) -> int:
    """What the system does to a process that takes too much memory."""
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def test_every_file_is_written_once(tmp_path: Path) -> None:
    made = Pages(opened())
    built = write_site(small(), tmp_path / "a" / "site", processes=1, bar=False)
    found = files(tmp_path / "a" / "site")
    assert found.pop(MARK)
    assert found.pop(LIST).decode().split() == sorted(found)
    assert found == {name: made.read(name) for name in made.names()}
    assert built == (len(found), len(found), 24, 0)
    assert write_site(small(), tmp_path / "a" / "site", processes=1, bar=False) == (len(found), 0, 24, 0)


def test_only_what_changed_is_written_again(tmp_path: Path) -> None:
    path, folder = Path(shutil.copy(small(), tmp_path)), tmp_path / "site"
    write_site(path, folder, processes=1, bar=False)
    with Store(path) as store:
        table = store.evidence("summary", 5)
    described = list(table.description)
    described[0] = "something else"
    changed = SummaryTable(**{**vars(table), "description": described})
    add_evidence(path, [("summary", 5, "largest", changed, {})], site="post")
    times = {p: p.stat().st_mtime_ns for p in folder.rglob("*.html")}
    built = write_site(path, folder, processes=1, bar=False)
    neuron = int(table.neuron[0])
    again = {str(p.relative_to(folder)) for p, time in times.items() if p.stat().st_mtime_ns != time}
    assert again <= {f"neuron/5/{neuron}.html", "layer/5/index.html"}
    assert f"neuron/5/{neuron}.html" in again
    assert b"something else" in (folder / f"neuron/5/{neuron}.html").read_bytes()
    assert 0 < built.written <= 4  # the table and the words of descriptions, too


def test_pages_that_are_no_longer_chosen_are_removed_and_nothing_else(tmp_path: Path) -> None:
    folder, outside = tmp_path / "site", tmp_path / "outside"
    write_site(small(), folder, processes=1, bar=False)
    (folder / "neuron" / "2" / "mine.html").write_text("x")
    outside.mkdir()
    for name in ("neuron/2/9.html", "search.html"):
        (outside / Path(name).name).write_text("x")
    shutil.rmtree(folder / "layer" / "2")
    (folder / "layer" / "2").symlink_to(outside)
    (outside / "index.html").write_text("x")
    with (folder / LIST).open("a") as file:
        file.write("../outside/9.html\n/etc/hosts\nneuron/2/mine.html\nassets/ask.js\n")
    built = write_site(small(), folder, layers=[5], neurons=[0, 1], processes=1, bar=False)
    made = Pages(opened(), layers=[5], neurons=[0, 1])
    found = files(folder)
    assert built.removed >= 22
    assert found.pop(MARK)
    assert found.pop(LIST).decode().split() == sorted(made.names())
    assert found.pop("neuron/2/mine.html") == b"x"
    assert {name for name in found if not name.startswith("layer/2/")} == set(made.names())
    assert sorted(files(outside)) == ["9.html", "index.html", "search.html"]


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(NeurolocalError, match="holds something else"):
        write_site(small(), tmp_path, processes=1, bar=False)
    assert files(tmp_path) == {"thesis.tex": b"x"}
    with pytest.raises(NeurolocalError, match="making the folder"):
        write_site(small(), tmp_path / "thesis.tex" / "site", processes=1, bar=False)


def test_a_build_that_was_killed_before_its_mark_is_begun_again(tmp_path: Path) -> None:
    left = tmp_path / "site" / "assets" / ".site.json.host-1.partial"
    left.parent.mkdir(parents=True)
    left.write_text("{")
    assert write_site(small(), tmp_path / "site", layers=[5], neurons=[0], processes=1, bar=False).neurons == 1
    left.parent.joinpath("site.json").unlink()
    with pytest.raises(NeurolocalError, match="holds something else"):
        write_site(small(), tmp_path / "site", processes=1, bar=False)


def test_a_file_in_the_place_of_a_folder_is_said(tmp_path: Path) -> None:
    write_site(small(), tmp_path, layers=[5], neurons=[0], processes=1, bar=False)
    shutil.rmtree(tmp_path / "rows")
    (tmp_path / "rows").write_text("x")
    with pytest.raises(NeurolocalError, match=r"making the site's folder .*rows: File exists"):
        write_site(small(), tmp_path, layers=[5], neurons=[0], processes=1, bar=False)


def test_an_interrupted_build_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written, real = [], build._write

    def stops(path: Path, content: bytes) -> bool:
        written.append(path)
        if len(written) == 9:
            raise KeyboardInterrupt
        return real(path, content)

    monkeypatch.setattr(build, "_write", stops)
    with pytest.raises(KeyboardInterrupt):
        write_site(small(), tmp_path / "site", processes=1, bar=False)
    monkeypatch.undo()
    assert not [name for name in files(tmp_path / "site") if "partial" in name]
    built = write_site(small(), tmp_path / "site", processes=1, bar=False)
    assert built.written == built.files - 7


@pytest.mark.slow
def test_several_processes_write_what_one_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = SmallStore(layers=(0, 1), neurons=300, k=2).write(tmp_path / "more.h5")
    one = write_site(path, tmp_path / "one", processes=1, bar=False)
    two = write_site(path, tmp_path / "two", processes=2, bar=False)
    assert one == two
    assert two.files > 3 * build.TOGETHER
    assert files(tmp_path / "one") == files(tmp_path / "two")


@pytest.mark.slow
def test_a_process_that_dies_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "TOGETHER", 16)
    monkeypatch.setattr(build, "_write_part", dies)
    with pytest.raises(NeurolocalError, match=r"a process ended before its work.*--processes 1"):
        write_site(small(), tmp_path / "site", processes=2, bar=False)


@pytest.mark.slow
def test_a_store_that_a_process_cannot_open_is_an_error_of_the_build(tmp_path: Path, capfd) -> None:
    (tmp_path / "cut.h5").write_bytes(b"no store")
    make = partial(build.PageWriter, tmp_path / "cut.h5", tmp_path / "site", None, {})
    with pytest.raises(StoreError, match="it is no whole HDF5 file"), build._processes(2, make, tmp_path) as pool:
        pool.submit(build._write_part, ("a",)).result()
    assert "Traceback" not in capfd.readouterr().err


def test_the_command(tmp_path: Path) -> None:
    done = neurolocal("site", small(), "out", "--layers", "5", "--top", "3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "site: out/index.html (3 neurons;" in done.stderr
    assert len(list((tmp_path / "out" / "neuron").rglob("*.html"))) == 3
    done = neurolocal("site", small(), ".", "--layers", "5", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
