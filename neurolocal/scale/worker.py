"""What a worker does: it loads the subject once, then reads text, collects shards, merges, and adds logit effects.

It knows nothing of Ray: a test runs it in a thread. Every method returns what was made, or what went wrong, since an
error of another process would come back as a text without its kind.
Invariant: a worker writes only to the path that it is given. Cost: one subject, and the state of one shard.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import shutil
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurolocal.config import CollectConfig
from neurolocal.errors import ConfigError, CorpusError, NeurolocalError, StoreError, SubjectError, first_line
from neurolocal.files import replacing, scratch_folder
from neurolocal.machine import cores
from neurolocal.scale.apart import Apart
from neurolocal.scale.folder import Part, whole_sha256
from neurolocal.scale.pool import Failed
from neurolocal.scale.shards import Shard
from neurolocal.stage import silent
from neurolocal.storage import Address, StoredFile
from neurolocal.storage.uploads import get, put

if TYPE_CHECKING:
    from neurolocal.corpus import Cursor, KeptFile, KeptText, Link, RowStream, Section, SkipCounts
    from neurolocal.pipeline.batch_range import BatchRange

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What the system says where there is no room for a file."""


@dataclass(frozen=True)
class CollectRequest:
    """What to collect, by names and paths that every worker can reach."""

    subject: str
    """Model folder, .gguf file, or a name in the local hub cache."""
    corpus: Path | Address
    """The text, on storage that all workers share, or the address of other storage."""
    store: Path
    """The store to write at the end, on storage that all workers share."""
    config: CollectConfig
    """The settings."""
    tokenizer: str | None = None
    """Tokenizer folder or name, where the subject brings none."""
    device: str | None = None
    """Torch device; None chooses."""
    untrained: int | None = None
    """Seed of weights that are drawn anew; None is the trained ones."""
    fit_rows: bool = False
    """Whether rows are shortened to the subject's positions."""
    every: float | None = None
    """Seconds between checkpoints of a shard."""
    every_rows: int | None = None
    """Rows between them."""


@dataclass(frozen=True)
class Prepared:
    """What the driver needs to know of the subject, which it does not load."""

    config: CollectConfig
    """The settings, resolved."""
    stream: RowStream
    """The rows."""
    made_from: dict[str, Any]
    """Subject, tokenizer, settings and files, as plain values."""
    size: int
    """Characters of a section; 0 where there is nothing to collect."""
    found: str | None
    """What stands at the store's path: `complete`, `partial`, `lacking`, `other`, or nothing."""
    said: list[str]
    """Lines for the user."""


