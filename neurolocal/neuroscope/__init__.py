"""Against Neuroscope: its pages in and out, its numbers computed again, two stores compared.

Reads stores alone, but for `replay` and `export`, which are given a subject. Each module is imported by its own name.
In: `pages` (text -> what a page says), `sheets` (files, in parallel), `gathered` (rows and strings), `known` and
`known_store` (activations over rows -> a store), `importing`, `maxima`, `gluscope`, `sources`.
Again: `resolve` (strings -> token ids), `rerun`, `replay`, `replaying`, `adopt`.
Beside: `sides`, `overlap`, `tail`, `contained`, `agreement`, `compare`, `comparison`, `comparison_page`.
Out: `whole_rows`, `writing`, `site_pages`, `export`. `commands` is the shell.
"""
