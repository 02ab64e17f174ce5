"""Vector files: every format against gensim's own reader, and hostile files."""

import gzip
import hashlib
import importlib.util
import struct
from pathlib import Path

import numpy as np
import pytest

from neurolocal.errors import VectorsError
from neurolocal.similarity import load_vectors

GENSIM = importlib.util.find_spec("gensim")
if GENSIM is None or GENSIM.origin is None:
    pytest.skip("gensim is not installed", allow_module_level=True)
DATA = Path(GENSIM.origin).parent / "test" / "test_data"
if not DATA.is_dir():
    pytest.skip("gensim came without its test data", allow_module_level=True)


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


BROKEN = {
    "empty": (b"", "the file is empty"),
    "blank": (b"\n\n", "the file is empty"),
    "ragged": (b"a 1 2 3\nb 1 2\nc 1 2 3\n", "line 2 contains 2 numbers, not 3"),
    "long": (b"a 1 2\nb 1 2 x y\n", "line 2 contains something that is not a number \\('x'\\)"),
    "nan": (b"a 1 2\nb 1 nan\n", "line 2 contains NaN"),
    "overflow": (b"a 1 2\nb 1 1e39\n", "line 2 contains NaN, or a number beyond float32"),
    "huge": (b"a 1 2\nb 1 1e38\n", "entry 2 contains NaN or numbers over"),
    "short": (b"3 2\na 1 2\nb 3 4\n", "header states 3 words and it has 2"),
    "more": (b"1 2\na 1 2\nb 3 4\n", "header states 1 words and it has 2"),
    "header": (b"3 2\n", "header states 3 words and it has 0"),
    "three": (b"2 3 1\na 1 2 3\nb 1 2 3\n", "line 1 \\('2 3 1'\\) is 3 numbers, and the lines after it hold 3 numbers"),
    "five": (b"9 5 1\na 1 2 3 4 5\nb 1 2 3 4 5\n", "is 3 numbers, .* hold 5 numbers each; expected a header of two"),
    "first": (
        b"e 0.1\na 1 2 3\nb 1 2 3\n",
        "line 1 \\('e 0.1'\\) holds 1 numbers, and the lines .* 3 .*cut",
    ),
    "stated": (b"2 2\na 1 2 3\nb 1 2 3\n", "line 1 \\('2 2'\\) states 2 dimensions, and the lines after it hold 3"),
    "utf16": ("a 1 2\nb 3 4\n".encode("utf-16"), "it is UTF-16 text: convert it"),
    "one": (b"word\n", "line 1 contains no vector"),
    "all zero": (b"a 0 0\nb 0 0\n", "none of its 2 entries has a word and a direction"),
    "pickle": (b"\x80\x04\x95rest", "it is a pickle .*save_word2vec_format"),
    "zip": (b"PK\x03\x04rest", "a zip archive: unpack it first"),
    "gguf": (b"GGUFrest", "a language model"),
    "gzip": (gzip.compress(b"a 1 2\n" * 500)[:-20], "gzip data is damaged or cut short"),
    "claim.bin": (b"999999999999 300\nword " + b"\x01" * 40, "cut short at entry 1 of the 999999999999"),
    "wide.bin": (b"1 999999999999\nword " + b"\x01" * 40, "its header states 999999999999 dimensions"),
    "binary": (b"a\0\0\0 1 2\n", "begins like neither word2vec nor fastText"),
    "nan.bin": (as_binary(["a", "b"], np.array([[1, 2], [3, np.nan]])), "entry 2 contains NaN"),
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


@pytest.mark.parametrize("header", [b"", b"2 3\n"])
def test_a_byte_order_mark_is_no_part_of_the_first_word(tmp_path, header):
    (tmp_path / "v.txt").write_bytes(b"\xef\xbb\xbf" + header + b"a 1 2 3\nnew york 1 2 4\n")
    vectors = load_vectors(tmp_path / "v.txt")
    assert vectors.words == ["a", "new york"]
    assert vectors.matrix.shape == (2, 3)


def test_a_first_word_with_a_space(tmp_path):
    (tmp_path / "v.txt").write_bytes(b"new york 1 2 4\na 1 2 3\nb 1 2 3\n")
    assert load_vectors(tmp_path / "v.txt").words == ["new york", "a", "b"]


@pytest.mark.parametrize(("minn", "maxn"), [(-1, 6), (3, 2**31 - 1), (2**30, 2**30), (65, 0)])
def test_a_fasttext_file_with_n_grams_that_cannot_be(tmp_path, minn, maxn):
    data = bytearray((DATA / "lee_fasttext_new.bin").read_bytes()[:200_000])
    data[44:52] = struct.pack("<2i", minn, maxn)
    (tmp_path / "v.bin").write_bytes(data)
    with pytest.raises(VectorsError, match=f"n-grams of {minn} to {maxn} characters"):
        load_vectors(tmp_path / "v.bin")


def test_a_fasttext_file_with_a_word_of_many_n_grams(tmp_path):
    data = bytearray((DATA / "lee_fasttext_new.bin").read_bytes()[:200_000])
    data[92:92] = b"a" * 5000
    (tmp_path / "v.bin").write_bytes(data)
    with pytest.raises(VectorsError, match="dictionary entry 1 has a word without end"):
        load_vectors(tmp_path / "v.bin")


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


def test_pickles_of_gensim_are_refused_unopened():
    for name in ("lee_fasttext", "word2vec_pre_kv_py3"):
        with pytest.raises(VectorsError, match="it is a pickle"):
            load_vectors(DATA / name)


def test_entries_left_out_are_counted_in_the_notes(tmp_path):
    path = tmp_path / "odd.txt"
    path.write_bytes(b"a 1 2\nb 0 0\n\xff\xfe 1 1\na 5 6\n 3 4\nc 3 4")
    vectors = load_vectors(path)
    assert vectors.words == ["a", "c"]
    np.testing.assert_allclose(vectors.find("a"), unit([1, 2]), atol=1e-6)
    assert vectors.find("b") is None, "a zero vector is left out"
    assert vectors.notes == (
        "odd.txt ends without a line end: its last number may be incomplete",
        "odd.txt: 2 of 6 entries left out: they are empty or not UTF-8",
        "odd.txt: 1 of 6 entries left out: they are zero vectors",
        "odd.txt: 1 of 6 entries left out: they repeat a word",
    )
