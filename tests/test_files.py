"""Files appear whole or not at all; leftovers of dead processes are removed; the cache is where it is said to be."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from neurolocal import files
from neurolocal.errors import NeurolocalError, StoreError
from neurolocal.files import (
    append_line,
    cache_folder,
    file_sha256,
    readable_path,
    remove_leftovers,
    replacing,
    require_place,
    write_text,
)


def test_text_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_text(path, "first\n")
    write_text(path, "se\u00e9cond\r\n")
    assert path.read_bytes() == "se\u00e9cond\r\n".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_block_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_text(path, "kept")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "half \ud800")
    assert path.read_text() == "kept"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("durable", [True, False])
def test_a_full_disk_is_one_line_of_the_error_asked_for(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "a.json"
    write_text(path, "kept")
    with (
        pytest.raises(StoreError, match=r"saving .*a\.json: the disk is full\. [\d,]+ MiB are free\. Try again\.$"),
        replacing(path, doing="saving", todo="Try again.", error=StoreError, durable=durable),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert path.read_text() == "kept"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(NeurolocalError, match=r"writing .*: No such file or directory\. Make the folder, or choose"):
        write_text(tmp_path / "no" / "a.json", "x")


def test_a_kill_leaves_the_old_file_and_the_next_write_cleans_up(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_text(path, "old")
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom neurolocal.files import replacing\n"
        f"with replacing(Path({str(path)!r})) as beside:\n    beside.write_text('half')\n"
        "    print('ready', flush=True)\n    time.sleep(900)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        running.send_signal(signal.SIGKILL)
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
    write_text(path, "new")
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "new"


def test_a_probe_that_was_killed_is_removed_by_the_next(tmp_path: Path) -> None:
    code = (
        "import os, signal\nfrom pathlib import Path\nfrom neurolocal.files import require_place\n"
        "Path.unlink = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"require_place(Path({str(tmp_path / 'new' / 'a.h5')!r}), doing='collecting into')\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    require_place(tmp_path / "new" / "a.h5", doing="collecting into")
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_dead_processes_are_removed_in_all_folders(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    (tmp_path / "a" / "b").mkdir(parents=True)
    with replacing(tmp_path / "a" / "b" / "page.html", durable=False) as mine:
        mine.write_text("mine")
        of = {
            pid: mine.with_name(mine.name.replace(f"-{os.getpid()}.", f"-{pid}.")) for pid in (dead.pid, os.getppid())
        }
        for path in of.values():
            path.write_text("half")
        (tmp_path / ".notes.partial").write_text("the user's")
        remove_leftovers(tmp_path)
        assert mine.exists()
    assert not of[dead.pid].exists()
    assert of[os.getppid()].exists()
    assert (tmp_path / ".notes.partial").exists()


def test_a_line_is_appended_or_the_error_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, how = tmp_path / "j", {"doing": "keeping", "todo": "Free some.", "error": StoreError}
    append_line(path, "a", **how)
    append_line(path, "\u00e9", **how)
    assert path.read_bytes() == "a\n\u00e9\n".encode()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(StoreError, match=r"keeping .*: the disk is full\. [\d,]+ MiB are free\. Free some\."):
        append_line(path, "c", **how)


def test_the_file_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with replacing(path) as mine:
        mine.write_text("mine")
        other = mine.with_name(mine.name.replace(f"-{os.getpid()}.", f"-{os.getppid()}."))
        other.write_text("another's")
        write_text(tmp_path / "b.json", "x")
        with replacing(path) as again:
            again.write_text("again")
        mine.write_text("mine")
    assert other.read_text() == "another's"


def test_the_hash_is_of_the_content_and_follows_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    monkeypatch.setenv("NEUROLOCAL_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "a.bin"
    path.write_bytes(b"one")
    assert file_sha256(path) == hashlib.sha256(b"one").hexdigest() == file_sha256(path)
    time.sleep(0.01)
    path.write_bytes(b"two")
    assert file_sha256(path) == hashlib.sha256(b"two").hexdigest()
    before = path.stat()
    time.sleep(0.01)
    path.write_bytes(b"six")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as rsync --inplace --times does
    assert file_sha256(path) == hashlib.sha256(b"six").hexdigest()


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROLOCAL_CACHE", str(tmp_path / "own"))
    assert cache_folder("a", "b") == tmp_path / "own" / "a" / "b"
    monkeypatch.delenv("NEUROLOCAL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder("a") == tmp_path / "xdg" / "neurolocal" / "a"
    assert (tmp_path / "xdg" / "neurolocal" / "a").is_dir()


def test_without_a_home_or_with_a_read_only_one_the_cache_is_a_temporary_folder(tmp_path, monkeypatch, caplog) -> None:
    for name in ("NEUROLOCAL_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(files.tempfile, "gettempdir", lambda: str(tmp_path))

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    files._temporary_cache.cache_clear()
    assert cache_folder("a").parent.parent == tmp_path
    assert cache_folder("b").is_dir()
    (said,) = [record.getMessage() for record in caplog.records]
    assert said == (
        f"the cache is {cache_folder('b').parent}, since there is no home folder; "
        "set NEUROLOCAL_CACHE to keep it elsewhere"
    )
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".cache").touch()  # a file, so nothing can be made below it
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert cache_folder("a").parent.parent == tmp_path
    assert "home/.cache/neurolocal: Not a directory" in caplog.records[-1].getMessage()


def test_a_cache_that_was_asked_for_and_cannot_be_is_an_error(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("NEUROLOCAL_CACHE", str(tmp_path / "file" / "x"))
    with pytest.raises(NeurolocalError, match=r"making the cache folder .*: Not a directory.* Set NEUROLOCAL_CACHE"):
        cache_folder("a")


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("file/a.h5", "is a file, not a folder"),
        ("file/b/c/a.h5", "is a file, not a folder"),
        ("folder", "it is a folder, not a file"),
        ("a/" * 2500 + "a.h5", "File name too long"),
        ("a" * 300, "File name too long"),
        ("\0", "null"),
    ],
)
def test_a_place_where_nothing_can_be_written(place: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match=says) as caught:
        require_place(tmp_path / place, doing="collecting into", error=StoreError)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="Permission denied") as caught:
        require_place(tmp_path / "a.h5", doing="collecting into", error=StoreError)
    assert "MiB are free" not in str(caught.value)


def test_a_place_that_can_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "old.h5").write_text("old")
    for place in ("old.h5", "new.h5", "no/such/folder/new.h5"):
        require_place(tmp_path / place, doing="collecting into")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("old.h5", "old")]


@pytest.mark.parametrize("text", ["a/" * 2500, "\0"])
def test_a_path_that_the_system_cannot_look_at(text: str) -> None:
    with pytest.raises(StoreError, match="Give another path"):
        readable_path(text, error=StoreError)


def test_processes_are_not_asked_for_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """There, signal 0 is Ctrl-C."""

    def asked(*_: object) -> None:
        raise AssertionError("a signal was sent")

    monkeypatch.setattr(files.os, "kill", asked)
    monkeypatch.setattr(files.os, "name", "nt")
    assert files._runs(1)
