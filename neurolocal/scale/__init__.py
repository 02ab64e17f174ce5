"""Collections beyond one process: shards of the corpus, done by the workers of a Ray cluster."""
