"""The command line: one short command a stage, each a thin shell over the library.

Exit codes: 0; 1 for what a user can mend (one line, no traceback); 2 for wrong usage. Nothing heavy is imported before
a command needs it: `--help` answers at once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from neurolocal.errors import NeurolocalError
from neurolocal.kinds import Site
from neurolocal.neuroscope.commands import neuroscope
from neurolocal.options import (
    Numbers,
    Ordered,
    Shard,
    Sites,
    device_option,
    example,
    place_options,
    seed_option,
    side_option,
    site_option,
    stage_options,
    store_argument,
    subject_option,
    vectors_option,
)

if TYPE_CHECKING:
    from neurolocal.bench import Bench


@click.group(cls=Ordered, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="neurolocal")
def cli() -> None:
    """Find out what a local language model's neurons stand for, offline.

    \b
    neurolocal demo                                      everything, on the embedded default
    neurolocal collect --subject M --corpus C --store S  activations -> the best examples
    neurolocal similarity | perturbation | verdict | summary S
    neurolocal report S · show S LAYER NEURON            read the result
    """


@cli.command(epilog=example("neurolocal demo --out demo"))
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("demo"), show_default=True, help="Folder for the results."
)
@click.option(
    "--max-rows", type=click.IntRange(1), default=600, show_default=True, help="Rows of 256 tokens to collect."
)
@click.option("--limit", type=click.IntRange(0), default=12, show_default=True, help="Neurons a layer to print.")
def demo(out: Path, max_rows: int, limit: int) -> None:
    """Everything, on SmolLM2-135M and the sample corpus.

    Collects all 30 layers, analyses three of them, and lets the same model describe what was found. A second run goes
    on, or says that nothing is left to do.
    """
    from neurolocal.demo import run_demo

    run_demo(out, max_rows=max_rows, limit=limit, say=_say)


@cli.command(epilog=example("neurolocal run RUN.toml"))
@click.argument("run_toml", type=click.Path(path_type=Path))
@click.option("--limit", type=click.IntRange(0), default=20, show_default=True, help="Neurons a layer to print.")
def run(run_toml: Path, limit: int) -> None:
    """Everything, from one file; goes on where it stopped.

    The file has a table [run] (subject, corpus, store, layers, vectors, llm) and one for each stage's settings.
    """
    from neurolocal.recipe import read_recipe, run_recipe

    run_recipe(read_recipe(run_toml), limit=limit, say=_say)


@cli.command(
    epilog=example("neurolocal collect --subject ./pythia-70m --corpus pile/ --store pythia.h5 --dtype bfloat16")
)
@click.option("--subject", required=True, help="Model folder, .gguf file, or a name in the local hub cache.")
@click.option(
    "--corpus",
    required=True,
    type=click.Path(path_type=Path),
    help=".jsonl[.gz|.zst], .parquet, .txt, a folder, a saved data set.",
)
@click.option("--store", required=True, type=click.Path(path_type=Path), help="The HDF5 file to write.")
@click.option("--row-length", type=int, help="Tokens a row, BOS included.")
@click.option("--k", type=int, help="Examples a neuron and side.")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16", "float16"]), help="What the subject computes in.")
@device_option
@click.option("--layers", type=Numbers(), help="Layers to read, e.g. 0,3,5-7.")
@click.option("--neurons", type=Numbers(), help="Neurons to keep, the same of every layer.")
@click.option("--sites", type=Sites(), help="post, mid, pre, pre_linear.  [default: post; mid in solu_ln models]")
@click.option("--sign-cases", is_flag=True, default=None, help="Also gate+/in+, gate+/in-, gate-/in+, gate-/in-.")
@click.option("--max-rows", type=int, help="Rows to read at most.")
@click.option("--batch-size", type=int, help="Rows a forward pass.")
@click.option("--packing", type=click.Choice(["concat", "document"]), help="How documents become rows.")
@click.option("--bos", type=click.Choice(["prepend", "none"]), help="Whether each row begins with BOS.")
@click.option("--count-bos", is_flag=True, default=None, help="Let the BOS position compete and count.")
@click.option("--skip-special", is_flag=True, default=None, help="Special tokens neither compete nor count.")
@click.option("--sample", type=int, help="Random positions, the same for all neurons, kept whole.")
@click.option("--logits", type=int, help="Tokens a neuron promotes and suppresses most; 0: none.")
@click.option("--shard", type=Shard(), default="0/1", help="Take only the I-th of every N batches.")
@click.option("--seed", type=int, help="Seed of whatever is drawn.")
@click.option("--text-field", help="The field that holds the text.")
@click.option("--strict", is_flag=True, default=None, help="Stop at a broken record instead of skipping it.")
@click.option("--before", type=int, help="Window positions kept before the peak.")
@click.option("--after", type=int, help="Window positions kept after the peak.")
@click.option("--preset", type=click.Choice(["neuroscope"]), help="Every convention of neuroscope.io.")
@click.option("--tokenizer", help="Tokenizer folder or file, where the model brings none.")
@click.option(
    "--checkpoint-seconds",
    type=float,
    help="Seconds of work that a kill may cost.  [default: 300, or 200 times what a checkpoint takes]",
)
@click.option("--checkpoint-rows", type=click.IntRange(1), help="The same in rows.")
def collect(
    subject: str, corpus: Path, store: Path, device: str | None, shard: tuple[int, int], preset: str | None,
    tokenizer: str | None, checkpoint_seconds: float | None, checkpoint_rows: int | None, **settings: Any,
) -> None:  # fmt: skip
    """Stream text through the subject; keep each neuron's best examples.

    A run that was stopped goes on where its last checkpoint stands. What is not given has the default of the preset,
    or of the README's table.
    """
    from neurolocal.config import CollectConfig, preset_settings
    from neurolocal.corpus import corpus_files
    from neurolocal.run import Collection, collect_stage
    from neurolocal.subject import load_subject

    given: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
    given = preset_settings(preset) | given | {"shard": shard[0], "shards": shard[1]}
    config = CollectConfig(**given)
    corpus_files(corpus)  # a wrong path is said before a large model is loaded
    loaded = load_subject(subject, dtype=config.dtype, device=device, tokenizer=tokenizer)
    job = Collection(loaded, corpus, store, config)
    outcome = collect_stage(job, say=_say, every=checkpoint_seconds, every_rows=checkpoint_rows)
    if outcome is None:
        return
    state = "complete" if outcome.complete else "stopped; the same command goes on"
    _say(
        f"collect: {outcome.rows:,} rows, {outcome.n_tokens:,} tokens counted, {outcome.seconds:.0f} s; "
        f"{store} is {state}"
    )
    if not outcome.complete:
        raise SystemExit(1)


@cli.command(epilog=example("neurolocal merge pile.h5 part0.h5 part1.h5 part2.h5 part3.h5"))
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("parts", type=click.Path(path_type=Path), nargs=-1, required=True)
def merge(out: Path, parts: tuple[Path, ...]) -> None:
    """The shards of a collection -> the store that one run would have made."""
    from neurolocal.shards import merge_stores

    merge_stores(out, parts, say=_say)


@cli.command(epilog=example("neurolocal check smol.h5 --replay 200"))
@store_argument
@click.option("--replay", type=click.IntRange(1), metavar="N", help="Also compute N random examples again.")
@subject_option
@device_option
@seed_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def check(store: Path, replay: int | None, subject: str | None, device: str | None, seed: int, as_json: bool) -> None:
    """Is this file whole and true? Structure, order, bounds, checksums; with --replay on the subject too."""
    from neurolocal.checking import check_store

    found = check_store(store, n=replay, subject=subject, device=device, seed=seed, say=_say)
    if as_json:
        click.echo(found.json())
    if not found.ok:
        raise SystemExit(1)


@cli.command(epilog=example('neurolocal find smol.h5 " poly"'))
@store_argument
@click.argument("text")
@click.option("--word", is_flag=True, help="As a whole word, whatever its tokens, case and spaces.")
@click.option("--layers", type=Numbers(), help="Layers, e.g. 0,3,5-7.  [default: all collected]")
@click.option("--site", type=click.Choice(get_args(Site)), help="Which site.  [default: all of the store's]")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Neurons to show.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list.")
def find(
    store: Path, text: str, word: bool, layers: tuple[int, ...] | None, site: Any, limit: int, as_json: bool
) -> None:
    """The neurons whose examples peak on a token (or word), strongest first."""
    from dataclasses import asdict

    from neurolocal.store import Store
    from neurolocal.store import find as look

    with Store(store) as opened:
        found = look(opened, text, limit=limit, word=word, site=site, layers=layers)
        if as_json:
            return click.echo(json.dumps([asdict(one) for one in found]))
        from neurolocal.report.found import print_found

        return print_found(found, text=text, sites=opened.sites, out=sys.stdout)


@cli.command(epilog=example("neurolocal similarity smol.h5 --layers 3,14,26"))
@store_argument
@stage_options
@vectors_option
@click.option("--draws", type=int, default=4000, show_default=True, help="Random word sets a neuron is compared with.")
@click.option(
    "--phrases",
    type=click.Choice(["none", "mean", "doc2vec"]),
    default="mean",
    show_default=True,
    help="What is compared of whole windows.",
)
@seed_option
def similarity(
    store: Path, layers: tuple[int, ...] | None, site: Any, sides: Any, method: Any, vectors: str, draws: int,
    phrases: Any, seed: int,
) -> None:  # fmt: skip
    """Do a neuron's top tokens belong together?"""
    from neurolocal import stages
    from neurolocal.config import SimilarityConfig

    bench = _bench(store, layers, site=site, sides=sides, vectors=vectors)
    stages.similarity(bench, SimilarityConfig(method=method, draws=draws, phrases=phrases, seed=seed))


