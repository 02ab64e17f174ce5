"""Activations -> the best examples of every neuron, in one pass: lists, windows, statistics, a sample, and the loop."""

from neurolocal.collect.loop import CHECKPOINT_SECONDS, Outcome, Progress, collect, resolved, start

__all__ = ["CHECKPOINT_SECONDS", "Outcome", "Progress", "collect", "resolved", "start"]
