"""However a command ends, it is one line: unexpected errors, panics, no memory; and on any terminal."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from neurolocal.errors import NeurolocalError

entry = importlib.import_module("neurolocal.cli.main")

CODE = "from neurolocal.cli.main import main; main()"


class Panic(BaseException):
    """As a panic of a Rust library is raised."""


def ended(error: BaseException, folder: Path | None = None) -> int | str | None:
    """The exit code after an error, with a folder for temporary files."""

    def fail(**how: object) -> None:
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entry.cli, "main", fail)
        if folder is not None:
            patch.setattr("tempfile.tempdir", str(folder))
        with pytest.raises(SystemExit) as caught:
            entry.main()
    return caught.value.code


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (KeyError("a\nb"), "unexpected KeyError: 'a"),
        (Panic("index out of bounds"), "unexpected Panic: index out of bounds"),
        (RecursionError("too deep"), "unexpected RecursionError: too deep"),
        (OSError(36, "File name too long"), "File name too long"),
        (UnicodeEncodeError("ascii", "\u2026", 0, 1, "no"), "unexpected UnicodeEncodeError"),
        (
            MemoryError("Unable to allocate 85 PiB"),
            "out of memory (Unable to allocate 85 PiB). Choose smaller settings",
        ),
    ],
)
def test_an_unexpected_error_is_one_line_and_its_traceback_a_file(error, says, capfd, tmp_path) -> None:
    assert ended(error, tmp_path) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert says in line
    (file,) = tmp_path.iterdir()
    assert str(file) in line
    text = file.read_text(encoding="utf-8")
    assert "Traceback (most recent call last)" in text
    assert "in fail" in text


def test_no_place_for_the_traceback(capfd, tmp_path) -> None:
    assert ended(KeyError("a"), tmp_path / "none") == 1
    assert "the traceback is in no file (No such file or directory)" in capfd.readouterr().err


def test_an_error_shows_nothing_hidden_and_is_not_endless(capfd) -> None:
    assert ended(NeurolocalError("reading \x1b[31m\u202eb:\n no" + "x" * 9000)) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("error: reading ⟨U+001B⟩[31m⟨U+202E⟩b: no")
    assert len(line) < 2100


def test_a_code_of_its_own_is_kept() -> None:
    assert ended(SystemExit(1)) == 1
    assert ended(SystemExit(0)) == 0


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "ascii:strict", "cp437:strict", "utf-8"])
@pytest.mark.parametrize("arguments", [["show", "3", "0"], ["report"], ["report", "--csv"], ["report", "--json"]])
def test_a_terminal_that_lacks_characters(encoding: str, arguments, terminal_store: Path) -> None:
    command, *rest = arguments
    done = subprocess.run(
        [sys.executable, "-c", CODE, command, str(terminal_store), *rest],
        env=os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""
    text = done.stdout.decode("utf-8" if "--csv" in arguments else encoding.removesuffix(":strict"))
    assert "layer" in text
    if arguments == ["report", "--csv"]:
        assert "\u65e5\u672c \u2026" in text  # data is UTF-8 wherever it goes
    if arguments == ["report"] and encoding == "utf-8":
        assert "\u65e5\u672c \u2026" in text


@pytest.fixture(scope="module")
def terminal_store(made: Path, tmp_path_factory) -> Path:
    """A store with a description that no 8-bit encoding has."""
    import numpy as np

    from neurolocal.records import SummaryTable
    from neurolocal.store import add_evidence

    path = tmp_path_factory.mktemp("terminal") / "store.h5"
    path.write_bytes((made / "store.h5").read_bytes())
    text, none = ["\u65e5\u672c \u2026"], [""]
    table = SummaryTable(np.array([0]), text, ["counts"], none, none, np.zeros(1, np.float32), none, none, none)
    add_evidence(path, [("summary", 3, "largest", table, {})], site="post")
    return path
