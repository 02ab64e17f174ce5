"""Verdicts of neurons with a known truth: neurons planted in a copy of SmolLM2, judged from the command line.

Plants concepts, random word sets matched to them in size and frequency, single words, forms, and words in context
(planting.py, planted.toml); checks that each neuron fires where it should; collects; runs similarity, perturbation and
verdict from the command line, by the default and the notebook's method. Prints the separation of concepts from their
matched random sets, the confusion matrix of the verdicts, and the calibration of the p values of random sets.
`--half build` is for development; `--half final` shows the other half of the sets, to be evaluated only once.
A run makes only what its folder lacks: delete the folder to start again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from planting import SETS, Plant, Words, hits, placed, plant_model, plants, whole_words

from neurolocal.collect import resolved
from neurolocal.config import CollectConfig
from neurolocal.corpus import RowStream, corpus_files
from neurolocal.store import Store
from neurolocal.subject import Subject, load_subject
from neurolocal.words.forms import has_form

FIRES = 0.97
"""Least firing AUC, on rows that were not used in the fit, of a neuron that counts as planted."""

PURE = 0.8
"""Least share of its 20 examples that peak where they should, of a neuron that counts as planted."""

LISTED = 3
"""Least distinct words of a list among those examples; with fewer the neuron is one of a word or two."""


def corpus_rows(subject: Subject, corpus: Path, n: int) -> np.ndarray:
    """The first rows, the same that `collect` will read."""
    config = resolved(CollectConfig(max_rows=n), subject)
    stream = RowStream(corpus_files(corpus), subject.encode_documents, subject.bos, subject.eos, config)
    return np.concatenate([batch.tokens for batch in stream.batches()])


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Probability that a positive is above a negative, ties half; NaN is below everything."""
    from scipy.stats import mannwhitneyu

    a, b = (np.nan_to_num(x, nan=-np.inf, neginf=-1e30, posinf=1e30) for x in (positive, negative))
    a, b = np.maximum(a, -1e30), np.maximum(b, -1e30)
    return float(mannwhitneyu(a, b).statistic / (len(a) * len(b))) if len(a) and len(b) else float("nan")


def firing(folder: Path, found: Sequence[Plant], rows: np.ndarray, *, allowed: np.ndarray) -> dict[str, float]:
    """Each plant's firing AUC on rows that were not used in the fit."""
    subject = load_subject(str(folder), dtype="float32")
    layers = sorted({p.layer for p in found})
    of = {i: [p for p in found if p.layer == i] for i in layers}
    seen: dict[int, list[np.ndarray]] = {i: [] for i in layers}
    for begin in range(0, len(rows), 16):
        tokens = torch.from_numpy(rows[begin : begin + 16].astype(np.int64))
        readers = {i: lambda x, i=i: seen[i].append(x[:, :, : len(of[i])].half().numpy()) for i in layers}
        subject.read(tokens, readers)
    result = {}
    for layer in layers:
        values = np.concatenate(seen.pop(layer))
        for p in of[layer]:
            own = values[:, :, p.neuron].astype(np.float32)
            hit, counts = hits(p, rows, allowed)
            result[p.name] = auc(own[hit], own[counts & ~hit])
    return result


def purity(store: Path, found: Sequence[Plant]) -> tuple[dict[str, float], dict[str, int]]:
    """Share of each plant's examples that peak where they should (on its words or form, after the required token).

    Second, the distinct words at such peaks.
    """
    result, distinct = {}, {}
    with Store(store) as opened:
        vocabulary = opened.vocabulary
        text = [t.decode("utf-8", "replace").strip().casefold() for t in vocabulary.tokens]
        for p in found:
            words = {text[t] for t in p.tokens}
            right, own_words = [], set[str]()
            for e in opened.examples(p.layer, p.neuron):
                word = vocabulary.word_at(e.tokens, e.peak).text
                own = has_form(word, p.form) if p.form else not words or word.casefold() in words
                before = p.before is None or (e.peak > 0 and text[e.tokens[e.peak - 1]] == text[p.before])
                right.append(own and before)
                own_words |= {word.casefold()} if right[-1] else set()
            result[p.name] = float(np.mean(right)) if right else 0.0
            distinct[p.name] = len(own_words)
    return result, distinct


