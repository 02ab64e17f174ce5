"""A store out to other tools: Parquet and CSV tables, neuron records, Neuronpedia's files.

Invariant: reads only the store, never writes to it, and runs no model. Files appear whole or not at all.
"""
