"""`neurolocal plan`."""

from __future__ import annotations

import json
from typing import Any

import click

from neurolocal.cli.options import Count, Numbers, Place, Sites, example, say
from neurolocal.cli.stage_command import config_options, given
from neurolocal.config import CollectConfig

LEFT_OUT = (
    "max_rows", "count_bos", "skip_special", "count_roles", "control_tokens", "longest_record", "longest_text",
    "strict", "shard", "shards", "seed",
)  # fmt: skip
"""Settings of a collection that change no cost."""


@click.command(
    epilog=example("neurolocal plan --subject llama-3.1-8b --tokens 1B --machine h100 --workers 8 --dtype bfloat16")
)
@click.option("--subject", required=True, help="Model folder, config.json, .gguf, cached name, or a shape's name.")
@click.option("--tokens", type=Count(), help="Tokens of the corpus, e.g. 10M, 300B, 1.5T or 1e9.")
@click.option("--rows", type=Count(), help="The same in rows.")
@click.option("--corpus", type=Place(), help="Or the corpus: some of its text is read to estimate its tokens.")
@click.option("--tokenizer", help="Tokenizer folder or file, where the subject brings none.")
@click.option("--machine", help="h100, h200, a100, or a file of --calibrate.  [default: this machine]")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes with a device each.")
@click.option("--ranges", is_flag=True,
              help="Each worker reads its own parts of the corpus (--engine ray).  [default: all of it]")  # fmt: skip
@click.option("--shards", type=click.IntRange(1), help="Parts of the corpus.  [default: with --ranges 4 a worker]")
@click.option("--calibrate", is_flag=True, help="Measure this machine first, and keep the figures in --machine.")
@click.option("--device", help="With --calibrate: the torch device.  [default: cuda where there is one, else cpu]")
@click.option("--clock", type=click.Choice(["wall", "cpu"]), default="wall", show_default=True,
              help="With --calibrate: cpu is processor time over the cores, for a busy machine.")  # fmt: skip
@click.option("--analyse", type=click.IntRange(0), default=0, show_default=True, help="Layers analysed afterwards.")
@click.option("--screen", type=click.IntRange(1), help="Neurons perturbed in each of them.  [default: all]")
@click.option("--describe", type=click.IntRange(0), default=50, show_default=True, help="Neurons described in each.")
@click.option("--score", type=click.IntRange(0), default=20, show_default=True, help="Neurons scored in each.")
@click.option("--llm-weights", type=Count(0), default=0, help="Weights of the LLM, e.g. 7B.  [default: no LLM]")
@config_options(CollectConfig, without=LEFT_OUT, types={"layers": Numbers(), "neurons": Numbers(), "sites": Sites()})
@click.option("--explain", is_flag=True, help="Each figure with its formula and numbers.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def plan(
    subject: str, tokens: int | None, rows: int | None, corpus: Any, tokenizer: str | None, machine: str | None,
    workers: int, ranges: bool, shards: int | None, calibrate: bool, device: str | None, clock: str, analyse: int,
    screen: int | None, describe: int, score: int, llm_weights: int, explain: bool, as_json: bool, **settings: Any,
) -> None:  # fmt: skip
    """What a run will cost before it is started: time, memory, disk.

    The subject's config is enough: no weights are read. The figures come from
    constants of the machine, which --calibrate measures.
    """
    from neurolocal.scale.plan_request import Request, planned

    config = given(CollectConfig, settings)
    request = Request(
        subject,
        config,
        tokens,
        rows,
        machine,
        corpus,
        tokenizer,
        workers,
        analyse,
        screen,
        describe,
        score,
        float(llm_weights),
        ranges,
        shards,
    )
    measure = (device, clock) if calibrate else None
    made = planned(request, measure=measure, say=say)
    if made is None:
        return
    from neurolocal.scale.plan_report import as_text, facts

    if as_json:
        click.echo(json.dumps(facts(*made), indent=1))
    else:
        click.echo(as_text(*made, explain=explain))
