"""`neurolocal meanings`."""

from __future__ import annotations

from neurolocal.cli.options import vectors_option
from neurolocal.cli.stage_command import stage_command
from neurolocal.config import MeaningsConfig

meanings = stage_command(
    "meanings",
    MeaningsConfig,
    help="Has a neuron one meaning or several?",
    options=(vectors_option,),
    shows="neurolocal meanings smol.h5 --layers 3,14,26",
)
