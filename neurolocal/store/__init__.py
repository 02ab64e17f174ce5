"""The store: one HDF5 file with all results of a run, described in FORMAT.md. The only room that imports h5py."""

from neurolocal.store.check import Report, check
from neurolocal.store.find import Match, find
from neurolocal.store.read import Store
from neurolocal.store.write import Blocks, StoreContent, StoredRows, add_evidence, write_collected, write_effects

__all__ = [
    "Blocks",
    "Match",
    "Report",
    "Store",
    "StoreContent",
    "StoredRows",
    "add_evidence",
    "check",
    "find",
    "write_collected",
    "write_effects",
]
