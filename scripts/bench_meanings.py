"""Does `neurolocal meanings` find both concepts of a neuron that has two, and leave single ones whole?

Plants into a copy of SmolLM2 (planting.py) neurons that fire on the words of two unrelated concepts
(planted_meanings.toml), neurons with one concept, and neurons with random words of the same frequency; collects, and
runs `meanings` from the command line. Prints how many neurons with two concepts are divided, the adjusted Rand index of
their examples (those on planted words; an example in no part is a part of its own), in how many each concept has most
of one part, and how many of the others are divided. `--half final` is to be evaluated only once.
A run makes only what its folder lacks: delete the folder to start again.
`--dealt STORE` counts instead what is divided by chance: each neuron keeps its best group, and its other words are
dealt from those of the layer.
"""

from __future__ import annotations

import argparse
import json
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from bench_planted import FIRES, PURE, command, make, purity
from planting import FUNCTION_WORDS, SETS, Plant, Words, concept_tokens, matched
from scipy.special import comb

from neurolocal.config import MeaningsConfig
from neurolocal.fdr import q_values
from neurolocal.meanings.groups import cuts
from neurolocal.meanings.layer import corpus_of
from neurolocal.meanings.null import Null
from neurolocal.meanings.parts import meanings_of
from neurolocal.meanings.points import Points, content_words, points_of
from neurolocal.pipeline.workspace import Workspace
from neurolocal.store import Store

PAIRS = Path(__file__).with_name("planted_meanings.toml")
EACH = 4
"""Fewest examples and `WORDS` distinct words of each of its two concepts."""
WORDS = 3


def adjusted_rand(a: Sequence[int], b: Sequence[int]) -> float:
    """The adjusted Rand index of two divisions (Hubert and Arabie, 1985): 1 if equal, 0 by chance."""
    _, i = np.unique(a, return_inverse=True)
    _, j = np.unique(b, return_inverse=True)
    table = np.zeros((i.max() + 1, j.max() + 1))
    np.add.at(table, (i, j), 1)
    both, rows, columns = (float(np.sum(comb(x, 2))) for x in (table, table.sum(axis=1), table.sum(axis=0)))
    expected, most = rows * columns / comb(len(a), 2), (rows + columns) / 2
    return 1.0 if most == expected else float((both - expected) / (most - expected))


def plants(words: Words, *, seed: int) -> list[Plant]:
    """Two concepts, one concept, and random words matched to each of these, of both halves."""
    rng = np.random.default_rng(seed)
    of = {words.text[i]: i for i, n in words.counts.items() if n >= 3}
    ranked = sorted(of.values(), key=lambda i: (words.counts[i], i))
    place = {token: i for i, token in enumerate(ranked)}
    pairs, made = tomllib.loads(PAIRS.read_text(encoding="utf-8")), list[Plant]()
    for half, sets in tomllib.loads(SETS["long"].read_text(encoding="utf-8")).items():
        final = half == "final"
        content = {
            name: ids
            for name, ids in sorted(concept_tokens(sets, of).items())
            if not all(words.text[i].casefold() in FUNCTION_WORDS for i in ids)
        }
        for pair in pairs[half]["pairs"]:
            one, other = pair.split()
            if one in content and other in content:
                made.append(Plant(pair, "two", final, frozenset(content[one] + content[other])))
        singles = [Plant(name, "one", final, frozenset(ids)) for name, ids in content.items()]
        made += singles
        made += [Plant(f"random for {p.name}", "random", final, matched(p.tokens, ranked, place, rng)) for p in singles]
    return made


def judge(args: argparse.Namespace) -> Path:
    """Collect, and divide."""
    store, layers = args.folder / "store.h5", ",".join(map(str, args.layers))
    if not store.exists():
        command(
            "collect", "--subject", args.folder / "model", "--corpus", args.corpus, "--store", store,
            "--layers", layers, "--neurons", f"0-{args.neurons - 1}", "--max-rows", args.rows, "--logits", 0,
            "--dtype", "float32",
        )  # fmt: skip
    print(f"meanings: {command('meanings', store, '--side', 'largest'):.0f} s")
    return store


class Judged(NamedTuple):
    """A neuron with two concepts, as the stage divided it."""

    rand: float
    """Adjusted Rand index of the examples on planted words; 0 where it is not divided."""
    divided: bool
    named: bool
    """Whether each concept has most of a part."""
    said: str


def divided_pair(store: Store, p: Plant, lists: Sequence[set[str]]) -> Judged | None:
    """How its examples were divided; None where a concept has too few of them. `lists`: the words of both concepts."""
    table = store.evidence("meanings", p.layer, "largest")
    words = [store.vocabulary.word_at(e.tokens, e.peak).text.casefold() for e in store.examples(p.layer, p.neuron)]
    truth = [next((i for i, own in enumerate(lists) if w in own), -1) for w in words]
    if min(truth.count(0), truth.count(1)) < EACH or min(len({*words} & own) for own in lists) < WORDS:
        return None
    at, mine = int(np.searchsorted(table.neuron, p.neuron)), table.members.neuron == p.neuron
    part = dict(zip(table.members.rank[mine].tolist(), table.members.part[mine].tolist(), strict=True))
    ranks = [i for i, t in enumerate(truth) if t >= 0]
    parts = range(1, int(table.n_parts[at]) + 1)
    most = {max((0, 1), key=lambda t: sum(truth[i] == t and part[i] == k for i in ranks)) for k in parts}
    rand = adjusted_rand([truth[i] for i in ranks], [part.get(i, 0) for i in ranks]) if parts else 0.0
    found = [table.parts.words[i].replace("\n", ", ") for i in np.flatnonzero(table.parts.neuron == p.neuron)]
    said = f"{p.name}: Rand {rand:.2f}, p {float(table.p[at]):.2g}; " + (" | ".join(found) or ", ".join(words))
    return Judged(rand, bool(parts), most == {0, 1}, said)


