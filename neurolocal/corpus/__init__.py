"""Text -> token rows: reading Pile-format files as a stream, tokenising, packing, and the cursor to resume at."""

from neurolocal.corpus.cursor import Cursor, Piece, rest_arrays, rest_from
from neurolocal.corpus.packing import Batch, Encode, Encoding, RowStream, batches
from neurolocal.corpus.readers import Document, corpus_files, documents

__all__ = [
    "Batch",
    "Cursor",
    "Document",
    "Encode",
    "Encoding",
    "Piece",
    "RowStream",
    "batches",
    "corpus_files",
    "documents",
    "rest_arrays",
    "rest_from",
]
