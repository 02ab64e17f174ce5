"""Evidence -> verdict and rank, by stated rules; and what other thresholds would do."""
