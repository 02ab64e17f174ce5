"""What is a description worth? Judged on texts that explained nothing.

texts (which texts judge) -> asking (the LLM), firing (no LLM) -> measures -> scorer (one neuron) -> means (a layer).
"""
