"""The subject's tokenizer: found beside its weights, and its ids and texts exactly as its own files define them."""

from neurolocal.subject.tokenizers.find import find_tokenizer
from neurolocal.subject.tokenizers.tokenizer import Tokenizer

__all__ = ["Tokenizer", "find_tokenizer"]
