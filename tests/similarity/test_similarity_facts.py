"""Facts of vectors: agreement with people, coverage, warnings."""

from collections import Counter

import numpy as np
import pytest

from neurolocal.similarity import vector_facts


def test_facts_of_vectors(make_vectors, rng: np.random.Generator) -> None:
    from scipy.stats import spearmanr

    from neurolocal.similarity.vectors import judgements

    pairs = judgements()
    assert {name: len(found) for name, found in pairs.items()} == {"wordsim353": 353, "simlex999": 999}
    english = sorted({w for one in pairs.values() for a, b, _ in one for w in (a, b)})
    vectors = make_vectors(english, rng.standard_normal((len(english), 9)).astype(np.float32))
    facts = vector_facts(vectors, Counter({english[0]: 3, english[1].upper(): 5, "qqqq": 2, ",": 50}))
    for name, found in pairs.items():
        own = [float(vectors.find(a) @ vectors.find(b)) for a, b, _ in found]
        assert facts[name]["spearman"] == pytest.approx(spearmanr(own, [s for *_, s in found])[0])
        assert facts[name]["known"] == len(found)
    assert facts["coverage"] == {"types": 0.6667, "tokens": 0.8}
    assert facts["warnings"] == []


@pytest.mark.parametrize("words", [["один", "два", "три"], ["नमस्ते", "दुनिया"], ["你好", "世界"]])
def test_vectors_of_another_language_are_warned_of(make_vectors, words: list[str]) -> None:
    facts = vector_facts(make_vectors(["one", "two"]), Counter(words))
    assert facts["wordsim353"]["spearman"] is None
    assert any("know 0 % of the corpus's running words" in w and "--vectors corpus" in w for w in facts["warnings"])
    own = vector_facts(make_vectors(words), Counter(words))
    assert own["coverage"]["tokens"] == 1.0
    assert own["simlex999"] == {"spearman": None, "known": 0, "pairs": 999}
    assert own["warnings"] == []
    assert vector_facts(make_vectors(words), Counter({",": 3}))["warnings"][-1] == "the corpus has no words of letters"
