"""What a collection is made from: the job, the manifest that describes it, and the part of it that identifies a store.

Invariant: paths, progress and versions do not identify a store; weights, tokenizer, corpus and settings do.
Cost: the files are hashed once and remembered in the cache.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurolocal.config import CollectConfig, Lists, sha256
from neurolocal.files import file_sha256
from neurolocal.pipeline.batch_range import range_of
from neurolocal.records import BINS, HISTOGRAM_EVERY, THRESHOLDS
from neurolocal.storage import Address, StoredFile

if TYPE_CHECKING:
    from neurolocal.corpus import CorpusFile, RowStream
    from neurolocal.subject import Subject


LATER = {
    "control_tokens": "token",
    "count_roles": None,
    "longest_record": 1 << 28,
    "longest_text": 1 << 22,
    "dedupe": False,
    "bands": 0,
}
"""Settings that stores of version 0.1.0 do not state, with the values that they had."""


@dataclass(frozen=True)
class Collection:
    """What a collection is made from."""

    subject: Subject
    """The loaded model."""
    corpus: Path | Address
    """A file, a folder of files, or a saved data set; or the address of one, or of files that match a pattern."""
    store: Path
    """The HDF5 file to write."""
    config: CollectConfig
    """The settings."""
    lists: Lists = "auto"
    """Where neuron lists are kept while it runs; does not change the store."""


def row_stream(job: Collection, files: Sequence[CorpusFile]) -> RowStream:
    """The rows of the corpus as the subject's tokenizer and the settings make them; it holds nothing of the model."""
    from neurolocal.corpus import RowStream

    subject = job.subject
    encode = functools.partial(subject.tokenizer.encode_documents, subject.vocabulary)
    chat = subject.chat_template
    return RowStream(
        files,
        functools.partial(encode, control=job.config.control_tokens),
        subject.bos,
        subject.eos,
        job.config,
        render=None if chat is None else chat.render,
        encode_chat=encode,
        special=subject.vocabulary.special,
        cuttable=subject.tokenizer.cuttable,
        d_vocab=subject.d_vocab,
    )


def identity(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a manifest that decides what a collection holds; paths and progress do not."""
    return {
        "subject": manifest["subject"]["sha256"],
        "tokenizer": manifest["tokenizer"]["sha256"],
        "corpus": {f["name"]: f["sha256"] or [f["content"], f["size"]] for f in manifest["corpus"]["files"]},
        "corpus files": manifest["corpus"]["n_files"],
        "config": LATER | manifest["config"],
        "range": (range_of(manifest) or {}).get("begin"),
    }


def manifest_of(job: Collection, reached: Sequence[CorpusFile], files: Sequence[CorpusFile]) -> dict[str, Any]:
    """The manifest without progress. `reached` are the files read so far; only these are hashed."""
    from neurolocal.corpus.files import file_names

    return {
        "subject": job.subject.facts(),
        "tokenizer": job.subject.tokenizer_facts(),
        "corpus": {
            "path": str(job.corpus),
            "n_files": len(files),
            "files": [
                {"name": name} | _contents(file)
                for name, file in zip(file_names(reached, job.corpus), reached, strict=True)
            ],
        },
        "config": json.loads(json.dumps(dataclasses.asdict(job.config))),
        "statistics": {"thresholds": list(THRESHOLDS), "histogram_every": HISTOGRAM_EVERY, "bins": BINS},
        "versions": {name: version(name) for name in ("neurolocal", "torch", "transformers", "transformer-lens")},
    }


def _contents(path: CorpusFile) -> dict[str, Any]:
    """What names a file's content; of one on other storage what that states, since to hash it is to read it whole."""
    if isinstance(path, StoredFile):
        return {"sha256": None, "content": path.content, "size": path.size}
    return {"sha256": _path_sha256(path)}


def _path_sha256(path: Path) -> str:
    if path.is_file():
        return file_sha256(path)
    return sha256([[str(f.relative_to(path)), file_sha256(f)] for f in sorted(path.rglob("*")) if f.is_file()])
