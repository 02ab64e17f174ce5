"""What verify accepts and refuses; it runs as a single file of the standard library alone."""

from __future__ import annotations

import ast
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from bundle_twins import TEXTS, change, small_bundle, write_corpus

import neurolocal
from neurolocal.bundle import BundleError, verify
from neurolocal.bundle.verify import commands, notes, readable

VERIFY = Path(neurolocal.__file__).parent / "bundle" / "verify.py"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    return small_bundle(folder / "bundle", write_corpus(folder / "texts"))


@pytest.fixture(scope="module")
def cut(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cut")
    return small_bundle(folder / "bundle", write_corpus(folder / "texts"), volume_size=100_000)


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "bundle")


@pytest.fixture
def volumes(cut: Path, tmp_path: Path) -> Path:
    return shutil.copytree(cut, tmp_path / "volumes")


def alone(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The copy of verify.py in a bundle, by a Python without packages."""
    command = [sys.executable, "-I", "-S", folder / "verify.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


def texts(folder: Path) -> dict[str, str]:
    return {name: (folder / "corpus" / "texts" / name).read_text(encoding="utf-8") for name in TEXTS}


def test_a_whole_bundle(bundle: Path) -> None:
    manifest = verify(bundle)
    assert [entry["size"] for entry in manifest["files"]] == [len(TEXTS[name]) for name in sorted(TEXTS, key=key)]
    done = alone(bundle)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["4 files, 380 kB: all as listed", f"manifest {manifest['sha256']}"]


def key(name: str) -> list[str]:
    return name.split("/")


def test_volumes_are_put_together(volumes: Path) -> None:
    assert sorted(path.stat().st_size for path in volumes.glob("volume-*")) == [80_004, 100_000, 100_000, 100_000]
    done = alone(volumes)
    assert done.returncode == 0, done.stderr
    assert "joining 4 volumes: 4 files, 380 kB" in done.stdout
    assert texts(volumes) == TEXTS
    for path in volumes.glob("volume-*"):  # joined once, they are not needed again
        path.unlink()
    verify(volumes)


def test_a_stopped_join_resumes(volumes: Path) -> None:
    verify(volumes)
    (volumes / "corpus/texts/three.txt").rename(volumes / "corpus/texts/three.txt.partial")
    before = (volumes / "corpus/texts/a/b/two.txt").stat().st_mtime_ns
    verify(volumes)
    assert texts(volumes) == TEXTS
    assert (volumes / "corpus/texts/a/b/two.txt").stat().st_mtime_ns == before
    assert not list(volumes.rglob("*.partial"))


def test_a_damaged_volume_is_named_and_nothing_takes_its_place(volumes: Path) -> None:
    with (volumes / "volume-0003").open("r+b") as file:
        file.seek(70_000)
        file.write(b"?")
    with pytest.raises(BundleError, match=r"volume-0003 is damaged\. Copy it again"):
        verify(volumes)
    assert not list(volumes.rglob("*.partial"))
    assert not (volumes / "corpus/texts/three.txt").exists()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: path.unlink(), r"volume-0002: No such file or directory\. Copy it again"),
        (lambda path: os.truncate(path, 99_999), "99,999 bytes; expected 100,000"),
    ],
)
def test_a_volume_that_is_not_whole(damage, says: str, volumes: Path) -> None:
    damage(volumes / "volume-0002")
    with pytest.raises(BundleError, match=says):
        verify(volumes)


ONE = "corpus/texts/a/one.txt"


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def linked_folder(path: Path) -> None:
    shutil.move(path.parent, path.parents[4] / "elsewhere")
    path.parent.symlink_to(path.parents[4] / "elsewhere")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: path.write_text("two\n"), "its SHA-256 is .*; expected"),
        (lambda path: path.write_text("on\n"), "3 bytes; expected 4"),
        (lambda path: path.unlink(), "corpus/texts/a/one.txt is missing"),
        (link, "one.txt is a link or no plain file"),
        (linked_folder, "corpus/texts/a is a link or no plain file"),
        (pipe, "one.txt is a link or no plain file"),
        (folder, "expected 4"),
        (
            lambda path: path.with_name("more.whl").write_text(""),
            r"1 files are not in the manifest \(corpus/texts/a/more",
        ),
        (lambda path: path.with_name("x\x1b[2J").write_text(""), r"\\x1b\[2J"),
        (lambda path: path.with_name("x.partial").write_text(""), "not in the manifest"),
        (lambda path: path.with_name("one.txt.partial").write_text(""), "not in the manifest"),
        (lambda path: path.parents[3].joinpath("verify.py").write_text(""), "not the one that the manifest names"),
    ],
)
def test_a_damaged_folder(damage, says: str, bundle: Path) -> None:
    damage(bundle / ONE)
    with pytest.raises(BundleError, match=says) as error:
        verify(bundle)
    assert "\x1b" not in str(error.value)
    assert alone(bundle).returncode == 1 or says.startswith("not the one")


BAD_PATHS = [
    "../out.txt",
    "/etc/passwd",
    "a/../../out",
    "a//b",
    "./a",
    "a/.",
    "",
    "C:/out",
    "a\\..\\out",
    "a\nb",
    "a\x00b",
    "a\ud800b",
    "nul",
    "a/COM1.txt",
    "a ",
    "a.",
    "x" * 201,
    "manifest.json",
    "Verify.PY",
    "corpus/texts/A/ONE.txt",
    "corpus/texts/a",
    "corpus",
    7,
    None,
    ["a"],
]


@pytest.mark.parametrize("path", BAD_PATHS)
def test_a_path_that_cannot_be(path, bundle: Path, tmp_path: Path) -> None:
    change(bundle, lambda manifest: manifest["files"][3].update(path=path))
    before = set(tmp_path.rglob("*"))
    with pytest.raises(BundleError, match=r"path .*(occurs twice|may lead out|is a file and a folder|no text of 1)"):
        verify(bundle)
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("path", BAD_PATHS)
def test_a_path_of_volumes_that_cannot_be(path, volumes: Path, tmp_path: Path) -> None:
    change(volumes, lambda manifest: manifest["files"][1].update(path=path))
    before = set(tmp_path.rglob("*"))
    with pytest.raises(BundleError):
        verify(volumes)
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda m: m.update(format="zip"), "format is not neurolocal-bundle"),
        (lambda m: m.update(version=2), "its version is not 1; use the verify.py beside it"),
        (lambda m: m.pop("files"), "'files' is missing"),
        (lambda m: m.update(files=[]), "no files, or more"),
        (lambda m: m.update(files={}), "is no list"),
        (lambda m: m["files"].append(dict(m["files"][0])), "occurs twice"),
        (lambda m: m["files"].append("corpus"), "a file that is no object"),
        (lambda m: m["files"][0].update(size=-1), "the size of .* is -1"),
        (lambda m: m["files"][0].update(size=True), "the size of .* is True"),
        (lambda m: m["files"][0].update(size=2**60), "the size of"),
        (lambda m: m["files"][0].update(size=4.0), "the size of .* is 4.0"),
        (lambda m: m["files"][0].update(sha256="ABC"), "the SHA-256 of .* is none"),
        (lambda m: m["files"][0].pop("licence"), "'licence' is missing"),
        (lambda m: m["files"][0].update(origin=[]), "origin of a file is no short text"),
        (
            lambda m: m.update(volumes=[{"path": "v", "size": 1, "sha256": "0" * 64}]),
            "volumes and files differ in size",
        ),
        (lambda m: m.update(volumes=[{"path": "v/1", "size": 1, "sha256": "0" * 64}]), "a volume in a folder"),
        (lambda m: m.update(install="neurolocal; rm -rf /"), "install is neurolocal; rm"),
        (lambda m: m.update(install="--index-url=http://x"), "install is"),
        (lambda m: m.update(python="3.11; true"), "python is 3.11; true"),
        (lambda m: m.update(run="../RUN.toml"), "run is not a file of it"),
        (lambda m: m.update(platform="a b"), "platform is a b"),
    ],
)
def test_a_manifest_that_cannot_be(edit, says: str, bundle: Path) -> None:
    change(bundle, edit)
    with pytest.raises(BundleError, match=says):
        verify(bundle)
    assert alone(bundle).stderr.startswith("error: ")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "no JSON as expected"),
        (b"\xff\xfe", "no JSON as expected"),
        (b"[" * 100_000, "no JSON as expected"),
        (b'{"format": 1, "format": 2}', "a name that occurs twice"),
        (b'{"format": NaN}', "format is not"),
        (b"[]", "it is no object"),
        (b'{"files": ' + b"9" * 10_000 + b"}", "no JSON as expected|is missing"),
        (b" " * ((1 << 24) + 1), "a manifest has at most 16,777,216"),
    ],
)
def test_a_manifest_that_is_none(text: bytes, says: str, bundle: Path) -> None:
    (bundle / "manifest.json").write_bytes(text)
    with pytest.raises(BundleError, match=says):
        verify(bundle)


def test_no_manifest_or_a_link(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"No such file or directory\. Give the folder of a bundle"):
        verify(tmp_path)
    shutil.move(bundle / "manifest.json", tmp_path / "m.json")
    (bundle / "manifest.json").symlink_to(tmp_path / "m.json")
    with pytest.raises(BundleError, match="it is a link"):
        verify(bundle)


def test_another_manifest_than_the_one_that_was_announced(bundle: Path) -> None:
    right = verify(bundle)["sha256"]
    assert alone(bundle, "--manifest-sha256", right.upper()).returncode == 0
    done = alone(bundle, "--manifest-sha256", "0" * 64)
    assert done.returncode == 1
    assert "This is another bundle" in done.stderr


def test_commands_are_quoted(tmp_path: Path) -> None:
    manifest = {"install": "neurolocal[all]==0.1.0", "python": "3.12", "platform": "linux_x86_64", "run": "RUN.toml"}
    install, run = commands(tmp_path / "a b" / "$(x)", manifest)
    there = tmp_path / "a b"
    assert install.startswith(
        f"python3.12 -m venv '{there}/venv' && '{there}/venv/bin/python' -m pip --isolated install"
    )
    assert f"--find-links '{there}/$(x)/wheels' 'neurolocal[all]==0.1.0'" in install
    assert run == f"'{there}/venv/bin/neurolocal' run '{there}/$(x)/RUN.toml'"


@pytest.mark.parametrize(
    ("here", "machine", "fit", "other"),
    [
        ("linux-x86_64", "x86_64", "manylinux_2_28_x86_64", "macosx_14_0_x86_64"),
        ("linux-aarch64", "aarch64", "manylinux2014_aarch64", "manylinux2014_x86_64"),
        ("macosx-10.9-universal2", "arm64", "macosx_14_0_arm64", "macosx_14_0_x86_64"),
        ("macosx-10.9-x86_64", "x86_64", "macosx_10_9_universal2", "macosx_14_0_arm64"),
        ("win-amd64", "AMD64", "win_amd64", "win_arm64"),
    ],
)
def test_wheels_for_another_machine_are_noted(here, machine, fit, other, monkeypatch) -> None:
    monkeypatch.setattr(sysconfig, "get_platform", lambda: here)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert notes({"python": None, "platform": None}) == notes({"python": None, "platform": fit}) == []
    assert notes({"python": None, "platform": other}) == [f"note: the wheels are for {other}; this machine is {here}"]


def test_verify_is_one_file_for_old_pythons() -> None:
    tree = ast.parse(VERIFY.read_text(encoding="utf-8"), feature_version=(3, 8))
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {(n.module or "") if isinstance(n, ast.ImportFrom) else n.names[0].name for n in nodes}
    assert {name.partition(".")[0] for name in names} <= set(sys.stdlib_module_names)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (2_340_000_000, "2.34 GB"), (10**15, "1e+03 TB")]
)
def test_readable(size: int, text: str) -> None:
    assert readable(size) == text
