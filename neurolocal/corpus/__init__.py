"""Text -> token rows: reading Pile-format files as a stream, tokenising, packing, and the cursor to resume at."""

from neurolocal.corpus.cursor import Cursor, Piece, rest_arrays, rest_from
from neurolocal.corpus.feed import batches
from neurolocal.corpus.files import CorpusListing, corpus_files, corpus_listing
from neurolocal.corpus.packing import Batch
from neurolocal.corpus.parts import Encode, Encoding
from neurolocal.corpus.readers import Document, documents
from neurolocal.corpus.sizes import CorpusFile
from neurolocal.corpus.stream import RowStream

__all__ = [
    "Batch",
    "CorpusFile",
    "CorpusListing",
    "Cursor",
    "Document",
    "Encode",
    "Encoding",
    "Piece",
    "RowStream",
    "batches",
    "corpus_files",
    "corpus_listing",
    "documents",
    "rest_arrays",
    "rest_from",
]
