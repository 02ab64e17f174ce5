"""Speed of packed perturbation: the substitutes of a row in one pass with a shared prefix, against one call each.

All ways run in one process, in turn, and are compared in pairs, because separate runs on a busy machine differ by more
than the effect. Each round runs `packed`, `one call a substitute` and `plain batches` on the same row and substitutes;
the script prints the median ratio with its 95 % interval over rounds (bootstrap). Three settings:

- one example: an example can hardly gain more than its number of substitutes, since the prefix must run at least once.
- many neurons: many examples peak in the same rows, as in a real store. One call a substitute is timed on a sample of
  the calls and scaled.
- the stage: the whole of `InContextPerturbation.perturb` on words of this project's own text, with look-ups and
  figures, single-token substitutes only, against the same substitutes in single calls and in plain batches.

`difference` is the largest difference from one call a substitute, relative to the largest activation.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from perturb_ways import few_examples, one_place, plain, single, timed, whole_layer

from neurolocal.config import PerturbationConfig
from neurolocal.perturbation import InContextPerturbation
from neurolocal.records import Example, PerturbationTable
from neurolocal.similarity import load_vectors
from neurolocal.subject import Subject, load_subject
from neurolocal.subject.packed import Packed
from neurolocal.words import WORD, folded

TARGET = {"one call a substitute": 20.0, "plain batches": 15.0}


class SingleTokens(Packed):
    """A subject that encodes only texts of one token."""

    def encode_exactly(self, text: str) -> list[int] | None:
        """The text's id, or None."""
        ids = super().encode_exactly(text)
        return ids if ids is not None and len(ids) == 1 else None


