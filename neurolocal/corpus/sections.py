"""A corpus -> sections: consecutive documents, which several processes can tokenise at once.

Where a section begins is a matter of speed alone: its rows are made behind those of the sections before it (`kept`).
So the text is read, and not tokenised, to find them; a text that cannot be read ends them, and is an error of those
who tokenise the last one.
Cost: reading and unpacking the corpus once; a section is a few numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from neurolocal.corpus.cursor import Cursor
from neurolocal.corpus.readers import Spot
from neurolocal.corpus.sizes import corpus_bytes
from neurolocal.errors import CorpusError

if TYPE_CHECKING:
    from neurolocal.corpus.stream import RowStream

ROWS_OF = 1 << 16
"""Tokens from which the rows of a text are estimated."""

BYTES_OF = 1 << 24
"""Characters from which the size of a corpus is estimated; compressed files are read in large steps."""

FIRST, LAST = 1.75, 0.25
"""Size of the first and the last section, over the mean: they shrink evenly, so that workers end at about one time."""


@dataclass(frozen=True)
class Section:
    """Consecutive documents."""

    number: int
    """Number of the section, from 0."""
    begin: Spot
    """File and record of the first."""
    end: Spot | None
    """The first document behind it; None: it reaches to the end of the corpus."""


def find_sections(
    stream: RowStream, *, size: int, sections: int, after: Section | None = None
) -> Iterator[Section]:  # fmt: skip
    """The sections of a corpus, or those behind one of them.

    Args:
        stream: the rows, whose text it is.
        size: characters (or token ids) of a section, in the mean; a document is in the section with most of it.
        sections: how many there are, by estimate; those behind are as small as the last.
        after: the section before the first; it does not reach to the end.
    """
    number, at, n = 0, (0, 0), 0
    if after is not None:
        assert after.end is not None
        number, at = after.number + 1, after.end
    try:
        for document in stream.documents(at):
            here = (document.file, document.record)
            if n and n + document.size / 2 > size * _share(number, sections):
                yield Section(number, at, here)
                number, at, n = number + 1, here, 0
            n += document.size
    except CorpusError:  # one who reads the last section raises it
        pass
    yield Section(number, at, None)


def _share(number: int, sections: int) -> float:
    """Size of a section over the mean."""
    return FIRST - (FIRST - LAST) * min(1.0, number / (sections - 1)) if sections > 1 else 1.0


def section_size(stream: RowStream, *, sections: int) -> int:
    """Characters (or token ids) of one of so many sections, in the mean, estimated from the corpus's first documents.

    Raises:
        CorpusError: the corpus cannot be read, or gives no row at all.
    """
    after = Cursor()
    for batch in stream.batches():
        after = batch.after
        if after.tokens >= ROWS_OF:
            break
    n, sampled, read = 0, after.character, 0
    ended = True
    for document in stream.documents():
        if n >= BYTES_OF:
            ended = False
            break
        if (document.file, document.record) < (after.file, after.record):
            sampled += document.size
        n, read = n + document.size, document.read
    whole = n if ended else n * corpus_bytes(stream.files) / max(1, read)
    if stream.config.max_rows is not None:
        whole = min(whole, sampled / after.rows * stream.config.max_rows)
    return max(1, math.ceil(whole / sections))
