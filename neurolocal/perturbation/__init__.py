"""Does the activation follow the concept when the word is replaced?

Read order: `substitutes` (what replaces a word), `layer_run` (what is run where) with `measurements` (what came out),
`statistics` (figures of many neurons), `in_context` (the default method: one table a layer), `notebook` (the original's
method), `stage`.
"""

from neurolocal.perturbation.in_context import InContextPerturbation, perturbation_table
from neurolocal.perturbation.notebook import notebook_perturbation, notebook_tokens

__all__ = ["InContextPerturbation", "notebook_perturbation", "notebook_tokens", "perturbation_table"]