def stage(subject: Subject, rows: np.ndarray, rng: np.random.Generator, args: argparse.Namespace) -> list[list[float]]:
    """Setting 3: the perturbation stage; returns the ratios by layer."""
    packed = SingleTokens(subject, budget=args.budget)
    counts = subject.vocabulary.word_counts(rows)
    vectors = load_vectors("glove").centred(folded(counts))
    none = dict.fromkeys(("grades", "variants", "forms", "spelled", "reach", "contexts"), 0)
    config = PerturbationConfig(neighbours=args.substitutes // 2, controls=args.substitutes // 2, **none)
    at = dict(enumerate(rows))
    print(f"\nthe stage: {args.neurons} neurons x {config.examples} examples, {args.sharing} examples a row")
    print("layer  vs one call a substitute  vs plain batches   difference   substitutes   seconds a neuron")
    found = []
    for layer in args.layers:
        in_context = InContextPerturbation(
            packed, vectors, rows=at.__getitem__, row_index=np.arange(len(rows)), word_counts=counts, config=config
        )
        neurons = examples_in(subject, rows, layer, rng, args)
        in_context.perturb(
            {n: neurons[n] for n in list(neurons)[:2]}, layer
        )  # warms up, and compares with plain passes
        table: list[PerturbationTable] = []
        fast, _ = timed(lambda at=layer, n=neurons, t=in_context, out=table: _kept(out, t.perturb(n, at)))
        ran = table[0].substitutes
        of = {(n, e.rank): e for n, one in neurons.items() for e in one}
        chosen = rng.choice(len(ran.word), min(args.sample * 6, len(ran.word)), replace=False)
        branches, row_of = [], []
        for i in chosen:
            example = of[int(ran.neuron[i]), int(ran.rank[i])]
            start = subject.vocabulary.word_at(at[example.row], example.position).start
            ids = packed.encode_exactly(ran.word[i]) or [int(at[example.row][start])]
            branches.append((start, tuple(ids), int(ran.neuron[i])))
            row_of.append(example.row)
        slow, theirs = timed(
            lambda b=branches, r=row_of, at=layer: np.concatenate(
                [single(subject, rows[i], at, [one]) for i, one in zip(r, b, strict=True)]
            )
        )
        # Plain batches of the substitutes of one example, each with its own copy of the prefix.
        size = args.substitutes + 1
        groups = [(row_of[j], [branches[j]] * size) for j in range(0, len(branches), size)]
        batched, _ = timed(
            lambda g=groups, at=layer, size=size: np.concatenate(
                [plain(subject, rows[i], at, one, size=size) for i, one in g]
            )
        )
        n = len(ran.word)
        mine = ran.activation[chosen]
        difference = float(np.abs(mine - theirs).max() / np.abs(theirs).max())
        ratios = [slow / len(branches) * n / fast, batched / (len(groups) * size) * n / fast]
        found.append(ratios)
        print(
            f"{layer:5d}  {ratios[0]:10.1f}               {ratios[1]:10.1f}         {difference:.1e}   {n:10,d}      "
            f"{fast / len(neurons):.3f}",
            flush=True,
        )
    return found


def _kept(out: list[PerturbationTable], table: PerturbationTable) -> np.ndarray:
    out.append(table)
    return table.score


def examples_in(
    subject: Subject, rows: np.ndarray, layer: int, rng: np.random.Generator, args: argparse.Namespace
) -> dict[int, list[Example]]:
    """Examples of random neurons at random one-token words, with as many examples a row as in a real store."""
    n_rows = min(len(rows), max(1, args.neurons * 10 // args.sharing))
    places = []
    for i in range(n_rows):
        words = subject.vocabulary.row_words(rows[i])
        for position in range(len(rows[i]) // 8, len(rows[i])):
            word = words[position]
            if WORD.fullmatch(word.text) and word.end == word.start + 1 and word.spaced and len(word.text) > 2:
                places.append((i, position))
    values = [
        subject.activations(torch.from_numpy(rows[i][None]), layer)[0].float().cpu().numpy() for i in range(n_rows)
    ]
    chosen = rng.choice(subject.d_mlp[layer], args.neurons, replace=False)
    found = {}
    for neuron in chosen.tolist():
        own = []
        for rank, at in enumerate(rng.choice(len(places), 10, replace=len(places) < 10)):
            i, position = places[at]
            window = slice(max(position - 8, 0), position + 4)
            own.append(
                Example(
                    rank, i, position, float(values[i][position, neuron]), window.start, rows[i][window],
                    values[i][window, neuron],
                )
            )  # fmt: skip
        found[neuron] = own
    return found


def corpus_rows(subject: Subject, length: int, n: int) -> np.ndarray:
    """Rows of this project's own text, with BOS first."""
    root = Path(__file__).parents[1]
    texts = [p.read_text(encoding="utf-8") for p in sorted(root.glob("neurolocal/**/*.py"))]
    ids = [t for one in subject.encode(texts) for t in one]
    body = length - 1
    start = [] if subject.bos is None else [subject.bos]
    ids = (ids * (n * length // len(ids) + 1))[: n * length]
    return np.array([[*start, *ids[i * body : i * body + length - len(start)]] for i in range(n)], np.int64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subject", default="smollm2", help="folder, .gguf or name of the model")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--device", default=None)
    parser.add_argument("--layers", type=lambda s: [int(i) for i in s.split(",")], default=[7, 15, 25])
    parser.add_argument("--prefixes", type=lambda s: [int(i) for i in s.split(",")], default=[64, 220])
    parser.add_argument("--row-length", type=int, default=256, help="tokens a row")
    parser.add_argument("--substitutes", type=int, default=10, help="substitutes an example")
    parser.add_argument("--sharing", type=int, default=26, help="examples a row: 1536 neurons x 10 over 586 rows")
    parser.add_argument("--sample", type=int, default=8, help="single calls timed a round of `many neurons`")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget", type=int, help="branch tokens a forward pass (default: by the device)")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--neurons", type=int, default=160, help="neurons of `the stage`")
    parser.add_argument("--stage-only", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", metavar="FOLDER", help="a few seconds on a small model, e.g. stories260k")
    args = parser.parse_args()
    if args.quick:
        args.subject, args.layers, args.prefixes, args.rounds = args.quick, [1, 3], [64, 220], 3
    if args.threads:
        torch.set_num_threads(args.threads)
    rng = np.random.default_rng(args.seed)
    packed = Packed(load_subject(args.subject, dtype=args.dtype, device=args.device), budget=args.budget)
    rows = corpus_rows(packed.subject, args.row_length, max(args.rounds + 1, args.neurons * 10 // args.sharing))
    print(
        f"{packed.subject.name}, {args.dtype} on {packed.subject.device}, {torch.get_num_threads()} threads, "
        f"rows of {args.row_length}; ratios: median [95 % interval]"
    )
    if not args.stage_only:
        one_place(packed, rows, rng, args)
        whole_layer(packed, rows, rng, args)
        few_examples(packed, rows, rng, args)
    ratios = stage(packed.subject, rows, rng, args)
    if not args.quick:  # in a tiny model the overhead of the calls dominates
        for column, (name, target) in enumerate(TARGET.items()):
            least = min(one[column] for one in ratios)
            print(
                f"the stage against {name}: lowest {least:.1f}; {target:.0f}: {'met' if least >= target else 'NOT met'}"
            )
    print("side by side" if packed.packs else "this model cannot run side by side: plain batches were used")


if __name__ == "__main__":
    main()
