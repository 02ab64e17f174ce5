"""Documents with their ids -> fixed-length rows -> batches, each with the cursor at which a run resumes after it.

Two packings. `concat`: documents are joined by EOS and cut into full rows, each with BOS in front. TransformerLens's
`tokenize_and_concatenate` does the same within one of its batches; here it covers the whole corpus, and only the
incomplete row at its end is dropped. `document`: no row holds two documents; a longer one continues in the next row, a
shorter one is padded at its end.
Invariant: rows, their indices and the cursor depend on the documents, their ids and the config alone.
Cost: a rolling buffer of one document, or of one part of a long one.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int64

from neurolocal.config import CollectConfig
from neurolocal.corpus.conversations import TEMPLATE
from neurolocal.corpus.cursor import Cursor, Piece
from neurolocal.corpus.encoded import Encoded, Source
from neurolocal.provenance import Parts, labelled

SUBSETS = 1000
"""Names of subsets that are distinguished, the first in the corpus; a hostile corpus may have one for each document."""

OTHERS = "(others)"
"""The name for all further subsets."""


@dataclass(frozen=True)
class Batch:
    """Some rows of the corpus."""

    number: int
    """Number of the batch in the corpus."""
    tokens: Int64[np.ndarray, "batch pos"]
    """Token ids; entries at and after `length` are padding, which earlier positions of a causal model do not see."""
    length: Int64[np.ndarray, "batch"]
    """Tokens of each row that are no padding."""
    rows: Int64[np.ndarray, "batch"]
    """Row indices, ascending."""
    parts: Parts
    """Which documents each row is made of."""
    after: Cursor
    """Where to resume after this batch."""


class BatchBuilder:
    """The text that is in no row yet, and the rows of the batch that is being made of it."""

    def __init__(
        self, config: CollectConfig, cursor: Cursor, *, bos: int | None, eos: int | None,
        special: Bool[np.ndarray, "d_vocab"] | None = None,
    ) -> None:  # fmt: skip
        """Begin behind a cursor; `special` are the control tokens, to be counted in the documents."""
        self.config, self.cursor, self.held = config, cursor, sum(len(piece.tokens) for piece in cursor.rest)
        self.made = cursor  # behind the last batch
        self._rest = deque(cursor.rest)
        self._known = set(cursor.subsets)  # the rest belongs to a document that was begun, so its subset is among these
        self._whole, self._special = config.packing == "concat", special
        joint = eos if eos is not None else bos
        self._joint = np.array([joint], dtype=np.int32) if self._whole else np.empty(0, np.int32)
        self._blank = np.full(config.row_length, joint or 0, dtype=np.int64)
        self._head = int(config.bos == "prepend")
        self._blank[: self._head] = bos or 0
        self._begin()

    def _begin(self) -> None:
        self._tokens = np.tile(self._blank, (self.config.batch_size, 1))
        self._length: list[int] = []
        self._ends: list[int] = []
        self._parts: list[tuple[int, int, int, int, str]] = []
        self._counts: Counter[str] = Counter()
        self._behind = self.cursor  # the cursor when the last row was cut

    @property
    def rows(self) -> int:
        """Rows of the batch so far."""
        return len(self._length)

    def read(self, item: Encoded, *, size: int) -> None:
        """Add the next document or part of one; `size` is the size of the corpus in bytes."""
        document, encoded, cursor = item.document, item.encoding, self.cursor
        tokens = np.asarray(encoded[0], dtype=np.int32)
        control = 0 if self._special is None or document.roles else int(self._special[tokens].sum())
        character = np.full(len(tokens), -1) if encoded[1] is None else np.asarray(encoded[1], dtype=np.int64)
        if self._whole and cursor.documents and not item.begin:
            tokens = np.concatenate([self._joint, tokens])
            character = np.concatenate([np.full(1, -1 if encoded[1] is None else 0), character])
        for subset, begin, end in _by_role(document, character):
            if subset not in self._known and len(self._known) >= SUBSETS:
                subset = OTHERS
            self._known.add(subset)
            part = slice(begin, end)
            self._rest.append(Piece(tokens[part], character[part], document.file, document.record, subset))
        self.held += len(tokens)
        whole, n = item.end == document.size, max(1, document.size)
        read = min(1.0, document.read / size)
        self.cursor = replace(
            cursor,
            file=document.file,
            record=document.record + whole,
            character=0 if whole else item.end,
            documents=cursor.documents + (not item.begin),
            skipped=item.skipped,
            control=cursor.control + control,
            share=read if whole else cursor.share + (read - cursor.share) * (item.end - item.begin) / (n - item.begin),
        )

    def cut(self, wanted: int) -> bool:
        """Cut rows until the batch has as many as wanted; returns whether it has."""
        fill, before = self.config.row_length - self._head, self.rows
        while self.rows < wanted and self.held:
            n = min(fill, self.held if self._whole else self._next_document())
            if n < fill and (self._whole or self._goes_on()):
                break
            self._row(n)
        if self.rows > before:
            self._behind = replace(self.cursor, rest=tuple(self._rest))
        return self.rows == wanted

    def _next_document(self) -> int:
        """Tokens of the next document that are in no row yet."""
        first = self._rest[0]
        same = itertools.takewhile(lambda p: (p.file, p.record) == (first.file, first.record), self._rest)
        return sum(len(piece.tokens) for piece in same)

    def _goes_on(self) -> bool:
        """Whether the next document is one of which a part is still to come."""
        cursor, first = self.cursor, self._rest[0]
        return cursor.character > 0 and (first.file, first.record) == (cursor.file, cursor.record)

    def _row(self, n: int) -> None:
        row, at, begin = self._tokens[self.rows], self._head, 0
        self.held -= n
        while n:
            piece = self._rest[0]
            k = min(n, len(piece.tokens))
            row[at : at + k] = piece.tokens[:k]
            self._parts.append((begin, piece.file, piece.record, int(piece.character[0]), piece.subset))
            self._counts[piece.subset] += k
            if k == len(piece.tokens):
                self._rest.popleft()
            else:
                self._rest[0] = piece.behind(k)
            n, at = n - k, at + k
            begin = at
        self._length.append(at)
        self._ends.append(len(self._parts))

    def batch(self) -> Batch:
        """The rows cut so far, as the next batch; another one is begun."""
        before = self.made
        tokens, length = self._tokens[: self.rows], np.array(self._length, dtype=np.int64)
        chain = hashlib.sha256(bytes.fromhex(before.digest))
        chain.update(length.astype("<i8").tobytes())
        chain.update(tokens.astype("<u4").tobytes())
        after = self.made = replace(
            self._behind,
            rows=before.rows + self.rows,
            batches=before.batches + 1,
            tokens=before.tokens + self._counts.total(),
            digest=chain.hexdigest(),
            subsets=dict(sorted((self._counts + Counter(before.subsets)).items())),
        )
        rows = np.arange(before.rows, after.rows, dtype=np.int64)
        batch = Batch(before.batches, tokens, length, rows, Parts.of(self._ends, self._parts), after)
        self._begin()
        return batch


def _by_role(document: Source, character: Int64[np.ndarray, "n"]) -> Iterator[tuple[str, int, int]]:
    """The stretches of a document's tokens that are of one role: their subset, and their half-open range.

    A token is of the role in whose message it begins. A document that is no conversation is one stretch, and so is one
    whose tokens have no known place.
    """
    n = len(character)
    if not document.roles or not n or character[-1] < 0:
        yield from ((document.subset, 0, n),) if n else ()
        return
    starts = np.searchsorted(character, np.array([span[:2] for span in document.roles]))
    names = [labelled(document.subset, TEMPLATE), *(labelled(document.subset, span[2]) for span in document.roles)]
    which = np.zeros(n, np.int64)
    for i, (begin, end) in enumerate(starts.tolist()):
        which[begin:end] = i + 1
    edges = [0, *(np.flatnonzero(np.diff(which)) + 1).tolist(), n]
    for begin, end in itertools.pairwise(edges):
        yield names[which[begin]], begin, end
