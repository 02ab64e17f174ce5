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
from neurolocal.subject.gguf_parts import gguf_parts


def weights_sha256(path: Path) -> str:
    """SHA-256 that names a model: of the GGUF file, or over its parts, or over config and weight files of a folder.

    Raises:
        SubjectError: a part of a split GGUF is missing.
    """
    if path.is_file():
        parts = gguf_parts(path)
        return file_sha256(path) if len(parts) == 1 else sha256([file_sha256(part) for part in parts])
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
