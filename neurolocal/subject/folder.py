"""A model folder before anything in it is believed: plain readable files, an index that stays inside, sane sizes.

Invariant: nothing is hashed, and nothing reaches transformers, before these checks; a pipe, a device or a dangling link
cannot hang or crash what follows, and a config cannot ask for more layers or weights than its files hold. Every weight
file that is read lies in the folder itself, so that the SHA-256 names it; there it may be a link, as in a hub cache.
Cost: one stat and one open a file, one parse of config.json and of the index of the shards.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from neurolocal.errors import SubjectError

TRIAL = Path(__file__).with_name("trial_child.py")
"""Reads tokenizers and weights in a process of its own, before this one does."""

WEIGHTS = {".safetensors", ".bin", ".pt", ".pth"}
"""The ends of the names of weight files."""

TEXTS = {".json", ".jinja", ".model", ".txt", ".tiktoken"}
"""The ends of the names of the other files that are read: configs, indices, tokenizers, templates."""

LARGEST_JSON = 64 << 20
"""Bytes of a config or an index; the index of a model of a million tensors has about this many."""

LARGEST_TEXT = 512 << 20
"""Bytes of any other file that is no weights; the largest tokenizers have 40 MB."""

ADAPTER = "adapter_config.json"
"""With this file beside them, transformers would take the weights from wherever it says."""

DEEPEST = 32
"""Levels of a config; those of the largest multimodal models have 6."""

LAYERS = {"num_hidden_layers", "n_layer", "n_layers", "num_layers", "depth", "encoder_layers", "decoder_layers"}
"""The keys by which a config says how many blocks to build."""

MOST_LAYERS = 1000
"""Blocks that are built; no model has a third of them, and each costs memory before its weights are looked for."""

FEWEST_BYTES = 0.15
"""Bytes a weight takes on the disk, at least: ternary weights with nothing else."""


def weight_files(folder: Path) -> list[Path]:
    """The weight files of a folder, by name."""
    return [path for path in sorted(folder.iterdir()) if path.suffix in WEIGHTS]


def check_folder(folder: Path) -> None:
    """Check the files of a model folder, without reading the weights.

    Raises:
        SubjectError: a file that is no plain readable file, a damaged or oversized config, an index that names files
            that are outside the folder or missing, or an adapter for a model that is elsewhere.
    """
    doing = f"loading the subject {folder}"
    for path in [folder / "config.json", *weight_files(folder)]:
        require_plain_file(path, doing=doing)
    check_texts(folder, doing=doing)
    if (folder / ADAPTER).exists():
        raise SubjectError(
            f"{doing}: it has an {ADAPTER}, so it holds an adapter (LoRA) and not a whole model. Merge it into its "
            "model and give the merged folder, or remove the file if the weights are whole."
        )
    indices = sorted(folder.glob("*.index.json"))
    config = _parsed(folder / "config.json", folder)
    if not isinstance(config, dict):
        raise SubjectError(
            f"{doing}: its config.json is no JSON object ({type(config).__name__}). Check that the folder is whole; "
            "copy config.json again."
        )
    for key, value in _settings(config, folder):
        if key in LAYERS and (not isinstance(value, int) or value > MOST_LAYERS):
            raise SubjectError(
                f"loading the subject {folder}: its config.json has {key} = {str(value)[:40]}; expected a number up to "
                f"{MOST_LAYERS:,}. Check that the folder is whole; copy config.json again."
            )
    for index in indices:
        _check_index(index, folder)


def check_texts(folder: Path, *, doing: str) -> None:
    """Check the files of a folder that may be read as configs, tokenizers or templates: plain, readable, not too large.

    Raises:
        SubjectError: says which is not.
    """
    for path in sorted(folder.iterdir()):
        if path.suffix in TEXTS:
            require_plain_file(path, doing=doing)
            size = path.stat().st_size
            if size > LARGEST_TEXT:
                raise SubjectError(
                    f"{doing}: {path.name} has {size:,} bytes; expected at most {LARGEST_TEXT:,}. Get the file from "
                    "its source again."
                )


def check_sizes(config: Any, folder: Path) -> None:
    """Refuse a config that needs more weights than the folder's files can hold.

    Args:
        config: transformers' config of the language model.
        folder: of the model.

    Raises:
        SubjectError: no layers, or more weights than the files have room for.
    """
    n_layers, d_model, d_vocab = (
        getattr(config, name, None) for name in ("num_hidden_layers", "hidden_size", "vocab_size")
    )
    if not isinstance(n_layers, int) or n_layers < 1:
        raise SubjectError(
            f"loading the subject {folder}: its config.json has {n_layers!r} layers, so there are no MLP neurons. Give "
            "a model with one layer or more."
        )
    files = weight_files(folder)
    there = sum(path.stat().st_size for path in files)
    needed = d_model * (d_vocab + n_layers) if isinstance(d_model, int) and isinstance(d_vocab, int) else 0
    if files and needed * FEWEST_BYTES > there:
        raise SubjectError(
            f"loading the subject {folder}: its config.json promises {needed:,} weights or more (vocabulary "
            f"{d_vocab:,}, width {d_model:,}), and its weight files have {there:,} bytes. Config and weights "
            "are of two models, or the files are cut short; copy the folder again."
        )


def require_plain_file(path: Path, *, doing: str) -> None:
    """Refuse what is no plain readable file: a folder, a dangling link, a pipe, a device, a file without permission.

    Raises:
        SubjectError: says which.
    """
    try:
        kind = path.stat().st_mode
    except OSError as error:
        what = (
            f"is a link to {path.readlink()}, which is not there"
            if path.is_symlink()
            else f"cannot be read ({error.strerror})"
        )
        raise SubjectError(
            f"{doing}: {path.name} {what}. Check that the folder is whole; copy the file itself."
        ) from error
    if not stat.S_ISREG(kind):
        what = "a folder" if stat.S_ISDIR(kind) else "a pipe, socket or device"
        raise SubjectError(f"{doing}: {path.name} is {what}; expected a plain file. Check that the folder is whole.")
    try:
        path.open("rb").close()
    except OSError as error:
        raise SubjectError(
            f"{doing}: {path.name} cannot be read ({error.strerror}). Change its permissions, or copy it again."
        ) from error


def _parsed(path: Path, folder: Path) -> Any:
    size = path.stat().st_size
    try:
        if size > LARGEST_JSON:
            raise ValueError(f"{size:,} bytes")
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        what = "too deep" if isinstance(error, RecursionError) else str(error)[:120]
        raise SubjectError(
            f"loading the subject {folder}: {path.name} is no usable JSON ({what}). Check that the folder is whole; "
            "copy the file again."
        ) from error


def _settings(config: Any, folder: Path) -> Iterator[tuple[str, Any]]:
    """Every key of a config and of the configs inside it, with its value.

    Raises:
        SubjectError: it is nested too deep.
    """
    level, depth = [config], 0
    while level:
        if depth > DEEPEST:
            raise SubjectError(
                f"loading the subject {folder}: its config.json is nested more than {DEEPEST} deep. Check that the "
                "folder is whole; copy config.json again."
            )
        for one in level:
            if isinstance(one, dict):
                yield from one.items()
        inside = [one.values() if isinstance(one, dict) else one for one in level]
        level = [one for values in inside for one in values if isinstance(one, (dict, list))]
        depth += 1


def _check_index(index: Path, folder: Path) -> None:
    """Every shard that an index names must be a plain file inside the folder."""
    there = _parsed(index, folder)
    names = there.get("weight_map") if isinstance(there, dict) else None
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise SubjectError(
            f"loading the subject {folder}: {index.name} has no weight_map of tensors to files. Check that the folder "
            "is whole; copy the file again."
        )
    for name in sorted(set(names.values())):
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
            raise SubjectError(
                f"loading the subject {folder}: {index.name} names {name[:80]!r}, which is outside the folder. Only "
                "files inside it are read; get the folder from its source again."
            )
        if len(path.parts) != 1 or path.suffix not in WEIGHTS:
            raise SubjectError(
                f"loading the subject {folder}: {index.name} names {name[:80]!r}, which is no weight file in the "
                "folder itself, so the model's SHA-256 would not name it. Put the weight files beside config.json, as "
                "*.safetensors or *.bin, and name them so in the index."
            )
        if not (folder / path).exists() and not (folder / path).is_symlink():
            raise SubjectError(
                f"loading the subject {folder}: {index.name} names {name[:80]}, which is not in the folder. Check that "
                "the folder is whole; copy the missing file."
            )
        require_plain_file(folder / path, doing=f"loading the subject {folder}")
