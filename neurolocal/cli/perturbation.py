"""`neurolocal perturbation`."""

from __future__ import annotations

from neurolocal.cli.options import device_option, subject_option, vectors_option
from neurolocal.cli.stage_command import stage_command
from neurolocal.config import PerturbationConfig

perturbation = stage_command(
    "perturbation",
    PerturbationConfig,
    help="Does the activation follow when the word is replaced?",
    options=(subject_option, vectors_option, device_option),
    shows="neurolocal perturbation smol.h5 --layers 14 --screen 200",
    by_workers=True,
)
