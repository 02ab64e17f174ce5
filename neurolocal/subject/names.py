"""Names of models -> folders of the local hub cache, TransformerLens's short names (`gpt2-small`) included; the GGUF in
a folder that has nothing else.

Invariant: never a download; imports neither torch nor transformers. Cost: nothing for a name that is in the cache;
else reading TransformerLens's table of names.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
from pathlib import Path

from neurolocal.errors import SubjectError
from neurolocal.subject.folder import weight_files


def in_hub_cache(name: str) -> Path:
    """The folder of a model in the local hub cache, by its own name or by TransformerLens's.

    Raises:
        SubjectError: the cache holds neither.
    """
    try:
        return snapshot(name)
    except SubjectError:
        raise
    except Exception as error:  # an ill-formed name and a missing one raise different types
        official = official_name(name)
        if official is None:
            raise SubjectError(
                f"loading the subject {name}: there is no such folder or file, and the local hub cache does not hold "
                "that name. Check the path; nothing is ever downloaded."
            ) from error
    try:
        return snapshot(official)
    except SubjectError:
        raise
    except Exception as error:
        raise SubjectError(
            f"loading the subject {name}: there is no such folder or file, and the local hub cache does not hold "
            f"{official}, for which TransformerLens's {name} stands. Put that repository into the cache, or give its "
            "files' folder; nothing is ever downloaded."
        ) from error


def official_name(short: str) -> str | None:
    """The hub repository of one of TransformerLens's short names; None where it knows no such name."""
    wanted = short.lower()
    for official, shorts in _short_names().items():
        if official.lower() != wanted and wanted in (one.lower() for one in shorts):
            return official
    return None


def _short_names() -> dict[str, list[str]]:
    """TransformerLens's table, from its file: importing the package imports torch."""
    found = importlib.util.find_spec("transformer_lens")
    for folder in (found and found.submodule_search_locations) or ():
        path = Path(folder, "tools", "model_registry", "data", "model_aliases.json")
        with contextlib.suppress(OSError, ValueError, KeyError):
            return json.loads(path.read_text(encoding="utf-8"))["aliases"]
    from transformer_lens.supported_models import MODEL_ALIASES  # a version that keeps the table elsewhere

    return MODEL_ALIASES


def snapshot(name: str) -> Path:
    """The folder of a repository in the local hub cache; huggingface_hub's own errors where there is none.

    Without `refs/main`, as a download by commit leaves it, the only snapshot there is.

    Raises:
        SubjectError: several snapshots, and nothing that says which is the main one.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except Exception:
        there = _snapshots(name)
        if len(there) > 1:
            raise SubjectError(
                f"loading the subject {name}: the local hub cache holds {len(there)} snapshots of it "
                f"({', '.join(path.name[:12] for path in there[:4])}) and no refs/main that chooses one. Give the path "
                f"of one, such as {there[0]}."
            ) from None
        if not there:
            raise
        return there[0]


def gguf_in(folder: Path, spec: str, file: str | None = None) -> Path | None:
    """The GGUF of a folder that has at most a config beside it; None where it has more, or no GGUF.

    Args:
        folder: a model folder or a snapshot of the hub cache.
        spec: as the user wrote it, for messages.
        file: the user's choice, a path inside the folder.

    Raises:
        SubjectError: several and no choice, or a choice that is not there.
    """
    found = sorted(path for pattern in ("*.gguf", "*/*.gguf") for path in folder.glob(pattern))
    models = [path for path in found if not path.name.startswith("mmproj")]  # the projector of a multimodal model
    names = [path.relative_to(folder).as_posix() for path in models]
    if file is not None:
        if file not in names:
            raise SubjectError(
                f"loading the subject {spec}: {folder} has no {file}; its GGUF files are {_listed(names) or 'none'}."
            )
        return models[names.index(file)]
    of_a_model = ("tokenizer.json", "tokenizer_config.json", "model.safetensors.index.json")
    if not models or weight_files(folder) or any((folder / name).exists() for name in of_a_model):
        return None  # a folder whose weights are missing is damaged; the GGUF may be another model
    if len(models) > 1:
        raise SubjectError(
            f"loading the subject {spec}: it has {len(models)} GGUF files ({_listed(names)}). Choose one: "
            f"{spec}:{names[0]}, or its path."
        )
    return models[0]


def split_file(spec: str) -> tuple[str, str | None]:
    """`NAME:FILE.gguf` -> the name and the file in it; anything else is a name alone."""
    name, colon, file = spec.rpartition(":")
    return (name, file) if colon and name and file.endswith(".gguf") else (spec, None)


def _snapshots(name: str) -> list[Path]:
    """Every snapshot of a repository in the local hub cache that has files."""
    from huggingface_hub import constants

    repository = Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "snapshots"
    if ".." in name or not repository.is_dir():
        return []
    return sorted(path for path in repository.iterdir() if path.is_dir() and any(path.iterdir()))


def _listed(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f", and {len(names) - 8} more" if len(names) > 8 else "")
