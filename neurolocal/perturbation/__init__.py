"""Does the activation follow the concept when the word is replaced?

Reads in this order: `substitutes` (what is put in a word's place), `plan`
(what is run where), `statistics` (figures of many neurons), `default` (all of it, one table a layer), `notebook` (the
original's way).
"""

from neurolocal.perturbation.default import Tester
from neurolocal.perturbation.notebook import notebook_perturb, notebook_tokens

__all__ = ["Tester", "notebook_perturb", "notebook_tokens"]
