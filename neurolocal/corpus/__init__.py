"""Text -> token rows: reading Pile-format files as a stream, tokenising, packing, and where to go on after a stop."""

from neurolocal.corpus.packing import Batch, Cursor, Encode, RowStream, batches
from neurolocal.corpus.readers import Document, corpus_files, documents

__all__ = ["Batch", "Cursor", "Document", "Encode", "RowStream", "batches", "corpus_files", "documents"]
