"""Do the top tokens belong together? Peak words, word vectors, coherence, and a null of the same frequency.

Read order: `formats` and `vectors` (words -> unit vectors), `facts` (how good the vectors are), `coherence` (vectors ->
score), `null` (score -> z and p), `phrases` (whole windows), `frequency_matched` (the default method: one table a
layer), `notebook` (the original's method), `stage`.
"""

from neurolocal.similarity.facts import vector_facts
from neurolocal.similarity.frequency_matched import Coherent, coherent, dealt_similarity, frequency_matched_similarity
from neurolocal.similarity.notebook import notebook_similarity
from neurolocal.similarity.vectors import Vectors, load_vectors, require_vectors

__all__ = [
    "Coherent",
    "Vectors",
    "coherent",
    "dealt_similarity",
    "frequency_matched_similarity",
    "load_vectors",
    "notebook_similarity",
    "require_vectors",
    "vector_facts",
]
