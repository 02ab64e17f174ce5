"""The default method: mean cosine of the distinct peak words, against random words of the same frequency.

Invariant: a pure function of examples, vocabulary, vectors, counts and config; the same seed gives the same table.
Cost: one `word_at` and one window an example; then for each neuron the null, O(draws x dimensions x bins), and the p of
its shared form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64, Integer

from neurolocal.config import SimilarityConfig
from neurolocal.fdr import q_values
from neurolocal.progress import Bar
from neurolocal.records import Example, SimilarityTable
from neurolocal.similarity.coherence import coherence
from neurolocal.similarity.null import NullResult, Pool, frequency_pool, null_scores
from neurolocal.similarity.phrases import PhraseResult, mean_vectors, phrase_scores
from neurolocal.similarity.vectors import Vectors, document_vectors
from neurolocal.words import Vocabulary, Word, folded
from neurolocal.words.forms import FormRates
from neurolocal.words.peaks import DistinctWords, distinct, distinct_spellings, distinct_words


def frequency_matched_similarity(
    examples: Sequence[Sequence[Example]],
    vocabulary: Vocabulary,
    vectors: Vectors,
    *,
    word_counts: Mapping[str, int],
    config: SimilarityConfig,
    rows: Callable[[], Iterable[Integer[np.ndarray, "pos"]]] | None = None,
    progress: bool = False,
) -> SimilarityTable:
    """Score each neuron of a layer against random words of the same frequency.

    A neuron with fewer than two words that have a vector has score, p and q NaN, and is not kept.

    Args:
        examples: one sequence a neuron, in neuron order.
        vocabulary: of the store.
        vectors: word vectors.
        word_counts: words of the corpus as they stand in the text, as `Vocabulary.word_counts` gives them.
        config: draws, bins, level, phrases, seed.
        rows: the stored rows, from which random windows are drawn; None: no phrases are compared.
        progress: whether to show bars.

    Raises:
        VectorsError: fewer than two words of the corpus have a vector.
    """
    words = [
        [vocabulary.word_at(e.tokens, e.peak) for e in one]
        for one in Bar(examples, desc="similarity: words", unit="neuron", disable=not progress)
    ]
    texts = [[word.text for word in one] for one in words]
    peaks = [distinct_words(one) for one in texts]
    score, n_known, null, z = _against_null(peaks, vectors, word_counts, config, progress=progress)
    q = q_values(null.p)
    return SimilarityTable(
        neuron=np.arange(len(score), dtype=np.int64),
        score=score.astype(np.float32),
        n_words=np.array([len(p.words) for p in peaks], dtype=np.int64),
        n_known=n_known,
        repetition=np.array([p.repetition for p in peaks], dtype=np.float32),
        null_mean=null.mean.astype(np.float32),
        null_sd=null.sd.astype(np.float32),
        z=z.astype(np.float32),
        p=null.p,
        q=q,
        kept=q <= config.level,
        **_of_tokens(examples),
        **_of_forms(texts, word_counts),
        **_of_phrases(examples, words, vocabulary, vectors, rows=rows, counts=word_counts, config=config, bar=progress),
    )  # fmt: skip


class Coherent(NamedTuple):
    """How many neurons of a layer are coherent."""

    neurons: int
    """Neurons that can be scored."""
    kept: int
    """Those of them that are kept at the level."""


def coherent(q: Float64[np.ndarray, "neuron"], level: float) -> Coherent:
    """How many neurons are coherent, by the q values of a layer; NaN where a neuron could not be scored."""
    return Coherent(int(np.isfinite(q).sum()), int((q <= level).sum()))


def dealt_similarity(
    examples: Sequence[Sequence[Example]], vocabulary: Vocabulary, vectors: Vectors, *,
    word_counts: Mapping[str, int], config: SimilarityConfig, progress: bool = False,
) -> Coherent:  # fmt: skip
    """The coherence of a layer whose examples are dealt to its neurons at random, each keeping its number of them.

    What is kept then is kept by chance. The arguments and errors are those of `frequency_matched_similarity`.
    """
    every = [vocabulary.word_at(e.tokens, e.peak).text for own in examples for e in own]
    order = np.random.default_rng([config.seed, len(every)]).permutation(len(every))
    ends = np.cumsum([len(own) for own in examples])
    hands = [[every[i] for i in order[end - len(own) : end]] for own, end in zip(examples, ends, strict=True)]
    peaks = [distinct_words(one) for one in hands]
    _, _, null, _ = _against_null(peaks, vectors, word_counts, config, progress=progress)
    return coherent(q_values(null.p), config.level)


def _against_null(
    peaks: Sequence[DistinctWords], vectors: Vectors, word_counts: Mapping[str, int], config: SimilarityConfig, *,
    progress: bool,
) -> tuple[
    Float64[np.ndarray, "neuron"], Int64[np.ndarray, "neuron"], NullResult, Float64[np.ndarray, "neuron"]
]:  # fmt: skip
    """The score of each neuron's words, how many of them have a vector, the null, and z."""
    pool = frequency_pool(folded(word_counts), vectors, bins=config.bins)
    score, n_known, profiles = score_words(peaks, vectors, pool=pool)
    scored = np.flatnonzero(n_known >= 2)
    part = null_scores(
        pool, profiles[scored], score=score[scored], draws=config.draws, seed=config.seed, progress=progress
    )
    null = NullResult(*(_spread(column, scored, len(score)) for column in part))
    with np.errstate(divide="ignore", invalid="ignore"):
        # If only one random set is possible, the sd of the null is rounding error.
        z = np.where(null.sd > 1e-6, (score - null.mean) / null.sd, np.nan)
    return score, n_known, null, z


