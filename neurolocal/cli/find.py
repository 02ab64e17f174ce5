"""`neurolocal find`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, get_args

import click

from neurolocal.cli.options import example, layers_option, store_argument
from neurolocal.literals import Site


@click.command(epilog=example('neurolocal find smol.h5 " poly"'))
@store_argument
@click.argument("text")
@click.option("--word", is_flag=True, help="As a whole word, whatever its tokens, case and spaces.")
@layers_option("all collected")
@click.option("--site", type=click.Choice(get_args(Site)), help="Which site.  [default: all of the store's]")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Neurons to show.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list.")
def find(
    path: Path, text: str, word: bool, layers: tuple[int, ...] | None, site: Any, limit: int, as_json: bool
) -> None:
    """The neurons whose examples peak on a token (or word)."""
    from dataclasses import asdict

    from neurolocal.store import Store
    from neurolocal.store import find as find_neurons

    with Store(path) as store:
        found = find_neurons(store, text, limit=limit, word=word, site=site, layers=layers)
        if as_json:
            return click.echo(json.dumps([asdict(one) for one in found]))
        from neurolocal.report.matches import print_matches

        return print_matches(found, text=text, sites=store.sites, out=sys.stdout)
