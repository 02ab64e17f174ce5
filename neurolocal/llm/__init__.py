"""The local LLM: how does a text go on, and how probable is a continuation?

The only importer of llama_cpp, and only when a model is loaded.
"""

from neurolocal.llm.model import LLM, Generation, load_llm

__all__ = ["LLM", "Generation", "load_llm"]
