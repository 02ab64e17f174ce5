"""What is stated of a licence: by a package's metadata, a model card, a GGUF's header or a LICENSE file.

Invariant: states what the origin says, or `unknown`; nothing is concluded from a text. Cost: a small file each.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Mapping
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from neurolocal.bundle.content import UNKNOWN

LONGEST = 100
"""Characters of a licence's name; packages put whole licence texts into the field."""


def licence_of_metadata(metadata: Mapping[str, Any]) -> str:
    """The licence of a package, from pip's JSON form of its metadata."""
    expression = metadata.get("license_expression") or ""
    stated = str(metadata.get("license") or "").strip()
    prefix = "License :: "
    classified = [c.rpartition(" :: ")[2] for c in metadata.get("classifier", ()) if c.startswith(prefix)]
    short = stated if "\n" not in stated and len(stated) <= LONGEST else ""
    return str(expression or short or ", ".join(classified) or stated.partition("\n")[0][:LONGEST] or UNKNOWN)


def licence_of_path(path: Path) -> str:
    """The licence of a local model, data set or file: its card's, its GGUF header's, or its LICENSE file."""
    if path.is_file():
        return _gguf(path) if path.suffix == ".gguf" else UNKNOWN
    if found := _card(path / "README.md"):
        return found
    names = ("LICENSE", "LICENSE.txt", "LICENSE.md", "COPYING")
    return next((f"see {name}" for name in names if (path / name).is_file()), UNKNOWN)


def _card(path: Path) -> str | None:
    """The field `license` at the head of a model or dataset card."""
    from huggingface_hub.repocard import metadata_load

    with contextlib.suppress(Exception):  # any text may stand there
        found = (metadata_load(path) or {}).get("license")
        return None if found is None else ", ".join(found if isinstance(found, list) else [str(found)])[:LONGEST]
    return None


def _gguf(path: Path) -> str:
    from neurolocal.subject.gguf_header import read_header

    key = "general.license"
    with contextlib.suppress(Exception):  # a damaged header raises errors of many types; the subject's loading names it
        return str(read_header(path, (key,)).values.get(key, UNKNOWN))[:LONGEST]
    return UNKNOWN


def licence_of_wheel(path: Path) -> str:
    """The licence of a wheel, from the METADATA inside it; newer fields than pip's own report has."""
    with (
        contextlib.suppress(OSError, ValueError, StopIteration, KeyError, zipfile.BadZipFile),
        zipfile.ZipFile(path) as file,
    ):
        name = next(name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        found = HeaderParser().parsestr(file.read(name).decode("utf-8", "replace"))
        return licence_of_metadata(
            {
                "license_expression": found["License-Expression"],
                "license": found["License"],
                "classifier": found.get_all("Classifier", []),
            }
        )
    return UNKNOWN
