"""Beyond one machine: collections by the workers of a Ray cluster, and what a run will cost before it is started."""
