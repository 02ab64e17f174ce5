"""The HDF5 file that everything else rests on: see FORMAT.md. The only room that imports h5py."""

from neurolocal.store.check import Report, check
from neurolocal.store.find import Found, find
from neurolocal.store.read import Store
from neurolocal.store.write import Blocks, Collected, StoredRows, add_evidence, write_collected

__all__ = [
    "Blocks",
    "Collected",
    "Found",
    "Report",
    "Store",
    "StoredRows",
    "add_evidence",
    "check",
    "find",
    "write_collected",
]