class Worker:
    """One worker; one thread works on activations and one on text, and others ask how far it is."""

    def __init__(self, request: CollectRequest, *, threads: int | None) -> None:
        """Nothing is loaded yet; `threads` are those of torch on a CPU."""
        self._request, self._threads = request, threads
        self._subject: Any = None
        self._stop = threading.Event()
        self._batches = 0
        self._reader = Apart()
        self._own = contextlib.ExitStack()
        self._folder: Path | None = None
        self._folders = threading.Lock()

    def load(self) -> Failed | None:
        """Load the subject."""
        return self._reported(self._load)

    def prepare(self, *, replace: bool, sections: int) -> Prepared | Failed:
        """Look at subject, corpus and store; `sections`: about so many are wanted."""
        return self._reported(lambda: self._prepare(replace=replace, sections=sections))

    def read(
        self, config: CollectConfig, section: Section, path: Path | Address
    ) -> tuple[KeptFile, SkipCounts] | Failed:
        """Tokenise a section of the corpus into a file."""
        from neurolocal.corpus import keep

        return self._tried(lambda: self._apart(keep, self._stream(config), section, self._here(path)))

    def link(
        self, config: CollectConfig, section: Section, begin: Cursor, text: KeptText, tail: Path | Address
    ) -> Link | Failed:  # fmt: skip
        """Find where the rows of a section end; a file gets the documents behind them."""
        from neurolocal.corpus import link

        return self._tried(
            lambda: self._apart(link, self._stream(config), section, begin, text=text, tail=self._here(tail))
        )

    def collect(
        self, config: CollectConfig, shard: Shard, path: Path | Address, earlier: list[Path], text: KeptText | None
    ) -> Part | Failed | None:
        """Collect a shard into a new file; None where it was stopped.

        Args:
            config: the settings, resolved.
            shard: the batches.
            path: the file to write.
            earlier: files of earlier tries, whose work is used again.
            text: the shard's text where it is tokenised already.
        """

        def work() -> Part | None:
            with self._written(path) as here:
                part = self._collect(config, shard, here, earlier, text)
                if part is not None:
                    self._send(here, path)
                    self._discard(text)
                return part

        return self._reported(work)

    def merge(
        self, parts: list[tuple[Part, Path | Address]], path: Path | Address, lacks: list[dict[str, Any]]
    ) -> tuple[Part, dict[Any, int]] | Failed:
        """Merge adjacent parts into a new file; gives it, and the NaN and infinite activations."""

        def work() -> tuple[Part, dict[Any, int]]:
            with self._written(path) as here, contextlib.ExitStack() as copies:
                files = [(part, copies.enter_context(self._copied(part, file))) for part, file in parts]
                merged = self._merge(files, here, lacks)
                self._send(here, path)
                return merged

        return self._reported(work)

    def effects(
        self, config: CollectConfig, part: Part, path: Path | Address, to: Path | Address
    ) -> tuple[bool, list[str], Part | None] | Failed:
        """Add the direct logit effects to a merged store; False where it was stopped before all were added.

        Args:
            config: the settings, resolved.
            part: the store.
            path: where it is.
            to: where it is to be; on a common disk the same place.
        """

        def work() -> tuple[bool, list[str], Part | None]:
            if isinstance(path, Path):
                return *self._effects(config, path), None
            with self._written(to) as here, self._copied(part, path) as copy:
                copy.replace(here)
                done, said = self._effects(config, here)
                self._send(here, to)
                return done, said, _part(part.first, part.last, here, part.tokens)

        return self._reported(work)

    def batches(self) -> int:
        """Batches done of the shard that is being collected."""
        return self._batches

    def stop(self) -> None:
        """End the work after this batch."""
        self._stop.set()

    # Files of a run whose workers have no common disk

    def _here(self, place: Path | Address) -> Path:
        """The path at which this worker writes a file: one for an address in a folder of its own."""
        if isinstance(place, Path):
            return place
        with self._folders:  # text and activations have a thread each
            if self._folder is None:
                self._folder = self._own.enter_context(scratch_folder())
            return self._folder / place.name

    @contextlib.contextmanager
    def _written(self, place: Path | Address) -> Generator[Path, None, None]:
        """The path at which the block writes a file; what it has not sent to an address is deleted."""
        here = self._here(place)
        try:
            yield here
        finally:
            if isinstance(place, Address):
                here.unlink(missing_ok=True)

    def _send(self, here: Path, place: Path | Address) -> None:
        """Copy a finished file to its address."""
        if isinstance(place, Address):
            put(here, place)

    def _discard(self, text: KeptText | None) -> None:
        """Delete the text of a finished shard, as far as this worker made it; the driver deletes what it sees."""
        for file in () if text is None else text.files:
            if file.path.parent == self._folder:
                file.path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _copied(self, part: Part, place: Path | Address) -> Generator[Path, None, None]:
        """The path of a part; of one at an address a copy, which is deleted when the block ends."""
        if isinstance(place, Path):
            yield place
            return
        copy = self._here(place).with_name(f"copy.{place.name}")
        try:
            get(place, copy, size=part.bytes, sha256=part.sha256)
            yield copy
        finally:
            copy.unlink(missing_ok=True)

    def _load(self) -> None:
        from neurolocal.subject import load_subject

        if self._threads is not None:
            import torch

            torch.set_num_threads(self._threads)
        request = self._request
        dtype, device = request.config.dtype, request.device
        self._subject = load_subject(
            request.subject, dtype=dtype, device=device, tokenizer=request.tokenizer, untrained=request.untrained
        )

    def _prepare(self, *, replace: bool, sections: int) -> Prepared:
        from neurolocal.corpus import section_size
        from neurolocal.corpus.files import corpus_files, file_names
        from neurolocal.corpus.sizes import bytes_of
        from neurolocal.pipeline.collect import fitted, prepared
        from neurolocal.pipeline.manifest import manifest_of

        said: list[str] = []
        config = self._request.config
        if self._request.fit_rows:
            config = fitted(config, self._subject, say=said.append)
        job, stream, found = prepared(self._job(config, self._request.store), replace=replace, say=said.append)
        files = corpus_files(job.corpus)
        facts = manifest_of(job, [], files)
        made_from = {
            "subject": facts["subject"]["sha256"],
            "tokenizer": facts["tokenizer"]["sha256"],
            "config": facts["config"],
            "files": {
                name: [file.size, file.content] if isinstance(file, StoredFile) else bytes_of(file)
                for name, file in zip(file_names(files, job.corpus), files, strict=True)
            },
        }
        kind = "other" if isinstance(found, list) else found
        if isinstance(found, list):
            said.append(f"collect: again, since {'; '.join(found)}")
        size = 0 if kind == "complete" else section_size(stream, sections=sections)
        return Prepared(job.config, stream, made_from, size, kind, said)

    def _stream(self, config: CollectConfig) -> RowStream:
        from neurolocal.corpus import corpus_files
        from neurolocal.pipeline.manifest import row_stream

        job = self._job(config, self._request.store)
        return row_stream(job, corpus_files(job.corpus))

    def _apart(self, work: Callable[..., Any], stream: RowStream, *arguments: Any, **named: Any) -> Any:
        """Work on text: of a worker with a GPU in a process of its own, since the GPU's loop must not wait for it."""
        from neurolocal.corpus.feed import THREADS
        from neurolocal.pipeline.collect import on_gpu

        if not on_gpu(self._subject):
            return work(stream, *arguments, **named)
        stream = dataclasses.replace(stream, threads=max(1, min(THREADS, cores() - 1)))
        return self._reader.do(work, stream, *arguments, **named)

    def _collect(
        self, config: CollectConfig, shard: Shard, path: Path, earlier: list[Path], text: KeptText | None
    ) -> Part | None:
        from neurolocal.corpus import corpus_files
        from neurolocal.pipeline.batch_range import BatchRange, border
        from neurolocal.pipeline.collect import examine
        from neurolocal.store import Store

        part = BatchRange(shard.begin, None if shard.last else shard.end.batches, text)
        if not shard.begin.batches and "tried" not in self._subject.tokenizer_facts():
            job = self._job(config, path)  # another worker looked at the corpus; a merged manifest is the first part's
            examine(job, corpus_files(job.corpus), silent)
        _take_over(earlier, path)
        try:
            outcome = self._run(config, part, path)
        except StoreError:
            if not path.exists() and text is None:
                raise
            path.unlink(missing_ok=True)  # the earlier try or the kept text is damaged, or the corpus has changed
            outcome = self._run(config, dataclasses.replace(part, kept=None), path)
        if outcome is not None and not outcome.complete:
            return None
        with Store(path) as store:
            end = store.manifest["range"]["end"]
            if end != border(shard.end):
                raise CorpusError(
                    f"collecting rows {shard.begin.rows:,} to {shard.end.rows - 1:,}: the text is not the one that "
                    "was read to find them. The corpus was changed, or this worker sees another one. Collect again."
                )
            tokens = store.manifest["tokens"]
        return _part(shard.number, shard.number, path, tokens)

    def _run(self, config: CollectConfig, part: BatchRange, path: Path) -> Any:
        from neurolocal.pipeline.collect import collect_store

        request = self._request
        return collect_store(
            self._job(config, path), say=silent, stop=self._after_batch, every=request.every,
            every_rows=request.every_rows, bar=False, part=part,
        )  # fmt: skip

    def _merge(
        self, parts: list[tuple[Part, Path]], path: Path, lacks: list[dict[str, Any]]
    ) -> tuple[Part, dict[Any, int]]:
        from neurolocal.pipeline.merge import merge_stores
        from neurolocal.store import Store

        nonfinite = merge_stores(path, [file for _, file in parts], say=silent, lacks=lacks, bar=False)
        with Store(path) as store:
            tokens = store.manifest["tokens"]
        return _part(parts[0][0].first, parts[-1][0].last, path, tokens), nonfinite

    def _effects(self, config: CollectConfig, path: Path) -> tuple[bool, list[str]]:
        from neurolocal.pipeline.effects import add_effects

        said: list[str] = []
        whole = add_effects(self._job(config, path), say=said.append, stop=self._stop.is_set, bar=False)
        return whole, said

    def _job(self, config: CollectConfig, path: Path) -> Any:
        from neurolocal.pipeline.collect import Collection

        return Collection(self._subject, self._request.corpus, path, config)

    def _after_batch(self) -> bool:
        self._batches += 1
        return self._stop.is_set()

    def _reported(self, work: Callable[[], Any]) -> Any:
        """The result of work on activations, of which there is one at a time."""
        self._stop.clear()
        self._batches = 0
        if self._subject is not None and self._threads is not None:
            import torch

            torch.set_num_threads(self._threads)  # of this thread
        return self._tried(work)

    def _tried(self, work: Callable[[], Any]) -> Any:
        """The work's result; an error that a user can mend as `Failed`."""
        try:
            return work()
        except NeurolocalError as error:
            return Failed(str(error), isinstance(error, (ConfigError, SubjectError)) or _disk_is_full(error))
        except OSError as error:
            if not _disk_is_full(error):
                raise
            return Failed(f"writing the shards of {self._request.store}: {first_line(error)}. Make room.", True)


