"""Token ids -> text and whole words; what words share by their letters; which words are spellings of one another."""

from neurolocal.words.vocabulary import WORD, RowWords, Vocabulary, Word, folded

__all__ = ["WORD", "RowWords", "Vocabulary", "Word", "folded"]
