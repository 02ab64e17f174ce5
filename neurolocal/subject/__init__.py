"""The model under study: loading it, locating its neurons, and reading them during a forward pass.

The only room that imports transformers and TransformerLens.
"""

from neurolocal.subject.load import load_subject
from neurolocal.subject.model import Subject

__all__ = ["Subject", "load_subject"]
