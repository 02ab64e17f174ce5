"""`neurolocal neuroscope`: import, replay, compare, export."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, get_args

import click

from neurolocal.cli.options import (
    CONTEXT,
    FilePath,
    Numbers,
    Ordered,
    device_option,
    example,
    layers_option,
    say,
    seed_option,
    site_option,
    store_argument,
)
from neurolocal.literals import Side, Site


@click.group(
    cls=Ordered,
    epilog=example("neurolocal neuroscope import pages/ --out theirs.h5"),
    context_settings=CONTEXT,
)
def neuroscope() -> None:
    """Neuroscope's pages: import, replay, compare, export.

    \b
    neurolocal neuroscope import pages/ --out theirs.h5         saved pages -> a store
    neurolocal neuroscope replay theirs.h5 --subject M          does this model agree with the pages?
    neurolocal neuroscope compare own.h5 theirs.h5              two stores, or a store and a list of maxima
    neurolocal neuroscope export own.h5 site/                   a store -> pages
    """


@neuroscope.command("import", epilog=example("neurolocal neuroscope import pages/solu-8l-pile --out theirs.h5"))
@click.argument("paths", type=FilePath(), nargs=-1, required=True)
@click.option("--out", "-o", required=True, type=FilePath(), help="The store to write.")
@click.option("--model", help="Import only the pages of this model, as they name it; for JSON files, its name.")
@click.option(
    "--site",
    type=click.Choice(get_args(Site)),
    help="Where the activations were read.  [default: mid for SoLU models, else post]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: what was read, what was left out.")
def import_(paths: tuple[Path, ...], out: Path, model: str | None, site: Any, as_json: bool) -> None:
    """Saved pages -> a store that every other command reads.

    PATHS are page files or folders of them (LAYER/NEURON.html), a JSON list of maxima ([layer][neuron]), or GLUScope's
    example files. Each text that cannot be read is named by file and number, also in the store. The rest is exact.
    """
    from neurolocal.neuroscope.imports.kinds import import_any

    imported = import_any(paths, out, model=model, site=site, say=say)
    if as_json:
        click.echo(imported.json())


@neuroscope.command(epilog=example("neurolocal neuroscope replay theirs.h5 --subject solu-8l-pile --out ours.h5"))
@store_argument
@click.option("--subject", help="Model folder, .gguf or cached name.  [default: the one the store names]")
@click.option("--tokenizer", help="Tokenizer folder or file, if the model has none.")
@click.option(
    "--dtype", type=click.Choice(["float32", "bfloat16", "float16"]), help="What to compute in.  [default: the store's]"
)
@click.option("--also", multiple=True, metavar="SUBJECT", help="Another checkpoint to try if this one does not fit.")
@click.option("--texts", type=click.IntRange(1), default=200, show_default=True, help="Texts, drawn at random.")
@click.option("--all", "everything", is_flag=True, help="All texts.")
@click.option("--out", type=FilePath(), help="If it agrees, write the store in the subject's token ids there.")
@click.option("--limit", type=click.IntRange(0), default=10, show_default=True, help="Neurons to print, worst first.")
@site_option
@device_option
@seed_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def replay(
    path: Path, subject: str | None, tokenizer: str | None, dtype: Any, also: tuple[str, ...], texts: int,
    everything: bool, out: Path | None, limit: int, site: Any, device: str | None, seed: int, as_json: bool,
) -> None:  # fmt: skip
    """Run the store's rows through a local model: does it agree with the pages?

    Tests whether weights, tokenizer, site, BOS and dtype are those that the pages were made with. If not, common
    alternatives are tried, and the one that fits is named. The exit code is 0 if weights and tokenizer are those of the
    pages, read at a site and in a dtype that the subject has, else 1. The first line names any difference from what was
    requested.
    """
    from neurolocal.neuroscope.replay import job, replay_output
    from neurolocal.neuroscope.replay.conversion import require_new
    from neurolocal.store import Store

    with Store(path, site=site) as store:
        task = job.ReplayJob(store, subject=subject, tokenizer=tokenizer, dtype=dtype, device=device)
        if out is not None:
            require_new(store, out)
        result = job.run(task, texts=None if everything else texts, seed=seed, others=also, say=say)
        if as_json:
            click.echo(replay_output.replay_json(result))
        else:
            replay_output.print_replay(result, out=sys.stdout, limit=limit)
        if result.agrees and out is not None:
            job.write(task, result, out, say=say)
    if not result.agrees:
        raise SystemExit(1)


@neuroscope.command(epilog=example("neurolocal neuroscope compare own.h5 theirs.h5 --html compare.html"))
@click.argument("own", type=FilePath())
@click.argument("theirs", type=FilePath())
@layers_option("those of both")
@site_option
@click.option("--their-site", type=click.Choice(get_args(Site)), help="Of THEIRS.  [default: the same]")
@click.option("--their-rows", type=click.IntRange(1), help="Rows of their corpus, if THEIRS does not state it.")
@click.option("--limit", type=click.IntRange(0), default=20, show_default=True, help="Neurons to print.")
@click.option("--html", type=FilePath(), help="Write a self-contained page with plots there.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def compare(
    own: Path, theirs: Path, layers: tuple[int, ...] | None, site: Any, their_site: Any, their_rows: int | None,
    limit: int, html: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Two stores of one model, or a store and a list of maxima: where do they agree?

    Compares maxima by layer, peak tokens and shared texts, and the ratio of maxima with the ratio expected from the
    sizes of the two corpora. Lists the neurons that agree least first. THEIRS may be an imported store, a store of
    another run, or a JSON list [layer][neuron].
    """
    from neurolocal.errors import StoreError
    from neurolocal.neuroscope.compare.compare import compare as compare_stores
    from neurolocal.neuroscope.compare.comparison_output import comparison_json, print_comparison
    from neurolocal.neuroscope.compare.comparison_page import write_comparison

    for path in (own, theirs):
        if html is not None and html.exists() and path.exists() and html.samefile(path):
            raise StoreError(f"writing the page {html}: that is one of the stores. Give the page another name.")
    found = compare_stores(own, theirs, layers=layers, site=site, their_site=their_site, their_rows=their_rows, say=say)
    if html is not None:
        write_comparison(found, html)
        say(f"compare: {html}")
    if as_json:
        click.echo(comparison_json(found))
    elif html is None:
        print_comparison(found, out=sys.stdout, limit=limit)