@cli.command(epilog=example("neurolocal perturbation smol.h5 --layers 14 --screen 200"))
@store_argument
@stage_options
@subject_option
@vectors_option
@device_option
@click.option("--examples", type=int, default=10, show_default=True, help="Examples tested a neuron.")
@click.option("--neighbours", type=int, default=5, show_default=True, help="Near words tried an example.")
@click.option("--controls", type=int, default=5, show_default=True, help="Random words tried an example.")
@click.option("--screen", type=int, help="Test only that many neurons a layer, most coherent first.")
@seed_option
def perturbation(
    store: Path, layers: tuple[int, ...] | None, site: Any, sides: Any, subject: str | None, vectors: str,
    device: str | None, **config: Any,
) -> None:  # fmt: skip
    """Does the activation follow the concept when the word is replaced?"""
    from neurolocal import stages
    from neurolocal.config import PerturbationConfig

    bench = _bench(store, layers, site=site, sides=sides, vectors=vectors, subject=subject, device=device)
    stages.perturbation(bench, PerturbationConfig(**config))


@cli.command(epilog=example("neurolocal verdict smol.h5 --layers 14 --explain"))
@store_argument
@stage_options
@click.option("--level", type=click.FloatRange(0, 1), help="q at or under which evidence counts.")
@click.option("--repetition", type=click.FloatRange(0, 1), help="Share of examples on one word for a `token`.")
@click.option("--near", type=click.FloatRange(0, 1), help="Share of near words that must keep half to hold.")
@click.option("--strong", type=click.FloatRange(0), help="z of a concept whose near words do not hold.")
@click.option("--half", type=click.FloatRange(0, 1), help="Share of random words that keep half: any word will do.")
@click.option("--shared", type=click.FloatRange(0, 1), help="Share of words with one spelling for a `form`.")
@click.option("--elsewhere", type=click.FloatRange(0, 1), help="Share of other contexts under which it is `context`.")
@click.option("--dead", type=click.FloatRange(0), help="Largest |activation| of a `dead` neuron.")
@click.option("--explain", is_flag=True, help="Also print what each threshold does to the counts.")
@click.option("--json", "as_json", is_flag=True, help="With --explain: a JSON list.")
def verdict(
    store: Path, layers: tuple[int, ...] | None, site: Any, sides: Any, method: Any, explain: bool, as_json: bool,
    **thresholds: float | None,
) -> None:  # fmt: skip
    """Evidence -> verdict and rank of every neuron.

    Thresholds that are not given have the defaults of the README's table.
    """
    from neurolocal import stages
    from neurolocal.config import VerdictConfig

    if explain and method == "notebook":
        raise click.UsageError("--explain moves the thresholds of the default method; the notebook has none of them.")
    if as_json and not explain:
        raise click.UsageError("--json prints what --explain found: give both; the verdicts: neurolocal report --json.")
    bench = _bench(store, layers, site=site, sides=sides)
    config = VerdictConfig(**{name: value for name, value in thresholds.items() if value is not None})
    stages.verdict(bench, config, method=method)
    if explain:
        from neurolocal.report.effects import print_effects

        found = stages.explain(bench, config)
        if as_json:
            listed = [{"layer": at[0], "side": at[1], **e._asdict()} for at, effects in found.items() for e in effects]
            click.echo(json.dumps(listed))
        for (layer, side), effects in found.items() if not as_json else ():
            print_effects(effects, title=f"layer {layer} · {side} · verdicts by threshold", out=sys.stdout)


