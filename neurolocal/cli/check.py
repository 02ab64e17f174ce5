"""`neurolocal check`."""

from __future__ import annotations

from pathlib import Path

import click

from neurolocal.cli.options import device_option, example, say, seed_option, store_argument, subject_option


@click.command(epilog=example("neurolocal check smol.h5 --replay 200"))
@store_argument
@click.option(
    "--replay", type=click.IntRange(1), metavar="N", help="Also compute N random examples again.  [default: none]"
)
@subject_option
@device_option
@seed_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def check(path: Path, replay: int | None, subject: str | None, device: str | None, seed: int, as_json: bool) -> None:
    """Is this store whole, and what the subject says?

    Structure, order, bounds and checksums; with --replay also examples, computed again on the subject.
    """
    from neurolocal.pipeline.check import check_store

    found = check_store(path, n=replay, subject=subject, device=device, seed=seed, say=say)
    if as_json:
        click.echo(found.json())
    if not found.ok:
        raise SystemExit(1)
