"""`neurolocal merge`."""

from __future__ import annotations

from pathlib import Path

import click

from neurolocal.cli.options import FilePath, example, say


@click.command(epilog=example("neurolocal merge pile.h5 part0.h5 part1.h5 part2.h5 part3.h5"))
@click.argument("out", type=FilePath())
@click.argument("parts", type=FilePath(), nargs=-1, required=True)
def merge(out: Path, parts: tuple[Path, ...]) -> None:
    """Shards of a collection -> the store that one run would make."""
    from neurolocal.pipeline.merge import merge_stores

    merge_stores(out, parts, say=say)
