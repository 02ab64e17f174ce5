"""What the store at a collection's path is: of the same inputs, complete or not, or of others.

Invariant: equal inputs give the same store, so one is never collected twice; a store of other inputs is never resumed.
Cost: the hashes of the files (`manifest`); of a corpus whose last file has changed, its text is read and tokenised
again up to where the store ends.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from neurolocal.config import CollectConfig, differences
from neurolocal.errors import CorpusError, StoreError
from neurolocal.pipeline.batch_range import BatchRange
from neurolocal.pipeline.checkpoint import AGAIN, cursor_of
from neurolocal.pipeline.manifest import Collection, identity, manifest_of, row_stream
from neurolocal.stage import Say

if TYPE_CHECKING:
    from neurolocal.corpus import CorpusFile, Cursor


def as_begun(job: Collection, say: Say) -> Collection:
    """The job without bands where its store was begun by a version that had none, and the default number is asked for.

    So a newer version resumes what an older one collected, and does not collect it again.
    """
    from neurolocal.store import Store

    if job.config.bands != CollectConfig().bands or not job.store.exists():
        return job
    with Store(job.store) as store:
        config = store.manifest.get("config")
    if not isinstance(config, dict) or "bands" in config:
        return job
    say(f"collect: {job.store} was begun by a version that kept no examples by band of activation; it gets none")
    return dataclasses.replace(job, config=dataclasses.replace(job.config, bands=0))


def existing(
    job: Collection, files: Sequence[CorpusFile], part: BatchRange | None, *, replace: bool, say: Say
) -> str | list[str] | None:
    """What the store that exists is: `complete`, `partial`, or what differs (only with `replace`).

    `lacking`: it is partial because workers could not do some parts.

    Raises:
        StoreError: it is made from something else, without `replace`; or does not state what it is made from.
    """
    from neurolocal.store import Store

    first = 0 if part is None else part.begin.file
    with Store(job.store) as store:
        there = store.manifest
        try:
            n = len(files) if there.get("lacks") else len(there["corpus"]["files"])
            here = manifest_of(job, files[first : first + n], files)
            if part is not None:
                here["range"] = part.facts(part.begin)
            old, new = identity(there), identity(here)
            if old["tokenizer"] != new["tokenizer"] and job.subject.has_tokenizer(old["tokenizer"]):
                old["tokenizer"] = new["tokenizer"]
        except (KeyError, TypeError) as error:
            raise StoreError(
                f"resuming {job.store}: its manifest does not state what it was made from ({error}). {AGAIN}"
            ) from error
        differ = differences(old, new)
        if differ and not there["complete"] and _only_the_last_file(old, new):
            say(f"collect: {files[len(new['corpus']) - 1]} has changed; comparing the text that was read so far")
            differ = [] if _same_rows(job, files, cursor_of(store), part) else differ
        if differ and not replace:
            differ.sort(key=lambda line: not line.startswith(("subject", "tokenizer")))  # the most serious first
            raise StoreError(
                f"collecting into {job.store}: it was made from something else ({'; '.join(differ[:4])}). "
                "Give another --store, or delete this one."
            )
        return differ or ("complete" if there["complete"] else "lacking" if there.get("lacks") else "partial")


def _only_the_last_file(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether only the file in which the collection stopped has changed; it may have been cut short then."""
    last = next(reversed(new["corpus"]), None)
    return list(old["corpus"]) == list(new["corpus"]) and not differences(
        old | {"corpus": {**old["corpus"], last: None}}, new | {"corpus": {**new["corpus"], last: None}}
    )


def _same_rows(job: Collection, files: Sequence[CorpusFile], cursor: Cursor, part: BatchRange | None) -> bool:
    """Whether the corpus, read from the beginning of the part, still gives the rows of a cursor's digest."""
    try:
        batches = row_stream(job, files).batches(None if part is None else part.begin)
        after = next((b.after for b in batches if b.after.batches >= cursor.batches), None)
    except CorpusError:
        return False
    # Checkpoints of 0.1.0 did not count control tokens.
    return after is not None and after.facts() | {"control": 0} == cursor.facts() | {"control": 0}
