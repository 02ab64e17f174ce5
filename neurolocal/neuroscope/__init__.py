"""Against Neuroscope: its pages in and out, its numbers computed again, two stores compared.

Reads stores alone, but for `replay` and `export`, which are given a subject. Each module is imported by its own name:
`pages` (text -> what a page says), `importing`, `resolve` (strings -> token ids), `replay`, `compare`, `export`.
"""
