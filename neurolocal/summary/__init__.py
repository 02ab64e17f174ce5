"""What would a person call it? Descriptions of neurons by a local LLM.

peaks (which words a neuron peaks on) -> templates, categories, explain, judge (who proposes, who chooses) -> describe;
notes: what else an LLM that can read is told.
"""

from neurolocal.summary.categories import Vectors
from neurolocal.summary.describe import Description, describe, table

__all__ = ["Description", "Vectors", "describe", "table"]
