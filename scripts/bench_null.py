"""Time and calibration of the nulls of many neurons: coherence and shared forms, with their q values, part by part.

The neurons are random: 5 to 20 words of the sample corpus each, drawn in proportion to their counts. So their frequency
profiles are as varied as those of real neurons that fire at random, and p should be under 0.05 for 5 % of them.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections import Counter
from pathlib import Path

import numpy as np
import zstandard

from neurolocal.fdr import q_values
from neurolocal.similarity.frequency_matched import score_words
from neurolocal.similarity.null import frequency_pool, null_scores
from neurolocal.similarity.vectors import load_vectors
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = Path(__file__).parents[1]
    parser.add_argument("--corpus", type=Path, default=root / "data" / "sample.jsonl.zst")
    parser.add_argument("--vectors", default="glove")
    parser.add_argument("--neurons", type=int, default=50_000)
    parser.add_argument("--draws", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
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


if __name__ == "__main__":
    main()