def _of_phrases(
    examples: Sequence[Sequence[Example]], words: Sequence[Sequence[Word]], vocabulary: Vocabulary, vectors: Vectors, *,
    rows: Callable[[], Iterable[Integer[np.ndarray, "pos"]]] | None, counts: Mapping[str, int],
    config: SimilarityConfig, bar: bool,
) -> dict[str, Any]:  # fmt: skip
    """The columns of phrases and documents; NaN where not computed."""
    none = np.full(len(examples), np.nan)
    phrase = document = PhraseResult(none, none, none)
    if rows is not None and config.phrases != "none":
        embed = mean_vectors(vectors, folded(counts))
        phrase = phrase_scores(
            examples, words, rows(), vocabulary, embed, draws=config.draws, seed=config.seed, progress=bar
        )
    if rows is not None and config.phrases == "doc2vec":
        texts = [vocabulary.text(t for t in row if not vocabulary.special[t]) for row in rows()]
        embed = document_vectors(texts, seed=config.seed + 1)
        document = phrase_scores(
            examples, words, rows(), vocabulary, embed, draws=config.draws, seed=config.seed, peak=True, progress=bar
        )
    found: dict[str, Any] = {"phrase_q": q_values(phrase.p)}
    for name, result in (("phrase", phrase), ("document", document)):
        found |= {f"{name}_score": result.score.astype(np.float32), f"{name}_z": result.z.astype(np.float32)}
        found[f"{name}_p"] = result.p
    return found


def _of_tokens(examples: Sequence[Sequence[Example]]) -> dict[str, Any]:
    peaks = [distinct([str(int(e.tokens[e.peak])) for e in one]) for one in examples]
    return {
        "n_tokens": np.array([len(p.words) for p in peaks], dtype=np.int64),
        "token_repetition": np.array([p.repetition for p in peaks], dtype=np.float32),
    }


def _of_forms(texts: Sequence[Sequence[str]], word_counts: Mapping[str, int]) -> dict[str, Any]:
    rates = FormRates(word_counts)
    found = [rates.shared(distinct_spellings(one)) for one in texts]
    p = np.array([f.p for f in found], dtype=np.float64)
    return {
        "form": [f.form for f in found],
        "form_share": np.array([f.share for f in found], dtype=np.float32),
        "form_p": p,
        "form_q": q_values(p),
    }


def score_words(
    peaks: Sequence[DistinctWords], vectors: Vectors, *, pool: Pool
) -> tuple[Float64[np.ndarray, "n"], Int64[np.ndarray, "n"], Int64[np.ndarray, "n bin"]]:
    """Each neuron's coherence (NaN for fewer than two known words), its number of known words, and these by bin."""
    vector_of: dict[str, Float32[np.ndarray, "d"]] = {}
    bin_of: dict[str, int] = {}
    for word in dict.fromkeys(word for p in peaks for word in p.words):
        vector = vectors.find(word)
        if vector is not None:
            vector_of[word], bin_of[word] = vector, pool.bin_of(word, vectors)
    score = np.full(len(peaks), np.nan)
    n_known = np.zeros(len(peaks), np.int64)
    profiles = np.zeros((len(peaks), len(pool.sizes)), np.int64)
    for i, p in enumerate(peaks):
        known = [word for word in p.words if word in vector_of]
        n_known[i] = len(known)
        if len(known) >= 2:
            score[i] = coherence(np.stack([vector_of[word] for word in known]))
            profiles[i] = np.bincount([bin_of[word] for word in known], minlength=len(pool.sizes))
    return score, n_known, profiles


def _spread(values: Float64[np.ndarray, "m"], at: Int64[np.ndarray, "m"], n: int) -> Float64[np.ndarray, "n"]:
    full = np.full(n, np.nan)
    full[at] = values
    return full
