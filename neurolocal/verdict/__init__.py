"""Evidence -> verdict and rank, by stated rules; and the effect of other thresholds.

Read order: `evidence` (what is known of one neuron), `rules` (what decides), `reasons` (how it is put into words),
`ranking` (score and rank), `notebook` (the original's ranking), `table` (all of it, one table a layer), `sensitivity`.
"""
