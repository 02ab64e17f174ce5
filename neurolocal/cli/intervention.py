"""`neurolocal intervention`."""

from __future__ import annotations

from neurolocal.cli.options import device_option, subject_option
from neurolocal.cli.stage_command import stage_command
from neurolocal.config import InterventionConfig

intervention = stage_command(
    "intervention",
    InterventionConfig,
    help="What does a neuron do to the next token?",
    options=(subject_option, device_option),
    by_workers=True,
    shows="neurolocal intervention smol.h5 --layers 14 --limit 20",
)