@cli.command(epilog=example("neurolocal summary smol.h5 --layers 14 --llm qwen.gguf --limit 100"))
@store_argument
@stage_options
@vectors_option
@click.option("--llm", type=click.Path(), help="A GGUF file.  [default: none; token counts alone]")
@click.option("--limit", type=int, default=50, show_default=True, help="Neurons a layer, best evidence first.")
@seed_option
def summary(
    store: Path, layers: tuple[int, ...] | None, site: Any, sides: Any, method: Any, vectors: str, llm: str | None,
    limit: int, seed: int,
) -> None:  # fmt: skip
    """What would a person call it? A local LLM describes the best neurons."""
    from neurolocal import stages
    from neurolocal.config import SummaryConfig

    bench = _bench(store, layers, site=site, sides=sides, vectors=vectors, llm=llm)
    stages.summary(bench, SummaryConfig(method=method, limit=limit, seed=seed))


@cli.command(epilog=example("neurolocal score smol.h5 --layers 14 --llm qwen.gguf"))
@store_argument
@place_options
@subject_option
@vectors_option
@device_option
@click.option("--llm", type=click.Path(), help="A GGUF file.  [default: none; measures that need none]")
@click.option("--limit", type=int, default=20, show_default=True, help="Described neurons a layer, best first.")
@click.option("--texts", type=int, default=8, show_default=True, help="Texts of each kind a neuron.")
@click.option("--rows", type=int, default=128, show_default=True, help="Random rows that texts are drawn from.")
@seed_option
@click.option("--json", "as_json", is_flag=True, help="The means by layer and side: a JSON list.")
def score(
    store: Path, layers: tuple[int, ...] | None, site: Any, sides: Any, subject: str | None, vectors: str,
    device: str | None, llm: str | None, as_json: bool, **config: Any,
) -> None:  # fmt: skip
    """How much is a description worth? Judged on texts that explained nothing."""
    from neurolocal import scores
    from neurolocal.config import ScoreConfig

    bench = _bench(store, layers, site=site, sides=sides, subject=subject, vectors=vectors, device=device, llm=llm)
    scores.score(bench, ScoreConfig(**config))
    if as_json:
        found = [
            {"layer": layer, "side": side} | {k: None if v != v else v for k, v in mean._asdict().items()}
            for layer, side in scores.places(bench)
            for mean in scores.means(bench.open.evidence("score", layer, side))
        ]
        click.echo(json.dumps(found))


