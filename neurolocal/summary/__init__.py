"""What would a person call it? Descriptions of neurons by a local LLM.

peaks (what a neuron brings) -> templates, categories, explain, judge (who proposes, who chooses) -> describe.
texts (which texts judge) -> asking (the LLM), firing (no LLM) -> measures -> scoring. journal: what a stop costs.
`llm` is the only importer of llama_cpp, and only when a model is loaded.
"""

from neurolocal.summary.categories import Vectors
from neurolocal.summary.describe import Description, describe, table
from neurolocal.summary.llm import LLM, load_llm
from neurolocal.summary.peaks import Neuron

__all__ = ["LLM", "Description", "Neuron", "Vectors", "describe", "load_llm", "table"]
