"""The store: one HDF5 file with all results of a run, described in FORMAT.md. The only room that imports h5py."""

from neurolocal.store.check import Report, check
from neurolocal.store.datasets import Blocks
from neurolocal.store.find import Match, find
from neurolocal.store.read import Store
from neurolocal.store.write import StoreContent, add_evidence, write_collected, write_effects
from neurolocal.store.write_rows import RowBlocks, StoredRows

__all__ = [
    "Blocks",
    "Match",
    "Report",
    "RowBlocks",
    "Store",
    "StoreContent",
    "StoredRows",
    "add_evidence",
    "check",
    "find",
    "write_collected",
    "write_effects",
]