@cli.command(epilog=example("neurolocal report smol.h5 --layer 14 --json > layer14.json"))
@store_argument
@click.option(
    "--layer", "--layers", "layers", type=Numbers(), help="Layers, e.g. 3 or 0,3,5-7.  [default: those with a verdict]"
)
@click.option(
    "--limit", type=click.IntRange(0), default=None, help="Neurons a layer.  [default: 30 on the terminal, else all]"
)
@click.option("--json", "kind", flag_value="json", help="One JSON object with the list `neurons`.")
@click.option("--csv", "kind", flag_value="csv", help="One line a neuron.")
@click.option("--html", type=click.Path(path_type=Path), help="Write a self-contained page there.")
@site_option
@side_option
def report(
    store: Path, layers: tuple[int, ...] | None, limit: int | None, kind: str | None, html: Path | None, site: Any,
    side: Any,
) -> None:  # fmt: skip
    """The neurons by rank: a table, --json, --csv, or --html PAGE."""
    from neurolocal import report as reports
    from neurolocal.store import Store

    with Store(store, site=site) as opened:
        chosen = opened.require_layers(None if layers is None else list(layers))
        if layers is None:
            judged = [layer for layer in chosen if opened.inputs("verdict", layer, side) is not None]
            chosen = judged or chosen
        if html is not None:
            reports.write_page(opened, chosen, path=html, side=side)
            return _say(f"report: {html}")
        rows = reports.report_rows(opened, chosen, side=side, limit=limit if kind is None else limit or None)
        if kind == "json":
            return click.echo(reports.report_json(opened, rows, side=side), nl=False)
        if kind == "csv":
            return click.echo(reports.report_csv(rows), nl=False)
        return reports.print_table(rows, out=sys.stdout, limit=30 if limit is None else limit)


@cli.command(epilog=example("neurolocal show smol.h5 14 159"))
@store_argument
@click.argument("layer", type=int)
@click.argument("neuron", type=int)
@side_option
@site_option
@click.option("--limit", type=click.IntRange(0), help="Examples to show.  [default: all]")
def show(store: Path, layer: int, neuron: int, side: Any, site: Any, limit: int | None) -> None:
    """One neuron: evidence, statistics, and examples with their peaks marked."""
    from neurolocal import report as reports
    from neurolocal.store import Store

    with Store(store, site=site) as opened:
        reports.show(opened, layer, neuron, out=sys.stdout, side=side, limit=limit)


cli.add_command(neuroscope)


def _bench(store: Path, layers: tuple[int, ...] | None, **more: Any) -> Bench:
    from neurolocal.bench import Bench

    return Bench(store, layers, say=_say, **more)


def _say(line: str) -> None:
    """One line for a person; results that a program reads go to standard output."""
    click.echo(line, err=True)


def main() -> None:
    """Run the command line and exit with its code."""
    # libgomp's threads spin for milliseconds when they have nothing to do, and take the cores from our own threads and
    # from other programs; asleep at once, they wake too late for small layers. It is read when torch is loaded.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a batch system's SIGTERM ends as Ctrl-C does
    try:
        cli.main(prog_name="neurolocal", standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except NeurolocalError as error:
        click.echo(f"error: {' '.join(str(error).split())}", err=True)
        sys.exit(1)
    except (KeyboardInterrupt, click.Abort):
        click.echo("stopped; what was written before is kept, and the same command goes on", err=True)
        sys.exit(1)
