"""`neurolocal report`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neurolocal.cli.options import FilePath, example, layers_option, say, side_option, site_option, store_argument

if TYPE_CHECKING:
    from neurolocal.report import NeuronRow
    from neurolocal.store import Store


@click.command(epilog=example("neurolocal report smol.h5 --layer 14 --json > layer14.json"))
@store_argument
@layers_option("those with a verdict")
@click.option(
    "--limit", type=click.IntRange(0), default=None, help="Neurons a layer.  [default: 30 on the terminal, else all]"
)
@click.option("--json", "kind", flag_value="json", help="One JSON object with the list `neurons`.")
@click.option("--csv", "kind", flag_value="csv", help="One line a neuron.")
@click.option("--parquet", type=FilePath(), help="Write the neurons to this Parquet file.")
@click.option("--html", type=FilePath(), help="Write a self-contained page there.")
@click.option("--plots", metavar="DIR", type=FilePath(), help="Write figures of the layers, PNG and SVG, there.")
@site_option
@side_option
def report(
    path: Path, layers: tuple[int, ...] | None, limit: int | None, kind: str | None, parquet: Path | None,
    html: Path | None, plots: Path | None, site: Any, side: Any,
) -> None:  # fmt: skip
    """The neurons by rank: table, JSON, CSV, Parquet, page or plots."""
    from neurolocal import report as reports
    from neurolocal.store import Store

    with Store(path, site=site) as store:
        chosen = store.require_layers(layers)
        if plots is not None:
            _write_plots(store, chosen, plots, side)
        if layers is None:
            judged = [layer for layer in chosen if store.inputs("verdict", layer, side) is not None]
            chosen = judged or chosen
        if html is not None:
            reports.write_page(store, chosen, path=html, side=side)
            say(f"report: {html}")
        if parquet is not None:
            _write_parquet(reports.report_rows(store, chosen, side=side, limit=limit or None), parquet)
        if kind is None and (plots or html or parquet):
            return None
        shown = 30 if limit is None and kind is None else limit
        rows = reports.report_rows(store, chosen, side=side, limit=shown if kind is None else limit or None)
        if kind == "json":
            return click.echo(reports.report_json(store, rows, side=side), nl=False)
        if kind == "csv":
            return click.echo(reports.report_csv(rows).encode(), nl=False)  # UTF-8 wherever it goes
        verdicts = {layer: reports.layer_verdicts(store, layer, side=side) for layer in chosen}
        return reports.print_table(rows, out=sys.stdout, limit=shown, verdicts=verdicts)


def _write_plots(store: Store, layers: list[int], folder: Path, side: Any) -> None:
    from neurolocal.report.plots import write_plots

    for path in write_plots(store, folder, layers, side=side):
        say(f"report: {path}")


def _write_parquet(rows: list[NeuronRow], path: Path) -> None:
    from neurolocal.report.parquet import write_parquet

    write_parquet(rows, path=path)
    say(f"report: {path}, {len(rows):,} neurons")
