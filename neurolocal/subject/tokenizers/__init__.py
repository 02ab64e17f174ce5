"""The subject's tokenizer: found beside its weights, and its ids and texts exactly as its own files define them."""
