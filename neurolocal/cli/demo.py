"""`neurolocal demo`."""

from __future__ import annotations

from pathlib import Path

import click

from neurolocal.cli.options import Count, FilePath, example, say, until_option


@click.command(epilog=example("neurolocal demo --out demo"))
@click.option("--out", type=FilePath(), default=Path("demo"), show_default=True, help="Folder for the results.")
@click.option("--max-rows", type=Count(), default=500, show_default=True, help="Rows of 256 tokens to collect.")
@click.option("--limit", type=click.IntRange(0), default=12, show_default=True, help="Neurons a layer to print.")
@click.option("--control", is_flag=True, help="Also run it on untrained weights, and show both counts of verdicts.")
@until_option
def demo(out: Path, max_rows: int, limit: int, control: bool, until: str | None) -> None:
    """Everything, on SmolLM2-135M and the sample corpus.

    Collects all 30 layers, analyses three of them, and lets the same model describe what was found. The page can be
    opened before the descriptions. A second run resumes, or says that nothing is left to do.
    """
    from neurolocal.pipeline.demo import run_demo

    run_demo(out, max_rows=max_rows, limit=limit, say=say, until=until, control=control)
