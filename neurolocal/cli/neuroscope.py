"""`neurolocal neuroscope`: import, replay, compare, export."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, get_args

import click

from neurolocal.cli.options import (
    CONTEXT,
    Numbers,
    Ordered,
    device_option,
    example,
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
    neurolocal neuroscope import pages/ --out theirs.h5         saved pages -> a store like any other
    neurolocal neuroscope replay theirs.h5 --subject M          does this model say what the pages say?
    neurolocal neuroscope compare own.h5 theirs.h5              two stores, or a store and a list of maxima
    neurolocal neuroscope export own.h5 site/                   a store -> pages
    """


@neuroscope.command("import", epilog=example("neurolocal neuroscope import pages/solu-8l-pile --out theirs.h5"))
@click.argument("paths", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--out", "-o", required=True, type=click.Path(path_type=Path), help="The store to write.")
@click.option("--model", help="Import the pages of this model alone, as they name it; of JSON files its name.")
@click.option(
    "--site",
    type=click.Choice(get_args(Site)),
    help="Where the activations were read.  [default: mid for SoLU models, else post]",
)
@click.option("--json", "as_json", is_flag=True, help="What was read and what was left out: a JSON object.")
def import_(paths: tuple[Path, ...], out: Path, model: str | None, site: Any, as_json: bool) -> None:
    """Saved pages -> a store like any other.

    PATHS are page files or folders of them (LAYER/NEURON.html), a JSON list of maxima ([layer][neuron]), or GLUScope's
    example files. What can't be read is named by file and text number, and kept in the store; the rest is exact.
    """
    from neurolocal.neuroscope.sources import import_any

    imported = import_any(paths, out, model=model, site=site, say=say)
    if as_json:
        click.echo(imported.json())


@neuroscope.command(epilog=example("neurolocal neuroscope replay theirs.h5 --subject solu-8l-pile --out ours.h5"))
@store_argument
@click.option("--subject", help="Model folder, .gguf or cached name.  [default: the one the store names]")
@click.option("--tokenizer", help="Tokenizer folder or file, where the model brings none.")
@click.option(
    "--dtype", type=click.Choice(["float32", "bfloat16", "float16"]), help="What to compute in.  [default: the store's]"
)
@click.option("--also", multiple=True, metavar="SUBJECT", help="Another checkpoint to try where this one does not fit.")
@click.option("--texts", type=click.IntRange(1), default=200, show_default=True, help="Texts, drawn at random.")
@click.option("--all", "everything", is_flag=True, help="All texts.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="If it agrees, write the store in the subject's token ids there."
)
@click.option("--limit", type=click.IntRange(0), default=10, show_default=True, help="Neurons to print, worst first.")
@site_option
@device_option
@seed_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def replay(
    path: Path, subject: str | None, tokenizer: str | None, dtype: Any, also: tuple[str, ...], texts: int,
    everything: bool, out: Path | None, limit: int, site: Any, device: str | None, seed: int, as_json: bool,
) -> None:  # fmt: skip
    """Run the store's rows through a local model: does it say what the pages say?

    Says whether weights, tokenizer, site, BOS and dtype are those that the pages were made with, and where they are
    not, which of the usual suspects fits. Ends with 0 where weights and tokenizer are the pages' own, read at a site
    and in a dtype that the subject has (the first line says so if they are not those asked for), else with 1.
    """
    from neurolocal.neuroscope import replaying
    from neurolocal.store import Store

    with Store(path, site=site) as store:
        job = replaying.Job(store, subject=subject, tokenizer=tokenizer, dtype=dtype, device=device)
        if out is not None:
            replaying.require_new(store, out)
        found = replaying.run(job, texts=None if everything else texts, seed=seed, others=also, say=say)
        if as_json:
            click.echo(replaying.replay_json(found))
        else:
            replaying.print_replay(found, out=sys.stdout, limit=limit)
        if found.agrees and out is not None:
            replaying.write(job, found, out, say=say)
    if not found.agrees:
        raise SystemExit(1)


@neuroscope.command(epilog=example("neurolocal neuroscope compare own.h5 theirs.h5 --html compare.html"))
@click.argument("own", type=click.Path(path_type=Path))
@click.argument("theirs", type=click.Path(path_type=Path))
@click.option("--layers", type=Numbers(), help="Layers, e.g. 0,3,5-7.  [default: those of both]")
@site_option
@click.option("--their-site", type=click.Choice(get_args(Site)), help="Of THEIRS.  [default: the same]")
@click.option("--their-rows", type=click.IntRange(1), help="Rows of their corpus, where THEIRS does not say.")
@click.option("--limit", type=click.IntRange(0), default=20, show_default=True, help="Neurons to print.")
@click.option("--html", type=click.Path(path_type=Path), help="Write a self-contained page with plots there.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def compare(
    own: Path, theirs: Path, layers: tuple[int, ...] | None, site: Any, their_site: Any, their_rows: int | None,
    limit: int, html: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Two stores of one model, or a store and a list of maxima: where do they agree?

    Maxima by layer, peak tokens, shared texts, and the ratio of maxima beside what the sizes of the two corpora let
    expect; the neurons that agree least first. THEIRS may be an imported store, a store of another run, or a JSON list
    [layer][neuron].
    """
    from neurolocal.errors import StoreError
    from neurolocal.neuroscope import compare as comparing
    from neurolocal.neuroscope.comparison_page import write_comparison

    for path in (own, theirs):
        if html is not None and html.exists() and path.exists() and html.samefile(path):
            raise StoreError(f"writing the page {html}: that is one of the stores. Give the page another name.")
    found = comparing.compare(
        own, theirs, layers=layers, site=site, their_site=their_site, their_rows=their_rows, say=say
    )
    if html is not None:
        write_comparison(found, html)
        say(f"compare: {html}")
    if as_json:
        click.echo(comparing.comparison_json(found))
    elif html is None:
        comparing.print_comparison(found, out=sys.stdout, limit=limit)


@neuroscope.command(epilog=example("neurolocal neuroscope export smol.h5 site/ --layers 14"))
@store_argument
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--subject", help="Model folder, .gguf or cached name.  [default: the one the store names]")
@device_option
@click.option("--layers", type=Numbers(), help="Layers, e.g. 0,3,5-7.  [default: all collected]")
@site_option
@click.option("--side", type=click.Choice(get_args(Side)), default="largest", show_default=True, help="Which list.")
@click.option("--texts", type=click.IntRange(1), default=20, show_default=True, help="Texts a page.")
@click.option("--model", help="What the pages call the model.  [default: the subject's name]")
@click.option("--dataset", help="What they call the data set.  [default: the corpus's name]")
def export(path: Path, folder: Path, **options: Any) -> None:
    """A store -> a site with Neuroscope's addresses and page form, which shows without a network, too.

    The subject is run over the rows once, since a store keeps windows and a page shows whole rows.
    """
    from neurolocal.neuroscope.export import export_site

    found = export_site(path, folder, **options, say=say)
    for line in found.left_out[:20]:
        say(f"  {line}")
    if len(found.left_out) > 20:
        say(f"  … {len(found.left_out):,} texts and neurons left out in all")
    short = f", {found.short:,} of them with fewer than 20 texts, which some readers refuse" if found.short else ""
    say(f"export: {found.pages:,} pages{short}; open {folder / 'index.html'}")
