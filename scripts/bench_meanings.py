"""Does `neurolocal meanings` find both concepts of a neuron that has two, and leave single ones whole?

Plants into a copy of SmolLM2 (planting.py) neurons that fire on the words of two unrelated concepts
(planted_meanings.toml), neurons with one concept, and neurons with random words of the same frequency; collects, and
runs `meanings` from the command line. Prints how many neurons with two concepts are divided, the adjusted Rand index of
their examples (those on planted words; an example in no part is a part of its own), in how many each concept has most
of one part, and how many of the others are divided. `--half final` is to be evaluated only once.
A run makes only what its folder lacks: delete the folder to start again.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from bench_planted import command, corpus_rows, firing, purity, read_plant
from planting import FUNCTION_WORDS, SETS, Plant, Words, concept_tokens, matched, placed, plant_model, whole_words
from scipy.special import comb

from neurolocal.store import Store
from neurolocal.subject import load_subject

PAIRS = Path(__file__).with_name("planted_meanings.toml")
FIRES, PURE = 0.97, 0.8
"""Least firing AUC, and least share of right examples, of a neuron that counts as planted."""

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


def make(args: argparse.Namespace) -> list[Plant]:
    """The planted model and the list of plants; made once."""
    known = args.folder / "planted.json"
    if known.exists():
        return [read_plant(p) for p in json.loads(known.read_text())]
    subject = load_subject("smollm2", dtype="float32")
    rows = corpus_rows(subject, args.corpus, args.rows)
    words = whole_words(subject, rows)
    allowed = np.zeros(subject.d_vocab, bool)
    allowed[list(words.counts)] = True
    made = placed(plants(words, seed=args.seed), subject, layers=args.layers)
    print(f"planting {len(made)} neurons in layers {args.layers}", flush=True)
    cut = int(0.7 * len(rows))
    plant_model(args.folder / "model", subject, made, rows[:cut], allowed=allowed)
    (args.folder / "fires.json").write_text(
        json.dumps(firing(args.folder / "model", made, rows[cut:], allowed=allowed))
    )
    listed = [{k: sorted(v) if isinstance(v, frozenset) else v for k, v in asdict(p).items()} for p in made]
    known.write_text(json.dumps(listed))
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = Path(__file__).parents[1]
    parser.add_argument("--folder", type=Path, default=Path("planted-meanings"), help="where the model and store go")
    parser.add_argument("--corpus", type=Path, default=root / "data" / "sample.jsonl.zst")
    parser.add_argument("--rows", type=int, default=2000, help="rows of 256 tokens")
    parser.add_argument("--layers", type=lambda s: [int(i) for i in s.split(",")], default=[2, 3])
    parser.add_argument("--neurons", type=int, default=512, help="neurons of a layer that are collected")
    parser.add_argument("--half", choices=["build", "final"], default="build")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", action="store_true", help="a line for every neuron with two concepts")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    show(args, make(args), judge(args))


if __name__ == "__main__":
    main()
