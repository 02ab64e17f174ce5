"""Time and calibration of the nulls of many neurons: coherence and shared forms, with their q values, part by part.

The neurons are random: 5 to 20 words of the sample corpus each, drawn in proportion to their counts. So their frequency
profiles are as varied as those of real neurons that fire at random, and p should be under 0.05 for 5 % of them.
`--matched N` then draws N random sets for each planted concept (planted.toml), matched to it in frequency as
bench_planted.py does, and prints the share of p under 0.05 for whole sets, and for those of their words that lie
nearest to each other among SmolLM2's embeddings: a neuron that fires on a random set fires most on such words.
"""

from __future__ import annotations

import argparse
import io
import json
import time
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import zstandard
from planting import LEAST, SETS, concept_tokens, matched

from neurolocal.fdr import q_values
from neurolocal.similarity.frequency_matched import score_words
from neurolocal.similarity.null import Pool, frequency_pool, null_scores
from neurolocal.similarity.vectors import Vectors, load_vectors
from neurolocal.subject import load_subject
from neurolocal.words import WORD, folded
from neurolocal.words.forms import FormRates
from neurolocal.words.peaks import DistinctWords


def corpus_counts(path: Path) -> Counter[str]:
    """Words of the corpus as they stand, with their counts."""
    counts: Counter[str] = Counter()
    with path.open("rb") as file:
        for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), "utf-8"):
            counts.update(WORD.findall(json.loads(line)["text"]))
    return counts


def share(chosen: Sequence[Sequence[str]], pool: Pool, vectors: Vectors, *, draws: int) -> str:
    """The share of p under 0.05 and of sets with a p, as text."""
    peaks = [DistinctWords(tuple(dict.fromkeys(w.casefold() for w in one)), 0.1) for one in chosen]
    score, known, profiles = score_words(peaks, vectors, pool=pool)
    at = known >= 2
    null = null_scores(pool, profiles[at], score=score[at], draws=draws, seed=1)
    z = (score[at] - null.mean) / null.sd
    return f"{(null.p < 0.05).mean():.3f} of {at.sum()}, z {z.mean():+.2f} +- {z.std():.2f}"


def afresh(cased: Counter[str], pool: Pool, vectors: Vectors, *, each: int, draws: int, seed: int) -> None:
    """Print the calibration on sets of one-token words matched to the planted concepts."""
    subject, rng = load_subject("smollm2"), np.random.default_rng(seed)
    ids = {t.decode("utf-8", "replace"): i for i, t in enumerate(subject.vocabulary.tokens)}
    one = {t[1:]: i for t, i in ids.items() if t[:1] == " " and WORD.fullmatch(t[1:]) and cased[t[1:]] >= LEAST}
    word = {i: w for w, i in one.items()}
    ranked = sorted(word, key=lambda i: (cased[word[i]], i))
    place = {token: at for at, token in enumerate(ranked)}
    halves = tomllib.loads(SETS["long"].read_text("utf-8")).values()
    concepts = [frozenset(ids) for half in halves for ids in concept_tokens(half, one).values()]
    drawn = [sorted(matched(c, ranked, place, rng)) for c in concepts for _ in range(each)]
    said = share([[word[i] for i in s] for s in drawn], pool, vectors, draws=draws)
    print(f"sets matched to the planted concepts, p < 0.05: {said}")
    embedding = subject.model.get_input_embeddings().weight.detach().float().numpy()
    unit = embedding - embedding.mean(axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    for part in (0.8, 0.6, 0.4):
        near = [np.array(s)[np.argsort(-(unit[s] @ unit[s].mean(axis=0)))][: round(part * len(s))] for s in drawn]
        said = share([[word[i] for i in s.tolist()] for s in near], pool, vectors, draws=draws)
        print(f"{part:.0%} of their words, nearest to each other in the subject: {said}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = Path(__file__).parents[1]
    parser.add_argument("--corpus", type=Path, default=root / "data" / "sample.jsonl.zst")
    parser.add_argument("--vectors", default="glove")
    parser.add_argument("--neurons", type=int, default=50_000)
    parser.add_argument("--draws", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--matched", type=int, default=0, metavar="N", help="random sets for each planted concept")
    args = parser.parse_args()
    cased = corpus_counts(args.corpus)
    counts, rng = folded(cased), np.random.default_rng(args.seed)
    vectors = load_vectors(args.vectors).centred(counts)
    words = list(cased)
    weight = np.array([cased[w] for w in words], float)
    flat = rng.choice(len(words), 20 * args.neurons, p=weight / weight.sum()).reshape(args.neurons, 20)
    sizes = rng.integers(5, 21, args.neurons)
    chosen = [list(dict.fromkeys(words[i] for i in one[:n])) for one, n in zip(flat, sizes, strict=True)]
    peaks = [DistinctWords(tuple(dict.fromkeys(w.casefold() for w in one)), 0.1) for one in chosen]
    seconds: dict[str, float] = {}

    def done(name: str, began: float) -> float:
        seconds[name] = time.perf_counter() - began
        print(f"{name:42s} {seconds[name]:7.1f} s", flush=True)
        return time.perf_counter()

    t = time.perf_counter()
    pool = frequency_pool(counts, vectors, bins=15)
    t = done("pool of the corpus's words", t)
    score, known, profiles = score_words(peaks, vectors, pool=pool)
    t = done("coherence", t)
    at = known >= 2
    null = null_scores(pool, profiles[at], score=score[at], draws=args.draws, seed=args.seed)
    t = done(f"null of coherence, {args.draws} draws", t)
    q_values(null.p)
    t = done("q values", t)
    rates = FormRates(cased)
    p = np.array([rates.shared(one).p for one in chosen])
    q_values(p)
    done("shared form: p and q", t)
    print(f"{args.neurons:,} neurons: {sum(seconds.values()):.1f} s in all")
    print(f"p < 0.05: coherence {(null.p < 0.05).mean():.4f}, shared form {(p < 0.05).mean():.4f}")
    if args.matched:
        afresh(cased, pool, vectors, each=args.matched, draws=args.draws, seed=args.seed)


if __name__ == "__main__":
    main()
