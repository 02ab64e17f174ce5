"""`neurolocal verdict`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from neurolocal.cli.options import example, method_option, place_options, store_argument
from neurolocal.cli.stage_command import config_options, given, workspace_of
from neurolocal.config import VerdictConfig


@click.command(epilog=example("neurolocal verdict smol.h5 --layers 14 --explain"))
@store_argument
@place_options
@method_option
@config_options(VerdictConfig)
@click.option(
    "--explain",
    is_flag=True,
    help="Also print what decided the best neurons, and how other thresholds would change the counts.",
)
@click.option("--json", "as_json", is_flag=True, help="With --explain: a JSON list.")
def verdict(path: Path, explain: bool, as_json: bool, **options: Any) -> None:
    """The evidence -> a verdict and a rank for every neuron."""
    from neurolocal.pipeline.stages import run_stage

    if explain and options["method"] == "notebook":
        raise click.UsageError("--explain moves the thresholds of the default method; the notebook has none of them.")
    if as_json and not explain:
        raise click.UsageError("--json prints what --explain found: give both; the verdicts: neurolocal report --json.")
    workspace, settings = workspace_of(path, VerdictConfig, options)
    config = given(VerdictConfig, settings)
    run_stage("verdict", workspace, config)
    if not explain:
        return
    from neurolocal.report.effects import print_effects, print_reasons
    from neurolocal.verdict.stage import threshold_effects

    found = threshold_effects(workspace, config)
    if as_json:
        listed = [{"layer": at[0], "side": at[1], **e._asdict()} for at, effects in found.items() for e in effects]
        click.echo(json.dumps(listed))
        return
    for (layer, side), effects in found.items():
        table = workspace.store.evidence("verdict", layer, side)
        print_reasons(table, title=f"layer {layer} · {side} · the best neurons", out=sys.stdout)
        print_effects(effects, title=f"layer {layer} · {side} · verdicts by threshold", out=sys.stdout)
