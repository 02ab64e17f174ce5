"""Do the top tokens belong together? Peak words, word vectors, coherence, and a null of the same frequency.

Reads in this order: `peaks` (examples -> words), `formats` and `vectors` (words -> unit vectors), `coherence`
(vectors -> score), `null` (score -> z and p), `default` (all of it, one table a layer), `notebook` (the
original's way).
"""

from neurolocal.similarity.default import similarity
from neurolocal.similarity.facts import vector_facts
from neurolocal.similarity.notebook import notebook_similarity
from neurolocal.similarity.vectors import Vectors, load_vectors

__all__ = ["Vectors", "load_vectors", "notebook_similarity", "similarity", "vector_facts"]
