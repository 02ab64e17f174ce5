"""Do the scores tell good descriptions from random ones, on neurons whose concept is known?

Takes the folder of bench_planted.py and an LLM. Describes and scores the planted concepts that fire where they should,
from one half of names.toml (or from both, `--half both`), through the Python interface that the commands use. Prints
every measure with its control, the description of another neuron, and what NeuronEval's two sanity tests do to it: with
the answers as they are, and as if each were right. Given a store that has scores, and no LLM, it prints these alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import shutil
import time
import tomllib
from collections import defaultdict
from pathlib import Path

import label_sanity
import numpy as np

from neurolocal.config import ScoreConfig, SummaryConfig
from neurolocal.llm import load_llm
from neurolocal.pipeline.stages import run_stage
from neurolocal.pipeline.workspace import Workspace
from neurolocal.records import ScoreTable
from neurolocal.score.means import lines
from neurolocal.store import Store, add_evidence
from neurolocal.summary import describe
from neurolocal.summary.stage import neurons_of

WELL = 0.97
"""Firing AUC from which a planted neuron fires where it should."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of bench_planted.py, or a store that has scores")
    parser.add_argument("llm", type=Path, nargs="?")
    parser.add_argument("--half", choices=("build", "final", "both"), default="build")
    parser.add_argument("--limit", type=int, default=20, help="neurons a layer")
    parser.add_argument("--texts", type=int, default=8)
    parser.add_argument("--rows", type=int, default=96)
    args = parser.parse_args()
    tables = scored(args.folder) if args.folder.is_file() else planted(args)
    for line in lines(joined(tables)):
        print(f"  {line}")
    for right, answers in ((False, "the answers as they are"), (True, "as if each answer were right")):
        print(f"sanity tests, {answers}:")
        for line in label_sanity.lines(label_sanity.falls(tables, right=right)):
            print(f"  {line}")


def scored(path: Path) -> list[ScoreTable]:
    """The score tables of a store."""
    with Store(path) as store:
        found = [store.evidence("score", layer, "largest") for layer in store.layers]
    return [table for table in found if table is not None]


def planted(args: argparse.Namespace) -> list[ScoreTable]:
    """Describe and score the planted concepts; one table a layer."""
    store = args.folder / f"scores-{args.llm.stem}-{args.half}.h5"
    shutil.copy(args.folder / "default.h5", store)
    workspace = Workspace(store, sides=("largest",), llm=str(args.llm), subject=str(args.folder / "model"), bar=False)
    names = tomllib.loads((Path(__file__).parent / "names.toml").read_text())
    wanted = {name for half in names for name in names[half] if args.half in (half, "both")}
    fires = json.loads((args.folder / "fires.json").read_text())
    of: dict[int, list[int]] = defaultdict(list)
    for p in json.loads((args.folder / "planted.json").read_text()):
        if p["kind"] == "concept" and fires[p["name"]] >= WELL and re.split(r"[./:]", p["name"])[-1] in wanted:
            of[p["layer"]].append(p["neuron"])
    config, found = SummaryConfig(limit=args.limit), []
    with load_llm(args.llm, n_ctx=config.n_ctx) as llm:
        for layer, neurons in sorted(of.items()):
            began = time.monotonic()
            known = neurons_of(workspace, layer, "largest", sorted(neurons)[: args.limit], notes=True)
            table = describe(
                known, llm, vocabulary=workspace.store.vocabulary, config=config, vectors=workspace.loaded_vectors
            )
            print(f"layer {layer}: {60 * len(known) / (time.monotonic() - began):.0f} neurons a minute described")
            found.append(("summary", layer, "largest", table, {"config": dataclasses.asdict(config)}))
    add_evidence(store, found, site=workspace.store.site)
    workspace.reload()
    began = time.monotonic()
    run_stage("score", workspace, ScoreConfig(limit=args.limit, texts=args.texts, rows=args.rows))
    tables: list[ScoreTable] = [workspace.store.evidence("score", layer, "largest") for layer in sorted(of)]
    n = sum(len(set(t.neuron.tolist())) for t in tables)
    print(f"{n} neurons of layers {sorted(of)}, {60 * n / (time.monotonic() - began):.1f} a minute scored")
    return tables


def joined(tables: list[ScoreTable]) -> ScoreTable:
    """The tables of all layers as one; the tables inside them are those of the first."""
    columns = {}
    for field in dataclasses.fields(ScoreTable):
        parts = [getattr(t, field.name) for t in tables]
        if field.name not in ("texts", "parts"):
            columns[field.name] = (
                np.concatenate(parts) if isinstance(parts[0], np.ndarray) else [x for part in parts for x in part]
            )
    return ScoreTable(**columns, texts=tables[0].texts, parts=tables[0].parts)


if __name__ == "__main__":
    main()
