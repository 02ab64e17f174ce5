"""Token ids -> text and whole words; peak words; shared forms and spelling variants.

Read order: `vocabulary` (with `marks`), `marked`, `counted`, `repeated`, `variants`, `forms`, `peaks`,
`notebook_examples`.
"""

from neurolocal.words.vocabulary import WORD, RowWords, Vocabulary, Word, folded

__all__ = ["WORD", "RowWords", "Vocabulary", "Word", "folded"]
