"""Activations -> the best examples of every neuron, in one pass: lists, windows, statistics, and the loop."""

from neurolocal.collect.loop import CHECKPOINT_SECONDS, Outcome, Progress, collect, start

__all__ = ["CHECKPOINT_SECONDS", "Outcome", "Progress", "collect", "start"]
