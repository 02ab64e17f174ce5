"""Whatever a manifest says, verify answers with an error of its own and touches nothing outside the folder."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from bundle_twins import small_bundle, write_corpus
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neurolocal.bundle import BundleError, verify

SCALARS = st.none() | st.booleans() | st.integers(-2, 2**64) | st.floats() | st.text(max_size=12)
HOSTILE = st.sampled_from(
    ["..", "../x", "/etc/passwd", "a/../../b", "C:\\x", "con", "a\x00", "volume-0001", "verify.py", ""]
)
VALUES = st.recursive(
    SCALARS | HOSTILE, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("made")
    made = small_bundle(folder / "b", write_corpus(folder / "texts"), volume_size=1 << 18)
    return json.loads((made / "manifest.json").read_text())


@st.composite
def edits(draw: Any) -> list[tuple[str, Any, str, Any]]:
    """Changes: of the manifest, a file or a volume, which field, and its new value."""
    names = ("format", "version", "python", "platform", "install", "run", "files", "volumes", "path", "size", "sha256")
    one = st.tuples(st.sampled_from(["", "files", "volumes"]), st.integers(0, 3), st.sampled_from(names), VALUES)
    return draw(st.lists(one, min_size=1, max_size=3))


@given(edits())
@settings(max_examples=150, suppress_health_check=list(HealthCheck))
def test_an_edited_manifest(manifest: dict[str, Any], changes: list[Any]) -> None:
    found = json.loads(json.dumps(manifest))
    for where, number, name, value in changes:
        place = found.get(where) if where else found
        if isinstance(place, list):
            place = place[number % len(place)] if place else {}
        if isinstance(place, dict):
            place[name] = value
    _refused_or_missing(json.dumps(found).encode())


@given(st.binary(max_size=300) | VALUES.map(lambda value: json.dumps(value).encode()))
@settings(max_examples=150)
def test_any_bytes(data: bytes) -> None:
    _refused_or_missing(data)


def _refused_or_missing(data: bytes) -> None:
    """The folder holds a manifest alone, so even a right one lacks its volumes."""
    with tempfile.TemporaryDirectory() as outside:
        folder = Path(outside) / "bundle"
        folder.mkdir()
        (folder / "manifest.json").write_bytes(data)
        with pytest.raises(BundleError) as error:
            verify(folder)
        assert "\n" not in str(error.value)
        assert "\x00" not in str(error.value)
        assert [path.name for path in Path(outside).rglob("*")] == ["bundle", "manifest.json"]
