"""A model folder -> its tokenizer: from the files beside the weights, or from elsewhere on this machine.

Invariant: never a download, never remote code; `tokenizer.json` decides the ids where there is one, then
`tokenizer.model`; only the older kinds of files are left to the named class of transformers.
Cost: reading the files.
"""

from __future__ import annotations

import os
from pathlib import Path

from neurolocal.errors import SubjectError, first_line
from neurolocal.subject.folder import check_texts
from neurolocal.subject.names import snapshot
from neurolocal.subject.tokenizers.roles import added_tokens, read_roles
from neurolocal.subject.tokenizers.tokenizer import Tokenizer
from neurolocal.subject.tokenizers.tokenizer_json import JsonBackend
from neurolocal.subject.tokenizers.tokenizer_model import ModelBackend

JSON, MODEL = "tokenizer.json", "tokenizer.model"

FILES = (JSON, MODEL, "tokenizer_config.json", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")
"""A folder with any of these has a tokenizer."""


def find_tokenizer(
    folder: Path, *, name: str | None = None, given: str | os.PathLike[str] | None = None, d_vocab: int | None = None
) -> Tokenizer:
    """The tokenizer of a model folder, from this machine alone.

    Args:
        folder: of the model.
        name: of the tokenizer in the local hub cache, where the model's config names one.
        given: the user's choice, a folder, a file or a name; it has priority over the folder, which has priority over
            `name`.
        d_vocab: ids that the model has; added tokens beyond them are left out.

    Raises:
        SubjectError: no tokenizer is found, or it is of another model: it has more ids than the model.
    """
    beside = any((folder / file).is_file() for file in FILES)
    source = str(given if given is not None else folder if beside or name is None else name)
    try:
        where = Path(source) if Path(source).exists() else snapshot(source)
        where = where.parent if where.is_file() else where
        check_texts(where, doing=f"loading the tokenizer {where}")
        found = read_tokenizer(where, d_vocab=d_vocab)
    except SubjectError:
        raise
    except Exception as error:  # huggingface_hub and transformers raise OSError, ValueError, KeyError, ImportError …
        first = first_line(error)
        what = "the local hub cache has no whole" if source == name else "no usable"
        raise SubjectError(
            f"loading the tokenizer of {folder}: {what} tokenizer at {source} ({type(error).__name__}: {first}). "
            f"Check that the folder is whole: put {JSON} into it, or pass a tokenizer's folder as `tokenizer`."
        ) from error
    if given is not None and beside:
        found.judges["the model's own tokenizer"] = lambda: read_tokenizer(folder, d_vocab=d_vocab)
    if d_vocab is not None and found.size > d_vocab:
        raise SubjectError(
            f"loading the tokenizer {source}: it has {found.size:,} ids and the model has {d_vocab:,}, so it is of "
            "another model. Pass the model's own as `tokenizer`."
        )
    return found


def read_tokenizer(folder: Path, *, d_vocab: int | None = None) -> Tokenizer:
    """The tokenizer of a folder; any error where it has none."""
    more = added_tokens(folder)
    if (folder / JSON).is_file():
        backend = JsonBackend.read(folder / JSON, d_vocab=d_vocab, more=more)
    elif (folder / MODEL).is_file():
        backend = ModelBackend.read(folder / MODEL, d_vocab=d_vocab, more=more)
    else:
        from transformers import AutoTokenizer

        return Tokenizer.of(AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False))
    found = Tokenizer(backend, read_roles(folder, lambda text: backend.id_of(text) is not None), path=str(folder))
    if isinstance(backend, JsonBackend) and (folder / MODEL).is_file():
        found.judges[f"{MODEL}, read by sentencepiece,"] = lambda: Tokenizer(
            ModelBackend.read(folder / MODEL, d_vocab=d_vocab, more=more), found.roles
        )
    return found
