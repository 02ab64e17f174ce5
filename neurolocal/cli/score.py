"""`neurolocal score`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from neurolocal.cli.options import (
    device_option,
    example,
    llm_option,
    place_options,
    replace_option,
    store_argument,
    subject_option,
    vectors_option,
)
from neurolocal.cli.stage_command import config_options, engine_of, given, worker_options, workspace_of
from neurolocal.config import ScoreConfig


@click.command(epilog=example("neurolocal score smol.h5 --layers 14 --llm qwen.gguf"))
@store_argument
@place_options
@subject_option
@vectors_option
@llm_option
@replace_option
@device_option
@config_options(ScoreConfig)
@worker_options
@click.option("--json", "as_json", is_flag=True, help="The means by layer and side: a JSON list.")
def score(path: Path, as_json: bool, **options: Any) -> None:
    """What is a description worth, on texts it was not made from?"""
    from neurolocal.pipeline.stages import run_stage
    from neurolocal.score.means import means
    from neurolocal.score.stage import places

    engine = engine_of(options)
    workspace, settings = workspace_of(path, ScoreConfig, options)
    run_stage("score", workspace, given(ScoreConfig, settings), engine=engine)
    if as_json:
        found = [
            {"layer": layer, "side": side} | {k: None if v != v else v for k, v in mean._asdict().items()}
            for layer, side in places(workspace)
            for mean in means(workspace.store.evidence("score", layer, side))
        ]
        click.echo(json.dumps(found))
