"""`neurolocal try`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neurolocal.cli.options import Neurons, device_option, example, layers_option, say, site_option
from neurolocal.literals import SIDES, Side

if TYPE_CHECKING:
    from neurolocal.asking import Asking


@click.command("try", epilog=example('neurolocal try smol.h5 "on Tuesday" --neuron 14:159'))
@click.argument("source", metavar="SUBJECT|STORE")
@click.argument("text")
@layers_option("all")
@click.option(
    "--neuron", "--neurons", "neurons", type=Neurons(),
    help="Neurons, as 14:159,3:20, or as 159,160 with --layer.  [default: those that the text excites most]",
)  # fmt: skip
@click.option("--limit", type=click.IntRange(1), default=10, show_default=True, help="Neurons, without --neuron.")
@click.option("--compare", metavar="TEXT", help="Another text: what changes?")
@click.option("--subject", help="With a store: its model, if that is not where the store says.")
@click.option("--tokenizer", help="Tokenizer folder or name, where the model brings none.")
@click.option(
    "--dtype", type=click.Choice(["float32", "bfloat16", "float16"]),
    help="Without a store: what the model computes in.  [default: float32]",
)  # fmt: skip
@device_option
@click.option("--side", type=click.Choice(SIDES), default="largest", show_default=True, help="Which end excites.")
@site_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def try_text(
    source: str, text: str, layers: tuple[int, ...] | None, neurons: tuple[tuple[int | None, int], ...] | None,
    limit: int, compare: str | None, as_json: bool, **how: Any,
) -> None:  # fmt: skip
    """A text of your own: what do neurons do on it?

    Given a store, its subject is loaded, and each value is placed in the neuron's own
    distribution: as a share of its largest activation, and above how many of the corpus's
    positions it is. Neurons are ordered by that share at their peak. A subject alone (a model
    folder, .gguf or name) needs --neuron.
    """
    places = _places(layers, neurons)
    if places is None and not is_store(source):
        raise click.UsageError("without a store, name the neurons: --neuron 14:159")
    from neurolocal.asking import answer_object, comparison_object
    from neurolocal.asking.terminal import print_answer, print_comparison

    asking = _asking(source, places, layers, **how)
    vocabulary = asking.subject.vocabulary
    if compare is not None:
        both = asking.compare(text, compare, places, n=limit, layers=layers)
        if as_json:
            return click.echo(json.dumps(comparison_object(both), allow_nan=False))
        return print_comparison(both, vocabulary, out=sys.stdout)
    answer = asking.strongest(text, n=limit, layers=layers) if places is None else asking.neurons(text, places)
    if as_json:
        return click.echo(json.dumps(answer_object(answer), allow_nan=False))
    return print_answer(answer, vocabulary, out=sys.stdout)


def is_store(source: str) -> bool:
    """Whether a path is a store: named as one, or a file that is no GGUF."""
    if source.endswith((".h5", ".hdf5")):
        return True
    try:
        path = Path(source)
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(4) != b"GGUF"
    except (OSError, ValueError):  # whoever opens it says what is wrong
        return False


def _places(
    layers: tuple[int, ...] | None, neurons: tuple[tuple[int | None, int], ...] | None
) -> list[tuple[int, int]] | None:
    """(layer, neuron) of each; a neuron without a layer is of the one that --layer names."""
    if neurons is None:
        return None
    bare = [neuron for layer, neuron in neurons if layer is None]
    if bare and (layers is None or len(layers) != 1):
        raise click.UsageError(f"--neuron {bare[0]}: of which layer? Give one --layer, or --neuron 14:{bare[0]}")
    elsewhere = [f"{layer}:{neuron}" for layer, neuron in neurons if layer not in (None, *(layers or (layer,)))]
    if elsewhere:
        raise click.UsageError(f"--neuron {elsewhere[0]} is not of --layer. Omit --layer, or give that neuron's layer")
    return [((layers or (0,))[0] if layer is None else layer, neuron) for layer, neuron in neurons]


def _asking(
    source: str,
    places: list[tuple[int, int]] | None,
    layers: tuple[int, ...] | None,
    *,
    subject: str | None,
    tokenizer: str | None,
    dtype: Any,
    device: str | None,
    side: Side,
    site: Any,
) -> Asking:
    """A store with its subject, or a subject alone. What a store does not hold is refused before its subject loads."""
    from neurolocal import asking  # `Asking` itself, which needs torch, is loaded when it is used
    from neurolocal.subject.locate import require_subject

    if not is_store(source):
        if subject is not None:
            raise click.UsageError(f"--subject beside {source}, which is a subject itself: give a store, or drop it")
        require_subject(source, layers=[layer for layer, _ in places or ()], tokenizer=tokenizer)
        from neurolocal.subject import load_subject

        loaded = load_subject(source, dtype=dtype or "float32", device=device, tokenizer=tokenizer)
        return asking.Asking(loaded, side=side, site=site)
    if dtype is not None:
        raise click.UsageError("--dtype beside a store: its subject computes as it did in the collection; drop it")
    from neurolocal.files import readable_path
    from neurolocal.pipeline.workspace import Workspace

    work = Workspace(
        readable_path(source), site=site, subject=subject, tokenizer=tokenizer, device=device, say=say
    )  # fmt: skip
    work.store.require_layers(layers)
    for place in places or ():
        work.store.index_of(*place)
    work.require_subject()
    return asking.Asking(work.loaded_subject, work.store, side=side)
