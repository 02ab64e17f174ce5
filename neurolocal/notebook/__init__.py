"""A store in a notebook: objects that show themselves as HTML, tables of pandas, plots, and texts of one's own.

The same objects print as text in plain Python. Read order: `store`, `neuron`, `text`, `tables`, `plot`, `pages`.
"""

from neurolocal.notebook.neuron import Examples, StoredNeuron
from neurolocal.notebook.store import OpenStore, open_store
from neurolocal.notebook.text import NeuronText

__all__ = ["Examples", "NeuronText", "OpenStore", "StoredNeuron", "open_store"]
