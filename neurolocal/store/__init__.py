"""The HDF5 file that everything else rests on: see FORMAT.md. The only room that imports h5py."""

from neurolocal.store.read import Store
from neurolocal.store.write import Collected, StoredRows, add_evidence, write_collected

__all__ = ["Collected", "Store", "StoredRows", "add_evidence", "write_collected"]
