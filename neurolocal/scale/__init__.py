"""Beyond one machine: what a run will cost before it is started."""
