"""The weight files of a model: their SHA-256, and whether they are complete.

Invariant: equal weights and config have equal names, wherever they are. Cost: one read of the files, cached by path,
size and time of change.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from neurolocal.config import sha256
from neurolocal.errors import SubjectError
from neurolocal.files import file_sha256
from neurolocal.subject.folder import weight_files


def weights_sha256(path: Path) -> str:
    """SHA-256 that names a model: of the GGUF file, or over the config and weight files of a folder."""
    if path.is_file():
        return file_sha256(path)
    return sha256([[f.name, file_sha256(f)] for f in [path / "config.json", *weight_files(path)]])


def require_tensors(model: Any, missing: Iterable[str], path: Path) -> None:
    """Refuse weights that lack a tensor of the decoder body; transformers would draw it at random and only warn.

    Args:
        model: as loaded.
        missing: the names of its tensors that the files lack.
        path: of the files.

    Raises:
        SubjectError: a tensor of the decoder body is missing.
    """
    prefix = f"{model.base_model_prefix}."
    body = sorted(name for name in missing if name.startswith(prefix) or model.base_model is model)
    if body:
        raise SubjectError(
            f"loading the subject {path}: its weights lack {len(body)} tensors ({', '.join(body[:3])}). "
            "Check that the folder or file is whole; copy it again."
        )
