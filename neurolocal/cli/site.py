"""`neurolocal site`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from neurolocal.cli.options import FilePath, Numbers, example, layers_option, say, site_option, store_argument
from neurolocal.cli.stage_command import scale_of, worker_options
from neurolocal.errors import ConfigError


@click.command(epilog=example("neurolocal site smol.h5 site/ --layers 4,14,24 --top 500"))
@store_argument
@click.argument("folder", metavar="DIR", type=FilePath())
@layers_option("all collected")
@click.option("--neurons", type=Numbers(), help="Neurons of each layer, e.g. 0-99.  [default: all]")
@click.option("--top", type=click.IntRange(1), help="Neurons of each layer, by rank.  [default: all]")
@click.option("--processes", type=click.IntRange(1), help="How many write.  [default: one a core]")
@site_option
@worker_options
def site(
    path: Path, folder: Path, layers: tuple[int, ...] | None, neurons: tuple[int, ...] | None, top: int | None,
    processes: int | None, site: Any, **workers: Any,
) -> None:  # fmt: skip
    """A static site of the store: a page a neuron, tables, search.

    It opens from the disk and from any web server, and asks nothing of a network.
    What did not change since the last time is not written again; pages of neurons that are
    no longer chosen are removed.
    """
    from neurolocal.site.build import write_site

    scale, deal = scale_of(workers), None
    if scale.engine == "ray":
        from neurolocal.scale.pages import pages_on_ray

        if processes is not None:
            raise ConfigError(f"--processes {processes} with --engine ray: give --workers in place of --processes")
        deal = pages_on_ray(scale, say=say)
    built = write_site(path, folder, site=site, layers=layers, neurons=neurons, top=top, processes=processes, deal=deal)
    say(
        f"site: {folder / 'index.html'} ({built.neurons:,} neurons; {built.written:,} of {built.files:,} files written"
        f"{f', {built.removed:,} of before removed' if built.removed else ''})"
    )
