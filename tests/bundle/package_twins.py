"""Small packages: wheels, and a source whose build needs no other package."""

from __future__ import annotations

import io
import tarfile
import zipfile

METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nLicense: {licence}\n"

BACKEND = """
import pathlib, zipfile

WHEEL = "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"

def build_wheel(folder, config_settings=None, metadata_directory=None):
    name = "source_only-1.0-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(folder, name), "w") as file:
        file.writestr("source_only.py", "WORD = 'built'")
        info = "source_only-1.0.dist-info/"
        file.writestr(info + "METADATA", pathlib.Path("PKG-INFO").read_text())
        file.writestr(info + "WHEEL", WHEEL)
        file.writestr(info + "RECORD", "")
    return name
"""

PROGRAM = """
import pathlib, sys, tomllib
import source_only, wheel_only

def main():
    run = tomllib.loads(pathlib.Path(sys.argv[2]).read_text())["run"]
    here = pathlib.Path(sys.argv[2]).parent
    store = here / run["store"]
    store.parent.mkdir(exist_ok=True)
    config = (here / run["subject"] / "config.json").read_text()
    store.write_text(" ".join([source_only.WORD, wheel_only.WORD, config]))
"""


def wheel(name: str, version: str, code: dict[str, str], *more: str, tag: str = "py3-none-any") -> tuple[str, bytes]:
    """A wheel's file name and bytes; `more` is further lines of its metadata."""
    out, info = io.BytesIO(), f"{name}-{version}.dist-info/"
    with zipfile.ZipFile(out, "w") as file:
        for path, text in code.items():
            file.writestr(path, text)
        file.writestr(info + "METADATA", METADATA.format(name=name, version=version, licence="MIT") + "\n".join(more))
        file.writestr(info + "WHEEL", f"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: {tag}\n")
        if name == "neurolocal":
            file.writestr(info + "entry_points.txt", "[console_scripts]\nneurolocal = neurolocal.program:main\n")
        file.writestr(info + "RECORD", "")
    return f"{name}-{version}-{tag}.whl", out.getvalue()


def source() -> tuple[str, bytes]:
    """A source's file name and bytes."""
    project = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    files = {"pyproject.toml": project, "backend.py": BACKEND}
    files["PKG-INFO"] = METADATA.format(name="source_only", version="1.0", licence="BSD-3-Clause")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as file:
        for name, text in files.items():
            info = tarfile.TarInfo(f"source_only-1.0/{name}")
            info.size = len(text)
            file.addfile(info, io.BytesIO(text.encode()))
    return "source_only-1.0.tar.gz", out.getvalue()


def packages() -> dict[str, bytes]:
    """neurolocal 9.9, which stands for the program, and what it needs."""
    needs = ("Provides-Extra: all", "Requires-Dist: wheel-only", "Requires-Dist: source-only; extra == 'all'")
    return dict([
        wheel("neurolocal", "9.9", {"neurolocal/__init__.py": "", "neurolocal/program.py": PROGRAM}, *needs),
        wheel("wheel_only", "1.0", {"wheel_only.py": "WORD = 'old'"}),
        wheel("wheel_only", "2.0", {"wheel_only.py": "WORD = 'fetched'"}),
        wheel("wheel_only", "3.0", {"wheel_only.py": "WORD = 'not pinned'"}),
        wheel("wheel_only", "2.0", {"wheel_only.py": "WORD = 'other'"}, tag="cp312-cp312-manylinux_2_17_x86_64"),
        source(),
    ])  # fmt: skip
