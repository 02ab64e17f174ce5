"""Checkpoints of a collection: writing its state as a store, and restoring the state from one.

Invariant: a restored run continues with the row after the checkpoint, and ends with the store of an uninterrupted run,
bit for bit. Cost: a checkpoint writes the whole state, one layer at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from neurolocal.errors import StoreError
from neurolocal.pipeline.batch_range import BatchRange
from neurolocal.pipeline.manifest import Collection, manifest_of
from neurolocal.progress import waiting
from neurolocal.records import LayerRecord, Place

if TYPE_CHECKING:
    from neurolocal.collect import Contents, Progress
    from neurolocal.corpus import CorpusFile, Cursor
    from neurolocal.store import Store

AGAIN = "Delete the file to collect again, or give another --store."


def write_store(
    job: Collection, files: Sequence[CorpusFile], skipped: Mapping[str, int], contents: Contents, *, complete: bool,
    bar: bool, part: BatchRange | None = None,
) -> dict[Place, int]:  # fmt: skip
    """Write the store; returns the NaN and infinite activations of each layer that has some.

    The store of a range states the hashes of those files alone in which its text lies.
    """
    from neurolocal.corpus import Cursor, rest_arrays
    from neurolocal.store import StoreContent, StoredRows, write_collected

    begin = part.begin if part is not None else Cursor()
    kept, cursor = contents.kept, contents.cursor or begin  # a shard may hold no batch
    whole = complete and job.config.max_rows is None and (part is None or part.end is None)
    manifest = manifest_of(job, files[begin.file : None if whole else cursor.file + 1], files)
    manifest["corpus"] |= {
        "documents": cursor.documents,
        "subsets": cursor.subsets,
        "rows_sha256": cursor.digest,
        "skipped": dict(skipped) if whole else cursor.skipped,
        "control_tokens": cursor.control,
    }
    manifest |= {"rows": contents.rows, "tokens": contents.n_tokens, "complete": complete, "cursor": cursor.facts()}
    if part is not None:
        manifest["range"] = part.facts(cursor)
    bad: dict[Place, int] = {}

    def layers() -> Iterator[tuple[Place, LayerRecord]]:
        for place, record in contents.records():
            if n := int(record.unreadable.sum()):
                bad[place] = n
            yield place, record

    content = StoreContent(
        manifest=manifest,
        layers=layers(),
        sample=contents.sampler.snapshot(),
        rows=lambda: StoredRows(kept.tokens, kept.length, kept.index, kept.parts.columns()),
        token_count=contents.token_count,
        vocabulary=job.subject.vocabulary,
        rest={} if complete else rest_arrays(cursor.rest),
    )
    with waiting(f"writing {job.store}", bar=bar and complete):
        write_collected(job.store, content)
    return bad


def restore(job: Collection, progress: Progress) -> Cursor:
    """Fill a progress from a checkpoint; returns the position in the corpus to continue from.

    Raises:
        StoreError: the file is no checkpoint of this job.
    """
    from neurolocal.store import Store

    path, config = job.store, job.config
    for site in config.sites or ():
        with Store(path, site=site) as store:
            for layer in store.layers:
                record, state = store.record(layer), progress.states[site, layer]
                wanted = state.snapshot(progress.sampler.order())
                if _shapes(record) != _shapes(wanted) or len(store.sample.row) > config.sample:
                    raise StoreError(f"resuming {path}: its lists of layer {layer} have another size. {AGAIN}")
                for top in (*record.lists.values(), *([record.bands] if record.bands else [])):
                    store.require_examples(top)
                state.restore(record)
    with Store(path) as store:
        tokens, length = store.rows_stored
        kept = progress.kept
        if store.token_count.shape != progress.token_count.shape or tokens.shape[1] != kept.tokens.shape[1]:
            raise StoreError(f"resuming {path}: its vocabulary or rows have another size. {AGAIN}")
        progress.token_count = store.token_count.copy()
        kept.tokens, kept.length = tokens.astype(kept.tokens.dtype), length
        kept.index, kept.parts = store.row_index, store.parts
        progress.sampler.restore(store.sample)
        progress.rows, progress.n_tokens = store.manifest["rows"], store.manifest["tokens"]
        progress.cursor = cursor_of(store)
        return progress.cursor


def _shapes(record: LayerRecord) -> tuple[Any, ...]:
    """The shapes that two records of one layer have in common if their settings are the same."""
    lists = {side: top.window.shape for side, top in record.lists.items()}
    neurons = None if record.neurons is None else list(record.neurons)
    experts = None if record.experts is None else (record.experts.offsets.tolist(), record.experts.shared)
    bands = None if record.bands is None else record.bands.row.shape
    return lists, bands, record.sample.shape[0], record.cases is None, neurons, experts


def cursor_of(store: Store) -> Cursor:
    """Where a store's collection stands in the corpus.

    Raises:
        StoreError: it does not state a valid position.
    """
    from neurolocal.corpus import Cursor, rest_from

    rest = store.rest()
    try:
        cursor = Cursor(**store.manifest["cursor"], rest=rest_from(rest) if rest else ())
        numbers = (
            cursor.file,
            cursor.record,
            cursor.character,
            cursor.rows,
            cursor.batches,
            cursor.documents,
            cursor.tokens,
            cursor.control,
        )
        counts = (*numbers, *cursor.skipped.values(), *cursor.subsets.values())
        known = all(type(n) is int and n >= 0 for n in counts)
        bytes.fromhex(cursor.digest)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(f"resuming {store.path}: it has no cursor. {AGAIN}") from error
    if not known or any(int(piece.tokens.max()) >= len(store.vocabulary.tokens) for piece in cursor.rest):
        raise StoreError(f"resuming {store.path}: its cursor is impossible. {AGAIN}")
    return cursor
