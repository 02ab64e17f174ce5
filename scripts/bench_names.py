"""Does a description contain the name that a person would give?

There are two kinds of neurons with a known name. Word sets: the words of the concepts in planted.toml, each word alone.
Planted: the neurons in the folder of bench_planted.py that fire where they should, with their contexts and substitutes.
Each is described by every given LLM in four ways: our description (top 1), the three best candidates (top 3), the
notebook's question, and the top words. A name is found where the text contains an accepted name (names.toml) as
separate words; plurals count. A text that only lists the words contains the name where a word is one (`sleep`), so
there are two figures: one for all cases, and one for those in which no word of the neuron is an accepted name.
`--half final` shows the other half of the sets, which should be looked at once only.
"""

from __future__ import annotations

import argparse
import json
import re
import time
import tomllib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from neurolocal.config import SummaryConfig
from neurolocal.llm import load_llm
from neurolocal.pipeline.workspace import Workspace
from neurolocal.records import Example, Neuron
from neurolocal.summary import describe
from neurolocal.summary.peaks import find_peaks
from neurolocal.summary.stage import neurons_of
from neurolocal.summary.templates import top_words
from neurolocal.words import Vocabulary

HERE = Path(__file__).parent

EXAMPLES = 20
"""Examples of a word set; half of them explain."""

WELL = 0.97
"""Firing AUC from which a planted neuron fires where it should."""

INTERVAL = 1.96
"""Standard errors of a 95 % interval."""


