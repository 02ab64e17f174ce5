"""The notebook's similarity: mean cosine over all pairs of example tokens, self-pairs included; kept from 0.6.

Invariant: equals the notebook's double loop to rounding. In that loop a token without a vector raises an error that
ends the current row of pairs. So the pairs that count are those inside a run of tokens that all have a vector.
Cost: one vector addition a token.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neurolocal.config import SimilarityConfig
from neurolocal.progress import Bar
from neurolocal.records import Example, SimilarityTable
from neurolocal.similarity.coherence import self_paired
from neurolocal.similarity.vectors import Vectors
from neurolocal.words import Vocabulary
from neurolocal.words.notebook_examples import notebook_examples
from neurolocal.words.peaks import distinct


def notebook_similarity(
    examples: Sequence[Sequence[Example]],
    vocabulary: Vocabulary,
    vectors: Vectors,
    *,
    config: SimilarityConfig,
    progress: bool = False,
) -> SimilarityTable:
    """The notebook's score of each neuron (`examples`: one sequence a neuron, in neuron order).

    Here `n_words`, `n_known` and `repetition` refer to the notebook's example tokens, with their leading space. There
    is no null: `null_mean`, `null_sd`, `z`, `p` and `q` are NaN. The original used FastText, which composes a vector
    for every token; GloVe and word2vec have none for a token with a leading space.
    """
    scores, n_words, n_known, repetition = [], [], [], []
    for one in Bar(examples, desc="similarity (notebook)", unit="neuron", disable=not progress):
        tokens = [example.token for example in notebook_examples(one, vocabulary)]
        peaks = distinct(tokens)
        scores.append(notebook_score(tokens, vectors))
        n_words.append(len(peaks.words))
        n_known.append(sum(vectors.find(token, fold=False) is not None for token in peaks.words))
        repetition.append(peaks.repetition)
    score = np.array(scores, dtype=np.float32)
    none32, none64 = np.full(len(score), np.nan, np.float32), np.full(len(score), np.nan)
    return SimilarityTable(
        neuron=np.arange(len(score), dtype=np.int64),
        score=score,
        n_words=np.array(n_words, dtype=np.int64),
        n_known=np.array(n_known, dtype=np.int64),
        repetition=np.array(repetition, dtype=np.float32),
        null_mean=none32,
        null_sd=none32.copy(),
        z=none32.copy(),
        p=none64,
        q=none64.copy(),
        kept=np.array([s >= config.threshold for s in scores], dtype=bool),
        n_tokens=np.array(n_words, dtype=np.int64),
        token_repetition=np.array(repetition, dtype=np.float32),
        form=[""] * len(score),
        **{c: none64.copy() for c in ("form_p", "form_q", "phrase_p", "phrase_q", "document_p")},
        **{c: none32.copy() for c in ("form_share", "phrase_score", "phrase_z", "document_score", "document_z")},
    )


def notebook_score(tokens: Sequence[str], vectors: Vectors) -> float:
    """Mean cosine over all pairs i <= j of the tokens, self-pairs included; 0 where there is no pair."""
    total, pairs = 0.0, 0
    run: list[np.ndarray] = []
    for token in [*tokens, None]:
        vector = None if token is None else vectors.find(token, fold=False)
        if vector is None and token is not None and vectors.composes:
            # A token without n-grams (an empty one): gensim's FastText gives the zero vector, so cosine 0, no error.
            vector = np.zeros(vectors.matrix.shape[1], np.float32)
        if vector is not None:
            run.append(vector)
        elif run:
            cosines, n = self_paired(np.stack(run))
            total, pairs, run = total + cosines, pairs + n, []
    return total / pairs if pairs else 0.0
