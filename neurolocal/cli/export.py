"""`neurolocal export`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from neurolocal.cli.options import (
    FilePath,
    Names,
    device_option,
    example,
    layers_option,
    say,
    site_option,
    store_argument,
)


@click.command(epilog=example("neurolocal export smol.h5 tables/ --tables examples,verdict --layers 14"))
@store_argument
@click.argument("folder", metavar="DIR", type=FilePath())
@click.option(
    "--format",
    "kind",
    type=click.Choice(["parquet", "csv", "neuron-records", "neuronpedia"]),
    default="parquet",
    show_default=True,
    help="Tables as Parquet or CSV; or the files of another tool.",
)
@click.option("--tables", type=Names(), help="Tables, e.g. examples,verdict.  [default: all]")
@layers_option("all collected")
@site_option
@click.option(
    "--subject", help="Neuron records: the model, for activations on random texts, too.  [default: none of these]"
)
@device_option
@click.option("--model", help="Neuronpedia: id of the model there.  [default: from the subject's name]")
@click.option("--creator", help="Neuronpedia: id of a user there.  [default: the one of a fresh local copy]")
def export(
    path: Path, folder: Path, kind: Any, tables: tuple[str, ...] | None, layers: tuple[int, ...] | None, site: Any,
    subject: str | None, device: str | None, model: str | None, creator: str | None,
) -> None:  # fmt: skip
    """Out to other tools: Parquet, CSV, neuron records, Neuronpedia.

    \b
    parquet         a file a table of the store, lists as lists, columns described
    csv             the same tables as text
    neuron-records  a JSON file a neuron, as automated-interpretability reads them
    neuronpedia     features, activations and explanations, as Neuronpedia imports
                    them

    The last two hold the largest activations.
    """
    _refuse_options(kind, tables=tables, subject=subject, device=device, model=model, creator=creator)
    from neurolocal.store import Store

    with Store(path, site=site) as store:
        if kind == "neuron-records":
            from neurolocal.export.neuron_records import export_neuron_records

            loads = None if subject is None else partial(_loaded, path, site=site, subject=subject, device=device)
            n = export_neuron_records(store, folder, layers=layers, subject=loads)
            return say(f"export: {n:,} neuron records in {folder / 'neurons'}")
        if kind == "neuronpedia":
            from neurolocal.export.neuronpedia import CREATOR, export_neuronpedia

            n = export_neuronpedia(store, folder, layers=layers, model=model, creator=creator or CREATOR)
            return say(f"export: {n:,} neurons as Neuronpedia's lines in {folder}")
        from neurolocal.export.table_files import export_tables

        for one in export_tables(store, folder, format=kind, tables=tables, layers=layers):
            say(f"export: {one.path}, {one.rows:,} rows")
        return None


def _loaded(path: Path, **given: Any) -> Any:
    """The subject that the store was collected from."""
    from neurolocal.pipeline.workspace import Workspace

    return Workspace(path, say=say, **given).loaded_subject


OF = {
    "tables": ("parquet", "csv"),
    "subject": ("neuron-records",),
    "device": ("neuron-records",),
    "model": ("neuronpedia",),
    "creator": ("neuronpedia",),
}
"""Option -> the formats that have it."""


def _refuse_options(kind: str, **given: Any) -> None:
    """Refuse an option that the format does not have."""
    for name, value in given.items():
        if value is not None and kind not in OF[name]:
            raise click.UsageError(f"--{name} belongs to --format {' or '.join(OF[name])}; it was given with {kind}")
