"""`neurolocal run`."""

from __future__ import annotations

from pathlib import Path

import click

from neurolocal.cli.options import FilePath, example, say, until_option


@click.command(epilog=example("neurolocal run RUN.toml"))
@click.argument("run_toml", type=FilePath())
@click.option("--limit", type=click.IntRange(0), default=20, show_default=True, help="Neurons a layer to print.")
@until_option
def run(run_toml: Path, limit: int, until: str | None) -> None:
    """Everything, from one file; an interrupted run resumes.

    The file has a table [run] (subject, corpus, store, layers, vectors, llm) and one for each stage's settings.
    """
    from neurolocal.pipeline.run import read_run, run_all

    found = read_run(run_toml)
    if found.scale.engine == "single":
        run_all(found, limit=limit, say=say, until=until)
        return
    from neurolocal.scale.collect import collect_run
    from neurolocal.scale.neurons import stages_on_ray

    run_all(found, limit=limit, say=say, until=until, collect=collect_run, engine=stages_on_ray(found.scale))
