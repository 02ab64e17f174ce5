"""Activations -> the strongest examples of every neuron, its statistics and a random sample, in one pass."""

from neurolocal.collect.empty import resolved, start
from neurolocal.collect.loop import CHECKPOINT_SECONDS, Contents, Outcome, Progress, collect

__all__ = ["CHECKPOINT_SECONDS", "Contents", "Outcome", "Progress", "collect", "resolved", "start"]