@neuroscope.command(epilog=example("neurolocal neuroscope export smol.h5 site/ --layers 14"))
@store_argument
@click.argument("folder", type=FilePath())
@click.option("--subject", help="Model folder, .gguf or cached name.  [default: the one the store names]")
@device_option
@layers_option("all collected")
@click.option("--neurons", type=Numbers(), help="Neurons of these layers, e.g. 0,10-19.  [default: all]")
@site_option
@click.option("--side", type=click.Choice(get_args(Side)), default="largest", show_default=True, help="Which list.")
@click.option("--texts", type=click.IntRange(1), default=20, show_default=True, help="Texts a page.")
@click.option("--model", help="Name of the model on the pages.  [default: the subject's name]")
@click.option("--dataset", help="Name of the data set on the pages.  [default: the corpus's name]")
def export(path: Path, folder: Path, subject: str | None, device: str | None, site: Any, **options: Any) -> None:
    """A store -> a website with Neuroscope's addresses and page form. It needs no network.

    The subject is run over the rows once, since a store keeps windows and a page shows full rows. A layer's pages are
    those of its last export.
    """
    from neurolocal.neuroscope.export.website import export_site
    from neurolocal.pipeline.workspace import Workspace

    workspace = Workspace(path, site=site, subject=subject, device=device, say=say)
    result = export_site(workspace.store, folder, subject=lambda: workspace.loaded_subject, **options)
    for line in result.left_out[:20]:
        say(f"  {line}")
    if len(result.left_out) > 20:
        say(f"  … {len(result.left_out):,} texts and neurons left out in all")
    short = f", {result.short:,} of them with fewer than 20 texts, which some readers refuse" if result.short else ""
    say(f"export: {result.pages:,} pages{short}; open {folder / 'index.html'}")