def make(args: argparse.Namespace, plan: Callable[[Words], list[Plant]]) -> list[Plant]:
    """The planted model and the list of plants, `plan` of the corpus's words; made once."""
    known = args.folder / "planted.json"
    if known.exists():
        listed = json.loads(known.read_text())
        return [read_plant(p) for p in listed]
    subject = load_subject("smollm2", dtype="float32")
    rows = corpus_rows(subject, args.corpus, args.rows)
    words = whole_words(subject, rows)
    allowed = np.zeros(subject.d_vocab, bool)
    allowed[list(words.counts)] = True
    made = placed(plan(words), subject, layers=args.layers)
    print(f"planting {Counter(p.kind for p in made)} in layers {args.layers}", flush=True)
    fit, rest = rows[: int(0.7 * len(rows))], rows[int(0.7 * len(rows)) :]
    plant_model(args.folder / "model", subject, made, fit, allowed=allowed)
    fires = firing(args.folder / "model", made, rest, allowed=allowed)
    (args.folder / "fires.json").write_text(json.dumps(fires))
    listed = [{k: sorted(v) if isinstance(v, frozenset) else v for k, v in asdict(p).items()} for p in made]
    known.write_text(json.dumps(listed))
    return made


def read_plant(listed: dict[str, Any]) -> Plant:
    """A plant from its JSON form."""
    fields: dict[str, Any] = {name: frozenset(v) if isinstance(v, list) else v for name, v in listed.items()}
    return Plant(**fields)


def command(*arguments: object) -> float:
    """Run a command in a new process; returns seconds."""
    began = time.monotonic()
    print("$ neurolocal", *arguments, flush=True)
    subprocess.run([Path(sys.executable).parent / "neurolocal", *map(str, arguments)], check=True)
    return time.monotonic() - began


def judge(args: argparse.Namespace, n_neurons: int) -> dict[str, Path]:
    """Run every stage by both methods; returns the stores by method."""
    stores = {m: args.folder / f"{m}.h5" for m in ("default", "notebook")}
    layers = ",".join(map(str, args.layers))
    if not stores["default"].exists():
        command(
            "collect", "--subject", args.folder / "model", "--corpus", args.corpus, "--store", stores["default"],
            "--layers", layers, "--neurons", f"0-{n_neurons - 1}", "--max-rows", args.rows, "--logits", 0,
        )  # fmt: skip
        shutil.copy(stores["default"], stores["notebook"])
    for method, store in stores.items():
        if method in args.methods:
            vectors = args.vectors if method == "default" else "corpus"
            for stage in ("similarity", "perturbation"):
                extra = args.similarity.split() if stage == "similarity" and method == "default" else []
                seconds = command(stage, store, "--method", method, "--vectors", vectors, "--side", "largest", *extra)
                print(f"{stage}: {seconds:.0f} s")
            command("verdict", store, "--method", method, "--side", "largest")
    return stores


def table(store: Path, layers: Sequence[int]) -> dict[tuple[int, int], dict[str, Any]]:
    """All figures of every neuron, by (layer, neuron)."""
    found: dict[tuple[int, int], dict[str, Any]] = {}
    with Store(store) as opened:
        for layer in layers:
            for stage in ("similarity", "perturbation", "verdict"):
                evidence = opened.evidence(stage, layer, "largest")
                columns = {k: v for k, v in vars(evidence).items() if k not in ("neuron", "substitutes")}
                for i, neuron in enumerate(evidence.neuron.tolist()):
                    figures = {f"{stage}.{k}": v[i] for k, v in columns.items()}
                    found.setdefault((layer, neuron), {}).update(figures)
    return found


MEASURES: dict[str, Callable[[dict[str, Any]], float]] = {
    "verdict score": lambda f: f["verdict.score"],
    "similarity's own score": lambda f: f["similarity.score"],
    "coherence alone (z)": lambda f: f["similarity.z"],
    "perturbation's own score": lambda f: f.get("perturbation.score", np.nan),
    "perturbation alone (AUC)": lambda f: f.get("perturbation.auc", np.nan),
    "perturbation alone (dose)": lambda f: f.get("perturbation.dose", np.nan),
    "reach": lambda f: f.get("perturbation.reach_half", np.nan),
    "phrases alone (mean vectors, z)": lambda f: f["similarity.phrase_z"],
    "phrases alone (Doc2Vec, z)": lambda f: f["similarity.document_z"],
}
KINDS = ("concept", "random", "spare", "mixed", "token", "form", "after", "pair")
VERDICTS = ("concept", "grammar", "token", "form", "context", "unclear", "untested", "dead")


