"""Names of models -> folders of the local hub cache, TransformerLens's short names (`gpt2-small`) included.

Invariant: never a download. Cost: nothing for a name that is in the cache; else importing TransformerLens's table of
names.
"""

from __future__ import annotations

from pathlib import Path

from neurolocal.errors import SubjectError


def in_hub_cache(name: str) -> Path:
    """The folder of a model in the local hub cache, by its own name or by TransformerLens's.

    Raises:
        SubjectError: the cache holds neither.
    """
    try:
        return snapshot(name)
    except Exception as error:  # an ill-formed name and a missing one raise different types
        official = official_name(name)
        if official is None:
            raise SubjectError(
                f"loading the subject {name}: there is no such folder or file, and the local hub cache does not hold "
                "that name. Check the path; nothing is ever downloaded."
            ) from error
    try:
        return snapshot(official)
    except Exception as error:
        raise SubjectError(
            f"loading the subject {name}: there is no such folder or file, and the local hub cache does not hold "
            f"{official}, for which TransformerLens's {name} stands. Put that repository into the cache, or give its "
            "files' folder; nothing is ever downloaded."
        ) from error


def official_name(short: str) -> str | None:
    """The hub repository of one of TransformerLens's short names; None where it knows no such name."""
    from transformer_lens.supported_models import MODEL_ALIASES

    wanted = short.lower()
    for official, shorts in MODEL_ALIASES.items():
        if official.lower() != wanted and wanted in (one.lower() for one in shorts):
            return official
    return None


def snapshot(name: str) -> Path:
    """The folder of a repository in the local hub cache; huggingface_hub's own errors where there is none."""
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, local_files_only=True))