@dataclass(frozen=True)
class Case:
    """A neuron and its accepted names."""

    name: str
    neuron: Neuron
    vocabulary: Vocabulary
    accepted: tuple[str, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("llm", type=Path, nargs="+", help="GGUF files")
    parser.add_argument("--planted", type=Path, help="folder of bench_planted.py, with default.h5")
    parser.add_argument("--half", choices=("build", "final"), default="build")
    parser.add_argument("--vectors", default="glove")
    parser.add_argument("--limit", type=int, help="cases of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", action="store_true", help="every description")
    args = parser.parse_args()
    named = tomllib.loads((HERE / "names.toml").read_text())[args.half]
    accepted = {name: tuple(re.split(r"\s*\|\s*", names)) for name, names in named.items()}
    workspace = Workspace(args.planted / "default.h5" if args.planted else Path(), vectors=args.vectors, bar=False)
    kinds = {"word sets": word_sets(args.half, accepted, args.seed)}
    if args.planted:
        kinds["planted neurons"] = planted(args.planted, workspace, accepted)
    for kind, cases in kinds.items():
        for llm in args.llm:
            judge(kind, cases[: args.limit], llm, workspace, show=args.show)


def word_sets(half: str, accepted: dict[str, tuple[str, ...]], seed: int) -> list[Case]:
    """One neuron a set, one pair of examples a word: the word alone, in random order."""
    sets = tomllib.loads((HERE / "planted.toml").read_text())[half]["concepts"]
    found = []
    for number, (name, names) in enumerate(accepted.items()):
        words = np.random.default_rng([seed, number]).permutation(sets[name].split())[:EXAMPLES]
        tokens = [b"<s>", *(f" {w}".encode() for w in words)]
        vocabulary = Vocabulary(tokens, np.array([True] + [False] * len(words)))
        examples = [
            # Every other example explains, so each word has two examples: one explains, one scores.
            Example(rank, rank, 1, 1.0 - 0.01 * rank, 0, np.array([0, 1 + rank // 2]), np.array([0, 1], np.float32))
            for rank in range(2 * min(len(words), EXAMPLES // 2))
        ]
        found.append(Case(name, Neuron(number, examples), vocabulary, names))
    return found


def planted(folder: Path, workspace: Workspace, accepted: dict[str, tuple[str, ...]]) -> list[Case]:
    """The planted concepts of all layers that have an accepted name and fire where they should."""
    listed = json.loads((folder / "planted.json").read_text())
    fires = json.loads((folder / "fires.json").read_text())
    by_layer: dict[int, dict[int, str]] = defaultdict(dict)
    for p in listed:
        if p["kind"] == "concept" and fires[p["name"]] >= WELL and short(p["name"]) in accepted:
            by_layer[p["layer"]][p["neuron"]] = short(p["name"])
    return [
        Case(of[n.neuron], n, workspace.store.vocabulary, accepted[of[n.neuron]])
        for layer, of in sorted(by_layer.items())
        for n in neurons_of(workspace, layer, "largest", sorted(of), notes=True)
    ]


def short(name: str) -> str:
    """The name of the set without its prefix."""
    return re.split(r"[./:]", name)[-1]


def judge(kind: str, cases: Sequence[Case], path: Path, workspace: Workspace, *, show: bool) -> None:
    """The figures of one LLM."""
    found: dict[str, list[bool]] = defaultdict(list)
    hidden: list[bool] = []
    config = SummaryConfig()
    notebook = SummaryConfig(method="notebook")
    with load_llm(path, n_ctx=config.n_ctx) as llm:
        began = time.monotonic()
        tables = [
            describe([c.neuron], llm, vocabulary=c.vocabulary, config=config, vectors=workspace.loaded_vectors)
            for c in cases
        ]
        seconds = time.monotonic() - began
        for case, table in zip(cases, tables, strict=True):
            candidates = [line.split("\t")[0] for line in table.candidates[0].splitlines()]
            top = [table.description[0], *[c for c in candidates if c != table.description[0]]][:3]
            peaks = find_peaks(case.neuron, case.vocabulary)
            words = [f" {w}" for w, n in peaks.words.items() for _ in range(n)]
            asked = describe([replace(case.neuron, tokens=words)], llm, vocabulary=case.vocabulary, config=notebook)
            plain = top_words(peaks.words)
            for way, said in (
                ("ours, top 1", top[:1]), ("ours, top 3", top), ("notebook's question", asked.description),
                ("top words", [plain]),
            ):  # fmt: skip
                found[way].append(any(named(text, case.accepted) for text in said))
            hidden.append(not named(" ".join(peaks.words), case.accepted))
            if show:
                mark = "+" if found["ours, top 1"][-1] else "(+)" if found["ours, top 3"][-1] else "-"
                print(f"  {mark:>3} {case.name}: {top} <- {' '.join(list(peaks.words)[:6])} [{table.source[0]}]")
                print(f"      answers {table.answer[0].splitlines()}; notebook: {asked.description[0][:100]!r}")
    print(
        f"{kind}, {path.name}: {len(cases)} cases, {60 * len(cases) / seconds:.0f} neurons a minute; "
        f"second: the {sum(hidden)} whose words do not give the name away"
    )
    for way, right in found.items():
        some = [r for r, h in zip(right, hidden, strict=True) if h]
        print(f"  {way:20} {share(right)}   {share(some)}", flush=True)


def share(right: Sequence[bool]) -> str:
    """The share that is right, with its 95 % interval."""
    p = float(np.mean(right))
    return f"{p:.3f} ± {INTERVAL * (p * (1 - p) / len(right)) ** 0.5:.3f}"


def named(text: str, accepted: Sequence[str]) -> bool:
    """Whether a text contains an accepted name as separate words, in singular or plural."""
    words = [stem(w) for w in re.findall(r"\w+", text.casefold())]
    for name in accepted:
        wanted = [stem(w) for w in re.findall(r"\w+", name.casefold())]
        if any(words[i : i + len(wanted)] == wanted for i in range(len(words) - len(wanted) + 1)):
            return True
    return False


def stem(word: str) -> str:
    """A word without its plural."""
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    return word.removesuffix("es") if word.endswith(("xes", "ches", "shes", "sses")) else word.removesuffix("s")


if __name__ == "__main__":
    main()