def show(args: argparse.Namespace, made: Sequence[Plant], store: Path) -> None:
    """Print the figures of the chosen half."""
    fires = json.loads((args.folder / "fires.json").read_text())
    pure, _ = purity(store, made)
    concepts = tomllib.loads(SETS["long"].read_text(encoding="utf-8"))[args.half]["concepts"]
    half = [p for p in made if p.final == (args.half == "final")]
    good = [p for p in half if fires[p.name] >= FIRES and pure[p.name] >= PURE]
    with Store(store) as opened:
        pairs = [p for p in good if p.kind == "two"]
        lists = [[{w.casefold() for w in concepts[name].split()} for name in p.name.split()] for p in pairs]
        found = [divided_pair(opened, p, own) for p, own in zip(pairs, lists, strict=True)]
        tables = {layer: opened.evidence("meanings", layer, "largest") for layer in args.layers}
    judged = [one for one in found if one is not None]
    if args.verbose:
        print("\n".join(f"  {one.said}" for one in judged))
    rand, split = [one.rand for one in judged], [one.rand for one in judged if one.divided]
    print(f"\n== half: {args.half} ==")
    print(f"two concepts: {len(judged)} judged of {sum(p.kind == 'two' for p in half)} planted")
    print(f"  divided {len(split)}, in which both concepts have most of a part {sum(one.named for one in judged)}")
    print(f"  adjusted Rand index: mean {np.mean(rand):.3f} of all, {np.mean(split):.3f} of those divided; "
          f"0.8 or more in {sum(r >= 0.8 for r in rand)}")  # fmt: skip
    for kind, name in (("one", "one concept"), ("random", "random words")):
        own = [p for p in good if p.kind == kind]
        parts = {p.name: int(tables[p.layer].n_parts[tables[p.layer].neuron == p.neuron][0]) for p in own}
        print(f"{name}: divided {sum(n > 0 for n in parts.values())} of {len(own)}: {[n for n in parts if parts[n]]}")


def dealt(args: argparse.Namespace) -> None:
    """Print how many neurons of a store's layers are divided, as they are and with all but their best group dealt."""
    config = MeaningsConfig()
    workspace = Workspace(args.dealt, bar=False)
    store, vectors = workspace.store, workspace.centred_vectors
    corpus = corpus_of(vectors, workspace.word_counts, most=store.k(args.layers[0]), config=config)
    for layer in args.layers:
        lists = store.example_lists(layer, "largest")
        own = [points_of(one, store.vocabulary, vectors, corpus.embed) for one in lists]
        deck = [word for one in own for word, of in zip(one.spelled, one.of_example, strict=True) if of >= 0]
        rng = np.random.default_rng([args.seed, layer])
        for name, points in (
            ("as they are", own),
            ("dealt", [deal(one, deck, corpus.null, config, rng) for one in own]),
        ):
            began = time.process_time()
            found = [meanings_of(one, corpus.null, config) for one in points]
            p = np.array([one.p for one in found])
            asked = np.isfinite(p)
            under = [f"{(p[asked] <= level).mean():.3f} at {level:g}" for level in (0.05, 0.01)]
            print(
                f"layer {layer}, {name}: {asked.sum()} of {len(p)} have a group; of these p under: {', '.join(under)}; "
                f"divided {(q_values(p) <= config.level).sum()}; {time.process_time() - began:.1f} s of processor time"
            )


def deal(one: Points, deck: list[str], null: Null, config: MeaningsConfig, rng: np.random.Generator) -> Points:
    """A neuron whose clustered words, but for those of its best group, are drawn from the layer's."""
    if len(one.words) < 2 * config.words:
        return one
    groups = [g for cut in cuts(one.unit) for g in cut if len(g) >= config.words]
    best = set(max(groups, key=lambda g: null.scale.holds(one.unit[g])).tolist())
    if len(best) > len(one.words) - config.words:
        best = set[int]()
    drawn = rng.integers(len(deck), size=len(one.spelled)).tolist()
    words = [
        w if of in best or of < 0 else deck[i]
        for w, of, i in zip(one.spelled, one.of_example.tolist(), drawn, strict=True)
    ]
    return one._replace(
        spelled=words, **dict(zip(("words", "unit", "of_example"), content_words(words, null.vectors), strict=True))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = Path(__file__).parents[1]
    parser.add_argument("--folder", type=Path, default=Path("planted-meanings"), help="where the model and store go")
    parser.add_argument("--corpus", type=Path, default=root / "data" / "sample.jsonl.zst")
    parser.add_argument("--rows", type=int, default=2000, help="rows of 256 tokens")
    parser.add_argument("--layers", type=lambda s: [int(i) for i in s.split(",")], default=[2, 3])
    parser.add_argument("--neurons", type=int, default=512, help="neurons of a layer that are collected")
    parser.add_argument(
        "--dealt", type=Path, help="a store whose neurons keep their best group, and are dealt the rest"
    )
    parser.add_argument("--half", choices=["build", "final"], default="build")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", action="store_true", help="a line for every neuron with two concepts")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.dealt is not None:
        dealt(args)
        return
    show(args, make(args, lambda words: plants(words, seed=args.seed)), judge(args))


if __name__ == "__main__":
    main()
