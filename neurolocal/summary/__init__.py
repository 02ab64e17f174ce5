"""What would a person call it? Descriptions of neurons by a local LLM.

peaks (the words that a neuron peaks on) -> templates, categories, prompt, judge (who proposes, who chooses) ->
description -> stage; notes: what only an LLM that answers in its own words reads; notebook: the notebook's method.
"""

from neurolocal.summary.categories import WordVectors
from neurolocal.summary.description import Describer, Description, describe, table

__all__ = ["Describer", "Description", "WordVectors", "describe", "table"]
