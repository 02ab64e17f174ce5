"""The model under study: loading it, where its neurons are, and reading them during a forward pass.

The only room that imports transformers and TransformerLens.
"""

from neurolocal.subject.load import load_subject
from neurolocal.subject.model import Subject

__all__ = ["Subject", "load_subject"]
