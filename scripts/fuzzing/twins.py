"""What the tests make, as seeds: small models, tokenizers, stores and pages."""

from __future__ import annotations

import functools
import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

from fuzzing.reader import pack

TESTS = Path(__file__).parents[2] / "tests"


def module(room: str, name: str) -> Any:
    """A module of the tests of a room."""
    for folder in (TESTS, TESTS / room):
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
    return importlib.import_module(name)


def tiny_subject() -> Any:
    """A random model of two layers with a tokenizer of numbered words."""
    import torch

    torch.set_num_threads(1)
    subject = module("subject", "subject_twins").tiny("GPT2")
    subject.sha256, subject.path = "ab" * 32, "/models/tiny"
    return subject


@functools.cache
def folder() -> Path:
    """A folder for seeds, the same each time."""
    return Path(tempfile.mkdtemp(prefix="seeds-"))


def files(place: Path) -> bytes:
    """A folder as one input."""
    return pack({path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()})
