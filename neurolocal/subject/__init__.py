"""The model under study: loading it, locating its neurons, and reading them during a forward pass.

The only room that imports transformers and TransformerLens. The public names are loaded when they are first used
(PEP 562): a process that only tokenises needs no torch.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from neurolocal.progress import waiting

if TYPE_CHECKING:
    from neurolocal.subject.load import load_subject as load_subject
    from neurolocal.subject.model import Subject as Subject

_NAMES = {"load_subject": "load", "Subject": "model"}

__all__ = ["Subject", "load_subject"]


def __getattr__(name: str) -> Any:
    """A public name, on its first use."""
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with waiting("importing torch", bar="torch" not in sys.modules):
        return getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
