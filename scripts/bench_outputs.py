"""Planted outputs: neurons of a copy of SmolLM2 write known tokens; does `neurolocal intervention` find these?

The out column of a neuron becomes the unembedding of a token, or the mean of the unit unembeddings of a group of
tokens: centred over the vocabulary, with the median norm of the layer's columns. What the neuron fires on stays as it
is. Collects a few rows and runs `intervention` from the command line. Prints by layer
which share of the planted tokens is among the ten that rise most (measured at random positions) and that the weights
alone name (direct logit effects), and the share of planted and of unplanted neurons with q of 0.05 or less.
The planted neurons are the first of each layer and the unplanted ones those after them. Controls are drawn from all
collected neurons of the layer, so some of them are planted, which makes q larger and not smaller.
Cost: that of the stage; a run makes only what its folder lacks.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neurolocal.store import Store
from neurolocal.subject import Subject, load_subject

SINGLE = "music water king science money doctor river school computer winter forest language"
"""Words that are planted alone, one a neuron."""

GROUPS = {
    "months": "January August December",
    "colours": "red blue green",
    "weekdays": "Monday Wednesday Friday",
    "countries": "France Germany Japan",
}
"""Words of which one neuron writes all; few, since the spellings of each compete for the ten places."""

COLLECTED = 200
"""Neurons of a layer that are collected."""

UNPLANTED = 8
"""Unplanted neurons of a layer that are tested."""

TOP = 10
"""Planted tokens must be among so many."""

LEVEL = 0.05
"""q from which the line about a neuron's output is shown."""


class Plant(NamedTuple):
    """What one neuron of each layer writes."""

    name: str
    tokens: Sequence[int]


def plants(subject: Subject) -> list[Plant]:
    """The words as tokens, each with a space before it."""
    ids = {t.decode("utf-8", "replace"): i for i, t in enumerate(subject.vocabulary.tokens)}
    sets = {word: [word] for word in SINGLE.split()} | {name: words.split() for name, words in GROUPS.items()}
    return [Plant(name, [ids[f" {word}"] for word in words]) for name, words in sets.items()]


def direction(subject: Subject, tokens: Sequence[int]) -> Float[Tensor, "d_model"]:
    """The mean of the tokens' centred unit unembeddings, of norm 1."""
    unembed = subject.model.get_output_embeddings().weight.float()
    some = unembed[list(tokens)] - unembed.mean(0)
    mean = (some / some.norm(dim=1, keepdim=True)).mean(0)
    return mean / mean.norm()


def plant_model(folder: Path, layers: Sequence[int]) -> list[Plant]:
    """Write the model with neuron i of each layer writing plant i; what is planted."""
    subject = load_subject("smollm2", dtype="float32")
    found = plants(subject)
    if not folder.exists():
        with torch.no_grad():
            for layer in layers:
                weight = subject.model.model.layers[layer].mlp.down_proj.weight
                norm = weight.norm(dim=0).median()
                for i, plant in enumerate(found):
                    weight[:, i] = norm * direction(subject, plant.tokens)
        subject.model.save_pretrained(folder)
        subject.tokenizer.save(folder)
    return found


def command(*arguments: object) -> float:
    """Run a command in a new process; returns seconds."""
    began = time.monotonic()
    print("$ neurolocal", *arguments, flush=True)
    subprocess.run([sys.executable, "-m", "neurolocal", *map(str, arguments)], check=True)
    return time.monotonic() - began


def measured(store: Store, layer: int, neuron: int) -> list[int]:
    """The tokens that rise most at random positions."""
    table = store.evidence("intervention", layer, "largest")
    assert table is not None, f"layer {layer} was not measured"
    tokens = table.tokens
    rows = np.flatnonzero((tokens.neuron == neuron) & (tokens.difference > 0))
    return [int(tokens.token[i]) for i in rows if tokens.change[i] != "zero"][:TOP]


def direct(store: Store, layer: int, neuron: int) -> list[int]:
    """The tokens that its output weights raise most."""
    effects = store.logit_effects(layer)
    assert effects is not None, f"layer {layer} has no direct logit effects"
    return effects.promoted[store.index_of(layer, neuron)][:TOP].tolist()


def show(path: Path, found: Sequence[Plant], layers: Sequence[int]) -> None:
    """Print the shares by layer; of unplanted neurons the share of all planted tokens that are in their lists."""
    print("layer  kind    neurons  measured  direct   q <= .05 raised / zeroed   median agreement")
    everything = [token for plant in found for token in plant.tokens]
    with Store(path) as store:
        for layer in layers:
            table = store.evidence("intervention", layer, "largest")
            at = {n: i for i, n in enumerate(table.neuron.tolist())}
            single = [i for i, p in enumerate(found) if len(p.tokens) == 1]
            groups = [i for i, p in enumerate(found) if len(p.tokens) > 1]
            others = [n for n in at if n >= len(found)]
            for kind, neurons in (("single", single), ("group", groups), ("none", others)):
                neurons = [n for n in neurons if n in at]
                rows = [at[n] for n in neurons]
                shares = [
                    _recovered(
                        [(found[n].tokens if n < len(found) else everything, read(store, layer, n)) for n in neurons]
                    )
                    for read in (measured, direct)
                ]
                q = [float((column[rows] <= LEVEL).mean()) for column in (table.steer_q, table.zero_q)]
                print(
                    f"{layer:5d}  {kind:6s}  {len(neurons):7d}  {shares[0]:8.2f}  {shares[1]:6.2f}   "
                    f"{q[0]:.2f} / {q[1]:.2f}   {np.nanmedian(table.agreement[rows]):.2f}"
                )


def _recovered(pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> float:
    """Share of the planted tokens that are in the lists."""
    hits = [token in listed for planted, listed in pairs for token in planted]
    return float(np.mean(hits)) if hits else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = Path(__file__).parents[1]
    parser.add_argument("--folder", type=Path, default=Path("planted-outputs"), help="where model and store go")
    parser.add_argument("--corpus", type=Path, default=root / "data" / "sample.jsonl.zst")
    parser.add_argument("--rows", type=int, default=100, help="rows of 128 tokens")
    parser.add_argument("--layers", type=lambda s: [int(i) for i in s.split(",")], default=[4, 9, 14, 19, 24, 28])
    parser.add_argument("--examples", type=int, default=5)
    parser.add_argument("--places", type=int, default=8)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    found, layers = plant_model(args.folder / "model", args.layers), ",".join(map(str, args.layers))
    store = args.folder / "store.h5"
    if not store.exists():
        command(
            "collect", "--subject", args.folder / "model", "--corpus", args.corpus, "--store", store,
            "--layers", layers, "--neurons", f"0-{COLLECTED - 1}", "--max-rows", args.rows, "--row-length", 128,
            "--dtype", "float32",
        )  # fmt: skip
    seconds = command(
        "intervention", store, "--side", "largest", "--limit", len(found) + UNPLANTED, "--examples", args.examples,
        "--places", args.places, "--subject", args.folder / "model",
    )  # fmt: skip
    print(f"intervention: {seconds:.0f} s")
    show(store, found, args.layers)


if __name__ == "__main__":
    main()
