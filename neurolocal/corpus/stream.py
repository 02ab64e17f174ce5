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
from neurolocal.corpus.packing import Batch, BatchBuilder
from neurolocal.corpus.parts import Encode
from neurolocal.corpus.readers import SkipCounts, documents
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
        limit = self.config.max_rows
        making = BatchBuilder(self.config, here, bos=self.bos, eos=self.eos, special=self.special)
        found = self._encoded(here)
        size = max(1, corpus_bytes(self.files))
        while limit is None or here.rows < limit:
            wanted = self.config.batch_size if limit is None else min(self.config.batch_size, limit - here.rows)
            while not (full := making.cut(wanted)) and (item := next(found, None)):
                making.read(item, size=size)
            if not full and not making.rows:
                break
            batch = making.batch(here)
            here = batch.after
            yield batch
        if here.rows == 0:
            raise CorpusError(self._nothing(making.cursor.documents, making.held))
        self.end = here

    def _encoded(self, cursor: Cursor) -> Iterator[Encoded]:
        """Documents with their ids from a cursor on."""
        config = self.config
        found = documents(
            self.files,
            file=cursor.file,
            record=cursor.record,
            text_field=config.text_field,
            strict=config.strict,
            skipped=self.skipped,
            render=self.render,
            longest=config.longest_record,
            d_vocab=self.d_vocab,
        )
        groups = Groups(self.files, self.encode, self.encode_chat or self.encode, self.cuttable, config.longest_text)
        return in_order(groups.of(found, self.skipped, begin=cursor.character), self.threads)

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