def show(args: argparse.Namespace, found: Sequence[Plant], stores: dict[str, Path]) -> None:
    """Print every figure of the chosen half."""
    fires = json.loads((args.folder / "fires.json").read_text())
    pure, distinct = purity(stores["default"], found)
    half = [p for p in found if p.final == (args.half == "final")]
    lists = ("concept", "random", "spare", "mixed")
    good = [
        p
        for p in half
        if fires[p.name] >= FIRES and pure[p.name] >= PURE and (p.kind not in lists or distinct[p.name] >= LISTED)
    ]
    broken = {p.name.removeprefix("random for ") for p in half if p not in good}
    good = [p for p in good if p.kind not in ("concept", "random") or p.name.removeprefix("random for ") not in broken]
    print(
        f"\n== half: {args.half}; planted and firing as they should (AUC >= {FIRES}, purity >= {PURE}, "
        f"lists with {LISTED} words) =="
    )
    for kind in KINDS:
        some = [p for p in half if p.kind == kind]
        if not some:
            continue
        aucs, shares = [fires[p.name] for p in some], [pure[p.name] for p in some]
        print(
            f"{kind:8s} {sum(p in good for p in some)} of {len(some)}; firing AUC median {np.median(aucs):.4f}, "
            f"least {min(aucs):.4f}; purity median {np.median(shares):.2f}, least {min(shares):.2f}"
        )
    print("left out:", ", ".join(sorted(p.name for p in half if p not in good)) or "none")
    for method, store in stores.items():
        if method in args.methods:
            figures(table(store, args.layers), good, method=method, verbose=args.verbose)


def figures(found: dict[tuple[int, int], dict[str, Any]], good: Sequence[Plant], *, method: str, verbose: bool) -> None:
    """Print separation, confusion and calibration of one method."""
    of = {p.name: found[p.layer, p.neuron] for p in good}
    closed = {p.name for p in good if p.truth == "grammar"}
    asked = [p for p in good if p.name.removeprefix("random for ") not in closed]
    print(f"\n== method {method} ==\nROC AUC, concepts against their matched random sets:")
    for name, measure in MEASURES.items():
        a, b = (np.array([float(measure(of[p.name])) for p in asked if p.kind == k]) for k in ("concept", "random"))
        if np.isfinite(np.concatenate([a, b])).any():
            print(f"  {name:42s} {auc(a, b):.3f}")
    judged = [p for p in good if p.kind not in ("spare", "mixed")]
    confusion = Counter((p.kind, str(of[p.name]["verdict.verdict"])) for p in good)
    print("verdicts (rows: planted):\n  " + " " * 9 + "".join(f"{v:>9s}" for v in VERDICTS))
    for kind in KINDS:
        print(f"  {kind:9s}" + "".join(f"{confusion[kind, v]:9d}" for v in VERDICTS))
    scores = []
    for verdict in ("concept", "grammar", "token", "form", "context", "unclear"):
        tp = sum(p.truth == verdict == of[p.name]["verdict.verdict"] for p in judged)
        said, true = (
            sum(of[p.name]["verdict.verdict"] == verdict for p in judged),
            sum(p.truth == verdict for p in judged),
        )
        scores.append(2 * tp / (said + true) if said + true else float("nan"))
        print(f"  {verdict:9s} precision {tp}/{said}, recall {tp}/{true}, F1 {scores[-1]:.3f}")
    print(f"  macro F1 {np.nanmean(scores):.3f}")
    for column in ("similarity.p", "similarity.form_p", "similarity.phrase_p", "perturbation.p"):
        p = np.array([float(of[q.name].get(column, np.nan)) for q in good if q.kind in ("random", "spare")])
        p = p[np.isfinite(p)]
        if len(p):
            print(f"  random sets: share of {column} under 0.05: {(p < 0.05).mean():.3f} of {len(p)}")
    if verbose:
        for p in sorted(good, key=lambda p: (p.kind, p.name)):
            got = of[p.name]["verdict.verdict"]
            mark = "  " if got == p.truth else "! "
            name = p.name + (", skewed" if p.first is not None else "")
            print(f"  {mark}{p.kind:8s} {name:36s} {got:8s} {of[p.name]['verdict.reason']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = Path(__file__).parents[1]
    parser.add_argument("--folder", type=Path, default=Path("planted"), help="where the model and the stores go")
    parser.add_argument("--corpus", type=Path, default=root / "data" / "sample.jsonl.zst")
    parser.add_argument("--sets", choices=sorted(SETS), default="long", help="planted.toml, or short and closed lists")
    parser.add_argument("--rows", type=int, default=4000, help="rows of 256 tokens")
    parser.add_argument("--layers", type=lambda s: [int(i) for i in s.split(",")], default=[1, 2, 3])
    parser.add_argument("--neurons", type=int, default=512, help="neurons of a layer that are collected")
    parser.add_argument("--spare", type=int, default=150, help="random sets for calibration beside the matched ones")
    parser.add_argument("--vectors", default="glove")
    parser.add_argument("--similarity", default="", help="further options of the similarity command")
    parser.add_argument("--methods", type=lambda s: s.split(","), default=["default", "notebook"])
    parser.add_argument("--half", choices=["build", "final"], default="build")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", action="store_true", help="a line for every planted neuron")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    found = make(args, lambda words: plants(words, sets=args.sets, spare=args.spare, seed=args.seed))
    show(args, found, judge(args, args.neurons))


if __name__ == "__main__":
    main()
