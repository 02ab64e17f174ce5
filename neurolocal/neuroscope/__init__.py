"""Neuroscope: its pages become stores, its activations are computed again, stores are compared, and become pages.

This room reads stores; `replay` and `export` also receive a subject. Each module is imported by its own name.
See README.md for the tree.
"""