def _part(first: int, last: int, path: Path, tokens: int) -> Part:
    return Part(first, last, path.name, path.stat().st_size, whole_sha256(path), tokens)


def _take_over(earlier: list[Path], path: Path) -> None:
    """Begin with the checkpoint of the earlier try that got furthest, if one opens.

    It is copied: the worker that wrote it may still live.
    """
    from neurolocal.store import Store

    found: list[tuple[int, Path]] = []
    for one in earlier:
        with contextlib.suppress(NeurolocalError, OSError), Store(one) as store:
            found.append((store.manifest["rows"], one))
    if found:
        _, best = max(found, key=lambda pair: pair[0])
        with contextlib.suppress(NeurolocalError, FileNotFoundError), replacing(path, durable=False) as beside:
            shutil.copyfile(best, beside)


def _disk_is_full(error: BaseException | None) -> bool:
    while error is not None:
        said = str(error)
        if getattr(error, "errno", None) in FULL or "disk is full" in said or "No space left" in said:
            return True
        error = error.__cause__
    return False


def there(name: str | None) -> str | None:
    """A name as every worker understands it: a path from the root, where it is one of this machine."""
    return name if name is None or not Path(name).exists() else str(Path(name).resolve())


def absolute(request: CollectRequest) -> CollectRequest:
    """The request with paths that do not depend on the folder that a worker runs in."""
    return dataclasses.replace(
        request,
        subject=there(request.subject) or request.subject,
        tokenizer=there(request.tokenizer),
        corpus=request.corpus if isinstance(request.corpus, Address) else request.corpus.absolute(),
        store=request.store.absolute(),
    )
