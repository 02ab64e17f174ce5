"""`neurolocal merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from neurolocal.cli.options import FilePath, Place, example, say


@click.command(epilog=example("neurolocal merge pile.h5 part0.h5 part1.h5 part2.h5 part3.h5"))
@click.argument("out", type=FilePath())
@click.argument("parts", type=Place(), nargs=-1, required=True)
def merge(out: Path, parts: tuple[Any, ...]) -> None:
    """Shards of a collection -> the store that one run would make.

    A part may be the address of a folder to which collect --upload copied shards: s3://bucket/run/.
    """
    from neurolocal.files import scratch_folder
    from neurolocal.pipeline.merge import merge_stores
    from neurolocal.storage.uploads import fetched

    with scratch_folder() as folder:
        merge_stores(out, fetched(parts, folder, say=say), say=say)
