"""One version everywhere, and the files that a release must have; the sdist is checked in test_wheel.py."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_citation_names_the_version_and_its_date() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert set(citation) >= {"cff-version", "message", "title", "authors", "license", "date-released"}
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    released = re.search(rf"^## {re.escape(PROJECT['version'])} \((.*)\)$", _read("CHANGELOG.md"), re.MULTILINE)
    assert released is not None, "CHANGELOG.md has no section of this version with its date"
    assert str(citation["date-released"]) == released[1]


def test_the_version_is_written_in_no_module() -> None:
    for path in (ROOT / "neurolocal").rglob("*.py"):
        assert f'"{PROJECT["version"]}"' not in path.read_text(encoding="utf-8"), path


def test_every_python_that_is_named_is_allowed() -> None:
    named = [c.rpartition(":: ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert named == ["3.11", "3.12", "3.13"]
    assert PROJECT["requires-python"] == f">={named[0]}"


def test_every_file_that_security_names_is_there() -> None:
    text = _read("SECURITY.md")
    for name in re.findall(r"`((?:tests/)?[a-z_0-9/]+\.py)`", text):
        places = [ROOT / name, *(ROOT / "neurolocal").rglob(f"*/{name}"), *(ROOT / "neurolocal").rglob(name)]
        assert any(place.is_file() for place in places), name


def test_every_limit_that_security_states_is_the_programs() -> None:
    from neurolocal import bounded
    from neurolocal.bundle.verify import LARGEST_MANIFEST, MOST_FILES
    from neurolocal.corpus import readers
    from neurolocal.neuroscope.read import maxima, packed, saved_text
    from neurolocal.site import ask, connections, security, server
    from neurolocal.store import checked
    from neurolocal.subject import chat, folder, gguf_header

    mib = 1 << 20
    stated = [
        (readers.LONGEST_RECORD, "a record of 256 MiB"),
        (folder.LARGEST_JSON, "JSON of 64 MiB"),
        (folder.LARGEST_TEXT, "tokenizer files of 512 MiB"),
        (folder.DEEPEST, "32 levels"),
        (folder.MOST_LAYERS, "1,000 layers"),
        (bounded.MEMORY, "512 MiB a conversation"),
        (checked.LARGEST_CHUNK, "chunks of 64 MiB"),
        (maxima.LARGEST_FILE, "a list of 256 MiB"),
        (packed.LARGEST, "packed file of 1024 MiB"),
        (saved_text.LONGEST_ROW, "65,536 tokens a row"),
        (LARGEST_MANIFEST, "a manifest of 16 MiB"),
        (MOST_FILES, "50,000 files"),
        (security.LONGEST_PATH, "a query of 2,000 characters"),
        (connections.CONNECTIONS, "128 connections"),
        (ask.LONGEST_TEXT, "a text of 4,000 characters"),
        (ask.MOST_NEURONS, "50 neurons"),
    ]
    text = _read("SECURITY.md").replace("1 GiB", "1024 MiB")
    for limit, says in stated:
        number = re.search(r"[\d,]+", says)
        assert number is not None
        assert int(number[0].replace(",", "")) * (mib if "MiB" in says else 1) == limit, says
        assert says in text, says
    assert (security.LONGEST_HEADERS, server.LONGEST_BODY, gguf_header.MOST) == (32 << 10, 64 << 10, 1 << 24)
    assert (chat.SECONDS, connections.ARRIVE, ask.SECONDS) == (3, 20, 60)


def _read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")
