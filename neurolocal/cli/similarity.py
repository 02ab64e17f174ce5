"""`neurolocal similarity`."""

from __future__ import annotations

from neurolocal.cli.options import vectors_option
from neurolocal.cli.stage_command import stage_command
from neurolocal.config import SimilarityConfig

similarity = stage_command(
    "similarity",
    SimilarityConfig,
    help="Do a neuron's top tokens belong together?",
    options=(vectors_option,),
    shows="neurolocal similarity smol.h5 --layers 3,14,26",
)
