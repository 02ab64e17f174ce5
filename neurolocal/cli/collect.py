"""`neurolocal collect`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, get_args

import click

from neurolocal.cli.options import Count, FilePath, Names, Numbers, Place, Shard, Sites, device_option, example, say
from neurolocal.cli.stage_command import config_options, given
from neurolocal.config import PRESETS, CollectConfig, Lists, ScaleConfig, preset_settings

SCALE = tuple(field.name for field in dataclasses.fields(ScaleConfig))
"""Options that say where the collection runs."""


@click.command(epilog=example("neurolocal collect --subject ./pythia-70m --corpus pile/ --store pythia.h5"))
@click.option("--subject", required=True, help="Model folder, .gguf file, or a name in the local hub cache.")
@click.option(
    "--corpus",
    required=True,
    type=Place(),
    help=".jsonl[.gz|.zst], .parquet, .txt, a folder, a saved data set; or an address: s3://bucket/pile/*.jsonl.zst.",
)
@click.option("--store", required=True, type=FilePath(), help="The HDF5 file to write.")
@click.option("--tokenizer", help="Tokenizer folder or file, where the model brings none.")
@device_option
@click.option(
    "--untrained",
    type=click.IntRange(0),
    metavar="SEED",
    help="For a control: the same architecture with weights drawn anew, never trained.",
)
@click.option(
    "--lists",
    type=click.Choice(get_args(Lists)),
    default="auto",
    show_default=True,
    help="Where neuron lists are kept: auto is the device until its memory is full.",
)
@click.option("--preset", type=click.Choice(list(PRESETS)), help="Every convention of neuroscope.io.")
@click.option("--shard", type=Shard(), default="0/1", show_default=True, help="Take only the I-th of every N batches.")
@config_options(
    CollectConfig,
    without=("shard", "shards"),
    types={
        "layers": Numbers(),
        "neurons": Numbers(),
        "sites": Sites(),
        "count_roles": Names(),
        "max_rows": Count(),
    },
)
@config_options(ScaleConfig)
@click.option(
    "--checkpoint-seconds",
    type=float,
    help="Seconds of work that a kill may cost.  [default: 300, or 200 times what a checkpoint takes]",
)
@click.option(
    "--upload",
    type=Place(),
    metavar="ADDRESS",
    help="A folder at an address to which the complete store is copied, for merge.",
)
@click.option("--checkpoint-rows", type=Count(), help="The same in rows.  [default: by time alone]")
def collect(
    subject: str, corpus: Any, store: Path, tokenizer: str | None, device: str | None, untrained: int | None,
    lists: Lists, preset: str | None, shard: tuple[int, int], checkpoint_seconds: float | None,
    checkpoint_rows: int | None, upload: Any, **settings: Any,
) -> None:  # fmt: skip
    """Text through a model -> each neuron's best examples.

    A run that was stopped resumes at its last checkpoint.
    """
    from neurolocal.pipeline.collect import Collection, collect_store, fitted
    from neurolocal.pipeline.requirements import require_collection, require_same_settings
    from neurolocal.storage.uploads import require_upload

    scale = given(ScaleConfig, {name: settings.pop(name) for name in SCALE})
    config = given(CollectConfig, settings, **preset_settings(preset), shard=shard[0], shards=shard[1])
    require_collection(subject, corpus, store, config, tokenizer=tokenizer)
    if upload is not None:
        require_upload(upload, store)
    fit = preset is not None and settings["row_length"] is None
    require_same_settings(store, config, row_length=not fit)
    if scale.engine == "ray":
        from neurolocal.scale.collect import collect_on_ray
        from neurolocal.scale.worker import CollectRequest

        request = CollectRequest(
            subject, corpus, store, config, tokenizer=tokenizer, device=device, untrained=untrained, fit_rows=fit,
            every=checkpoint_seconds, every_rows=checkpoint_rows,
        )  # fmt: skip
        outcome = collect_on_ray(request, scale, say=say)
    else:
        from neurolocal.subject import load_subject

        loaded = load_subject(subject, dtype=config.dtype, device=device, tokenizer=tokenizer, untrained=untrained)
        job = Collection(loaded, corpus, store, fitted(config, loaded, say=say) if fit else config, lists)
        outcome = collect_store(job, say=say, every=checkpoint_seconds, every_rows=checkpoint_rows)
    if outcome is None:
        _upload(store, upload)
        return
    state = "complete" if outcome.complete else "stopped; the same command resumes it"
    say(
        f"collect: {outcome.rows:,} rows, {outcome.n_tokens:,} tokens counted, {outcome.seconds:.0f} s; "
        f"{store} is {state}"
    )
    if not outcome.complete:
        raise SystemExit(1)
    _upload(store, upload)


def _upload(store: Path, folder: Any) -> None:
    """Copy the complete store to the address, if one was given."""
    if folder is not None:
        from neurolocal.storage.uploads import upload

        say(f"collect: {store} is at {upload(store, folder)}")
