"""Files -> batches: the documents are read, tokenised and packed, from any cursor on.

Invariant: rows, their indices and the cursor depend on the corpus, the tokenizer and the config alone, so every shard
sees the same batches and keeps its own.
Cost: that of tokenising; memory as `encoded` and `packing` say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool

from neurolocal.config import CollectConfig
from neurolocal.corpus.conversations import Render
from neurolocal.corpus.cursor import Cursor
from neurolocal.corpus.encoded import Encoded, Groups, in_order
from neurolocal.corpus.kept import KeptText
from neurolocal.corpus.packing import Batch, BatchBuilder
from neurolocal.corpus.parts import Encode
from neurolocal.corpus.readers import Document, SkipCounts, Spot, documents
from neurolocal.corpus.sizes import CorpusFile, corpus_bytes
from neurolocal.errors import ConfigError, CorpusError


@dataclass
class RowStream:
    """The source of rows: files, tokenizer and conventions."""

    files: Sequence[CorpusFile]
    encode: Encode
    bos: int | None
    eos: int | None
    config: CollectConfig
    render: Render | None = None
    """Writes a conversation as one text; None skips conversations."""
    encode_chat: Encode | None = None
    """Encodes what `render` wrote, whose control tokens are control tokens; None is `encode`."""
    special: Bool[np.ndarray, "d_vocab"] | None = None
    """Control tokens; those that documents write out are counted."""
    cuttable: bool = False
    """Whether a long text may be tokenised in parts with the same ids."""
    d_vocab: int | None = None
    """Token ids that the subject has, which those of a corpus of ids may be; None takes any."""
    threads: int = 1
    """Groups of documents that are tokenised at the same time."""
    kept: KeptText | None = None
    """Text that is tokenised already, which is read in place of the files."""
    skipped: SkipCounts = field(default_factory=SkipCounts)
    """Records skipped so far."""
    end: Cursor | None = field(default=None, init=False)
    """The cursor after the last batch of all shards, once all batches have been consumed; else None."""

    def __post_init__(self) -> None:
        if self.config.bos == "prepend" and self.bos is None:
            raise ConfigError("bos = prepend, but the tokenizer has neither BOS nor EOS: pass --bos none")
        if self.config.packing == "concat" and self.eos is None and self.bos is None:
            raise ConfigError("packing = concat, but the tokenizer has no EOS to join by: pass --packing document")

    def batches(self, cursor: Cursor | None = None) -> Iterator[Batch]:
        """Every batch of the corpus after a cursor; the last may have fewer rows. Then `end` is set.

        Raises:
            CorpusError: the corpus cannot be read, or gives no row at all.
        """
        here = cursor or Cursor()
        self.end = None
        self.skipped.counts.clear()
        self.skipped.counts.update(here.skipped)
        items = self.encoded(here) if self.kept is None else self.kept.items(here, self.skipped)
        making = self.builder(here)
        yield from self.packed(items, making)
        self.require_rows(making)
        self.end = making.made

    def builder(self, cursor: Cursor) -> BatchBuilder:
        """What makes batches behind a cursor."""
        return BatchBuilder(self.config, cursor, bos=self.bos, eos=self.eos, special=self.special)

    def packed(self, items: Iterator[Encoded], making: BatchBuilder) -> Iterator[Batch]:
        """The batches that documents make."""
        limit = self.config.max_rows
        size = max(1, corpus_bytes(self.files))
        while limit is None or making.made.rows < limit:
            wanted = self.config.batch_size if limit is None else min(self.config.batch_size, limit - making.made.rows)
            while not (full := making.cut(wanted)) and (item := next(items, None)):
                making.read(item, size=size)
            if not full and not making.rows:
                break
            yield making.batch()

    def encoded(self, cursor: Cursor, *, until: Spot | None = None) -> Iterator[Encoded]:
        """Documents with their ids from a cursor on, up to a record."""
        found = self.documents((cursor.file, cursor.record), until=until, skipped=self.skipped)
        groups = Groups(
            self.files, self.encode, self.encode_chat or self.encode, self.cuttable, self.config.longest_text
        )
        return in_order(groups.of(found, self.skipped, begin=cursor.character), self.threads)

    def documents(
        self, begin: Spot = (0, 0), *, until: Spot | None = None, skipped: SkipCounts | None = None
    ) -> Iterator[Document]:  # fmt: skip
        """The documents from one record up to another one."""
        config = self.config
        return documents(
            self.files,
            file=begin[0],
            record=begin[1],
            until=until,
            text_field=config.text_field,
            strict=config.strict,
            skipped=skipped,
            render=self.render,
            longest=config.longest_record,
            d_vocab=self.d_vocab,
        )

    def require_rows(self, made: BatchBuilder) -> None:
        """Refuse a corpus that has been read to its end, and gave no row.

        Raises:
            CorpusError: it has none.
        """
        if made.made.rows == 0:
            raise CorpusError(self._nothing(made.cursor.documents, made.held))

    def _nothing(self, documents: int, tokens: int) -> str:
        where = ", ".join(str(f) for f in self.files[:3]) + (" …" if len(self.files) > 3 else "")
        if documents:
            return (
                f"no rows in {where}: {documents} documents hold {tokens} tokens, a row needs "
                f"{self.config.row_length}. Pass a smaller --row-length, --packing document, or more text."
            )
        why = "; ".join(f"{n} records: {reason}" for reason, n in self.skipped.counts.items())
        first = next(iter(self.skipped.first.values()), "")
        field_help = " Pass --text-field NAME." if "field" in why or "column" in why else ""
        what = "; ".join(part for part in (why or "it is empty", first) if part)
        return f"no rows in {where}: it holds no document ({what}).{field_help}"
