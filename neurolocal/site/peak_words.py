"""The whole word at a position of a stored row; the words of rows that are asked for often are kept.

Invariant: what is kept changes no word (`row_words` equals `word_at` at each position). Cost: `word_at` for a row that
is asked for the first times, then a look-up; at most `TOKENS` tokens' worth of words are kept, some 40 MB.
"""

from __future__ import annotations

from neurolocal.store import Store
from neurolocal.words.vocabulary import RowWords

TOKENS = 200_000
"""Tokens of the rows whose words are kept."""

ROWS = 100_000
"""Rows whose number of questions is kept."""

DENSE = 32
"""Tokens of a row for each question, from which all words of the row cost less than single ones."""


class PeakWords:
    """The words of the rows of one store."""

    def __init__(self, store: Store) -> None:
        """Of an open store."""
        self._store = store
        self._rows: dict[int, RowWords] = {}
        self._tokens = 0
        self._asked: dict[int, int] = {}

    def text(self, row: int, position: int) -> str:
        """The word at a position of a row of the corpus.

        Raises:
            StoreError: the store does not hold the row, or the row ends before the position.
        """
        known = self._rows.get(row)
        if known is not None:
            self._require(row, position, len(known))
            return known.text(position)
        tokens, vocabulary = self._store.row(row), self._store.vocabulary
        self._require(row, position, len(tokens))
        if len(self._asked) >= ROWS:
            self._asked.clear()
        self._asked[row] = asked = self._asked.get(row, 0) + 1
        if asked * DENSE < len(tokens):
            return vocabulary.word_at(tokens, position).text
        if self._tokens + len(tokens) > TOKENS:
            self._rows.clear()
            self._tokens = 0
        self._rows[row] = words = vocabulary.row_words(tokens)
        self._tokens += len(tokens)
        return words.text(position)

    def _require(self, row: int, position: int, length: int) -> None:
        if not 0 <= position < length:
            raise self._store.checked.bad(f"an example is at position {position} of row {row}, which ends before it")
