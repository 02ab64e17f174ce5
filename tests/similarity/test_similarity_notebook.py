"""The notebook's similarity against its own double loop."""

import json

import numpy as np
import pytest

from neurolocal.config import SimilarityConfig
from neurolocal.similarity import notebook_similarity
from neurolocal.similarity.notebook import notebook_score
from neurolocal.words.notebook_examples import as_parsed, notebook_examples


def cosine(a, b):
    return float(np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))


def literal_examples(tokens, activations):
    # original-method.md, stage 1, word by word: from the page's line, whose JSON is never decoded.
    page = json.dumps({"tokens": [str(t) for t in tokens], "values": [float(a) for a in activations]})
    tokens = page[len('{"tokens": [') : page.index('], "values')].replace('"', "").split(", ")[:-1]
    activations = [float(np.float32(a)) for a in activations[:-1]]
    n, found = len(tokens), []
    for i in range(len(activations)):
        if activations[i] == max(activations):
            found.append((tokens[i], activations[i], " ".join(tokens[max(i - 3, 0) : min(i + 3, n - 1)])))
    return found


def literal_score(tokens, lookup):
    # original-method.md, stage 2, word by word: a token that raises ends its own row of pairs only.
    total, pairs = 0.0, 0
    for i in range(len(tokens)):
        try:
            for j in range(i, len(tokens)):
                total += cosine(lookup[tokens[i]], lookup[tokens[j]])
                pairs += 1
        except KeyError:
            pass
    return total / pairs if pairs else 0.0


def test_notebook_equals_its_literal_transcription(build, make_vectors, rng):
    texts = [" a", "b", " c'd", ",", '"', " é", "\n", "unknown", "unheard"]
    known = as_parsed(texts[:-2])
    vectors = make_vectors(known, seed=int(rng.integers(1 << 30)))
    lookup = dict(zip(known, vectors.matrix.astype(np.float64), strict=True))
    neurons = []
    vocabulary, _ = build([(texts, range(len(texts)))])
    for _ in range(60):
        windows = []
        for _ in range(rng.integers(0, 6)):
            n = int(rng.integers(1, 12))
            windows.append((list(rng.choice(texts, n)), list(rng.integers(0, 3, n) * rng.random())))
        neurons.append((windows, build(windows, vocabulary)[1]))
    table = notebook_similarity(
        [e for _, e in neurons], vocabulary, vectors, config=SimilarityConfig(method="notebook")
    )
    scores = []
    for i, (windows, examples) in enumerate(neurons):
        slow = [x for tokens, activations in windows for x in literal_examples(tokens, activations)]
        assert [tuple(x) for x in notebook_examples(examples, vocabulary)] == slow
        tokens = [token for token, _, _ in slow]
        scores.append(literal_score(tokens, lookup))
        assert table.score[i] == pytest.approx(scores[-1], abs=1e-6)
        assert table.n_words[i] == len(set(tokens))
        assert table.n_known[i] == len(set(tokens) & set(known))
    clear = np.abs(np.array(scores) - 0.6) > 1e-6  # nearer than that, float32 may say either
    assert (table.kept == (np.array(scores) >= 0.6))[clear].all()
    assert len(set(scores)) > 20
    assert np.isnan(table.p).all()


def test_notebook_score_without_pairs_is_zero_and_self_pairs_raise_it(make_vectors):
    vectors = make_vectors(["x", "y"], np.array([[1, 0], [0, 1]], np.float32))
    assert notebook_score([], vectors) == 0
    assert notebook_score(["?", "?"], vectors) == 0
    assert notebook_score(["x"], vectors) == 1
    assert notebook_score(["x", "y"], vectors) == pytest.approx(2 / 3)
    # The unknown token ends x's row before y is reached: only the self-pairs are left.
    assert notebook_score(["x", "?", "y"], vectors) == 1
    assert notebook_score(["X"], vectors) == 0, "tokens are taken as they stand"
