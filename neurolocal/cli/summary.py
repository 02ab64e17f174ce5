"""`neurolocal summary`."""

from __future__ import annotations

from neurolocal.cli.options import llm_option, replace_option, vectors_option
from neurolocal.cli.stage_command import stage_command
from neurolocal.config import SummaryConfig

summary = stage_command(
    "summary",
    SummaryConfig,
    help="What would a person call it? A local LLM describes neurons.",
    options=(vectors_option, llm_option, replace_option),
    shows="neurolocal summary smol.h5 --layers 14 --llm qwen.gguf --limit 100",
    by_workers=True,
)
