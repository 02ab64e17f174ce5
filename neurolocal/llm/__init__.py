"""The local LLM: how does a text go on, and how probable is a continuation?

model (a GGUF in llama.cpp) -> generate, likelihood. llama_cpp is imported here only, and only when a model is loaded.
"""

from neurolocal.llm.generate import Generation, complete
from neurolocal.llm.likelihood import Prompt, log_probabilities, log_probabilities_of_texts, next_log_probabilities
from neurolocal.llm.model import LLM, load_llm, require_llm

__all__ = [
    "LLM",
    "Generation",
    "Prompt",
    "complete",
    "load_llm",
    "log_probabilities",
    "log_probabilities_of_texts",
    "next_log_probabilities",
    "require_llm",
]
