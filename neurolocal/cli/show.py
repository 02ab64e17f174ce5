"""`neurolocal show`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from neurolocal.cli.options import example, side_option, site_option, store_argument


@click.command(epilog=example("neurolocal show smol.h5 14 159"))
@store_argument
@click.argument("layer", type=int)
@click.argument("neuron", type=int)
@side_option
@site_option
@click.option("--expert", type=click.IntRange(0), help="NEURON is the index within this expert of the layer.")
@click.option("--limit", type=click.IntRange(0), help="Examples to show.  [default: all]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def show(
    path: Path, layer: int, neuron: int, side: Any, site: Any, expert: int | None, limit: int | None, as_json: bool
) -> None:
    """One neuron: its examples, evidence and statistics."""
    from neurolocal import report
    from neurolocal.store import Store

    with Store(path, site=site) as store:
        neuron = neuron if expert is None else store.neuron_of(layer, expert, neuron)
        if as_json:
            return click.echo(report.neuron_json(store, layer, neuron, side=side, limit=limit))
        return report.show(store, layer, neuron, out=sys.stdout, side=side, limit=limit)
