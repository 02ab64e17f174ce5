"""Text -> token rows: reading Pile-format files as a stream, tokenising, packing, and where to go on after a stop."""

from neurolocal.corpus.cursor import Cursor, Piece, rest_arrays, rest_from
from neurolocal.corpus.packing import Batch, Encode, Encoded, RowStream, batches
from neurolocal.corpus.readers import Document, corpus_files, documents

__all__ = [
    "Batch",
    "Cursor",
    "Document",
    "Encode",
    "Encoded",
    "Piece",
    "RowStream",
    "batches",
    "corpus_files",
    "documents",
    "rest_arrays",
    "rest_from",
]
