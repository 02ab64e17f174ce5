"""Every file that the program reads from elsewhere, with seeds, ways to damage it, and the call that reads it."""

from __future__ import annotations

from fuzzing import corpora, ggufs, models, runs, serving, sites, stores, tokenizers
from fuzzing.reader import Reader

READERS: dict[str, Reader] = {
    **corpora.READERS,
    **models.READERS,
    **ggufs.READERS,
    **tokenizers.READERS,
    **stores.READERS,
    **sites.READERS,
    **runs.READERS,
    **serving.READERS,
}
"""Name -> reader."""
