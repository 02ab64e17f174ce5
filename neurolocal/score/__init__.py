"""What is a description worth? Scores on texts that no explanation was made from.

random_rows, texts (which texts) -> classifier (an LLM), embedding (word vectors) -> measures; kernel -> pattern,
lookup -> firing (no LLM); all of these -> scorer (one neuron) -> rows (the table), means (a layer) -> stage.
"""
