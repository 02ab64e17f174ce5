"""What origins state of licences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from package_twins import wheel

from neurolocal.bundle.licences import licence_of_metadata, licence_of_path, licence_of_wheel


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ({"license_expression": "MIT", "license": "other"}, "MIT"),
        ({"license": "BSD-3-Clause"}, "BSD-3-Clause"),
        ({"license": "Copyright\nmany lines", "classifier": ["License :: OSI Approved :: BSD License"]}, "BSD License"),
        ({"license": "Copyright (c) A\nmany lines"}, "Copyright (c) A"),
        ({"license": "", "classifier": ["Topic :: X"]}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_of_metadata(metadata: dict[str, Any], licence: str) -> None:
    assert licence_of_metadata(metadata) == licence


def test_of_a_wheel(tmp_path: Path) -> None:
    name, data = wheel("a", "1", {})
    (tmp_path / name).write_bytes(data)
    assert licence_of_wheel(tmp_path / name) == "MIT"
    (tmp_path / name).write_bytes(b"no zip")
    assert licence_of_wheel(tmp_path / name) == "unknown"


def test_of_a_folder_and_its_card(tmp_path: Path) -> None:
    assert licence_of_path(tmp_path) == "unknown"
    (tmp_path / "COPYING").write_text("text")
    assert licence_of_path(tmp_path) == "see COPYING"
    (tmp_path / "README.md").write_text("---\nlicense: [mit, cc-by-4.0]\n---\n")
    assert licence_of_path(tmp_path) == "mit, cc-by-4.0"
    (tmp_path / "README.md").write_text("---\n: [\n---\n")
    assert licence_of_path(tmp_path) == "see COPYING"


def test_of_a_gguf(smol_gguf: Path, tmp_path: Path) -> None:
    assert licence_of_path(smol_gguf) == "apache-2.0"
    (tmp_path / "a.gguf").write_bytes(b"GGUF" + b"\xff" * 40)
    assert licence_of_path(tmp_path / "a.gguf") == "unknown"
