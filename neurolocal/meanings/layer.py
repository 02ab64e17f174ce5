"""The meanings of a layer: the parts of every neuron -> the stage's table.

Cost: that of `parts.meanings_of` for each neuron.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from neurolocal.config import MeaningsConfig, SimilarityConfig
from neurolocal.fdr import q_values
from neurolocal.meanings.null import Null
from neurolocal.meanings.parts import Meanings, meanings_of
from neurolocal.meanings.points import points_of
from neurolocal.meanings.table import MeaningsTable, MemberTable, PartTable
from neurolocal.progress import Bar
from neurolocal.records import Example
from neurolocal.similarity.null import frequency_pool
from neurolocal.similarity.phrases import Embed, mean_vectors
from neurolocal.similarity.vectors import Vectors
from neurolocal.words import Vocabulary, folded


class Corpus(NamedTuple):
    """What the neurons of all layers are compared with."""

    null: Null
    embed: Embed
    """Of contexts."""


def corpus_of(vectors: Vectors, word_counts: Mapping[str, int], *, most: int, config: MeaningsConfig) -> Corpus:
    """The random words of a corpus.

    Args:
        vectors: word vectors, less the mean of running words.
        word_counts: words of the corpus as they stand in the text.
        most: examples of a neuron.
        config: `words`, seed.

    Raises:
        VectorsError: fewer than two words of the corpus have a vector.
    """
    counts = folded(word_counts)
    pool = frequency_pool(counts, vectors, bins=SimilarityConfig().bins)
    return Corpus(Null(pool, vectors, most=most, least=config.words, seed=config.seed), mean_vectors(vectors, counts))


def meanings_table(
    examples: Sequence[Sequence[Example]], vocabulary: Vocabulary, corpus: Corpus, *,
    neurons: Int64[np.ndarray, "neuron"], config: MeaningsConfig, progress: bool = False,
) -> MeaningsTable:  # fmt: skip
    """The meanings of every neuron of a layer.

    Args:
        examples: one sequence a neuron, in neuron order.
        vocabulary: of the store.
        corpus: of the store.
        neurons: index of each neuron within the layer.
        config: thresholds.
        progress: whether to show a bar.
    """
    null, embed = corpus
    bar = Bar(examples, desc="meanings", unit="neuron", total=len(examples), disable=not progress)
    found = [meanings_of(points_of(own, vocabulary, null.vectors, embed), null, config) for own in bar]
    q = q_values(np.array([one.p for one in found], np.float64))
    return table(neurons, found, q, [len(own) for own in examples], config.level)


def table(
    neurons: Int64[np.ndarray, "neuron"], found: Sequence[Meanings], q: Float64[np.ndarray, "neuron"],
    n_examples: Sequence[int], level: float,
) -> MeaningsTable:  # fmt: skip
    """The stage's table; parts are kept where q is at or under the level."""
    divided = [i for i, one in enumerate(found) if one.parts and q[i] <= level]
    parts = [(int(neurons[i]), number, part) for i in divided for number, part in enumerate(found[i].parts, 1)]
    members = [
        (int(neurons[i]), rank, next((k for k, part in enumerate(found[i].parts, 1) if rank in part.examples), 0))
        for i in divided
        for rank in range(n_examples[i])
    ]
    n_parts = np.zeros(len(found), np.int32)
    n_parts[divided] = [len(found[i].parts) for i in divided]
    column = np.array(members, np.int64).reshape(-1, 3).T
    return MeaningsTable(
        neuron=neurons.astype(np.int64),
        n_words=np.array([one.n_words for one in found], np.int32),
        group_p=np.array([one.group_p for one in found], np.float64),
        n_parts=n_parts,
        p=np.array([one.p for one in found], np.float64),
        q=q,
        parts=PartTable(
            neuron=np.array([n for n, _, _ in parts], np.int64),
            part=np.array([k for _, k, _ in parts], np.int32),
            words=["\n".join(part.words) for _, _, part in parts],
            n_examples=np.array([len(part.examples) for _, _, part in parts], np.int32),
            cohesion=np.array([part.cohesion for _, _, part in parts], np.float32),
            p=np.array([part.p for _, _, part in parts], np.float64),
        ),
        members=MemberTable(column[0], column[1].astype(np.int32), column[2].astype(np.int32)),
    )
