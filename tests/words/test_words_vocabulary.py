"""Words against slow twins that see the whole text, split into tokens at random bytes."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurolocal.words import WORD, Vocabulary, Word
from neurolocal.words.vocabulary import REACH

PIECES = [
    "cat",
    "Lily",
    "don",
    "'",
    "’",
    "t",
    " ",
    "  ",
    "\n",
    "é",
    "日本語",
    "🎉",
    "и",
    "_",
    "3",
    "x1",
    ".",
    ",",
    "-",
    "ß",
    "a",
    "e\u0301",
    "हिन्दी",
    "\u0301",
]


TEXTS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=14).map("".join)


@st.composite
def rows(draw) -> list[tuple[bytes, bool]]:
    """Tokens of a row: a text cut at random bytes, also inside characters, with special tokens put between."""
    data = draw(TEXTS).encode()
    cuts = sorted(draw(st.sets(st.integers(1, max(len(data) - 1, 1)), max_size=12)) | {len(data)})
    tokens = [(data[a:b], False) for a, b in zip([0, *cuts], cuts, strict=False) if a < b]
    for place in draw(st.lists(st.integers(0, len(tokens)), max_size=2)):
        tokens.insert(place, (b"<s>", True))
    return tokens


def vocabulary_of(row: list[tuple[bytes, bool]]) -> tuple[Vocabulary, np.ndarray]:
    """Each token an id of its own."""
    return Vocabulary([t for t, _ in row], np.array([s for _, s in row])), np.arange(len(row))


def twin(row: list[tuple[bytes, bool]], position: int) -> tuple[str, int, int] | None:
    """The last word of the whole stretch between special tokens that shares a byte with the token; None: no word does.

    One character is one letter of a parallel string, so that bytes and characters are counted the obvious way.
    """
    low = max([i + 1 for i in range(position) if row[i][1]], default=0)
    high = min([i for i in range(position, len(row)) if row[i][1]], default=len(row))
    text = b"".join(t for t, _ in row[low:high]).decode("utf-8", "surrogateescape")
    owner = [i for i in range(low, high) for _ in row[i][0]]
    byte = 0
    spans = []
    for char in text:
        width = len(char.encode("utf-8", "surrogateescape"))
        spans.append(set(owner[byte : byte + width]))
        byte += width
    found = None
    for match in re.finditer(WORD.pattern, text):
        touched = set().union(*spans[match.start() : match.end()])
        if position in touched:
            found = (match.group(), min(touched), max(touched) + 1)
    return found


@given(rows())
@settings(max_examples=400)
def test_word_at_equals_the_twin(row) -> None:
    vocabulary, tokens = vocabulary_of(row)
    assert len(row) <= REACH, "the window must hold the row for the twin to see the same"
    for position, (token, special) in enumerate(row):
        word = vocabulary.word_at(tokens, position)
        assert word.start <= position < word.end
        if special:
            assert word == Word("<s>", position, position + 1, spaced=False)
            continue
        true = twin(row, position)
        if true is None:
            own = token.decode("utf-8", "replace")
            assert word.text == (own.strip() or own)
            assert (word.start, word.end) == (position, position + 1)
            assert word.spaced == (own[0] == " " and bool(own.strip()))
        else:
            assert (word.text, word.start, word.end) == true
            if word.end == word.start + 1 and row[word.start][0].count(word.text.encode()) == 1:
                before = row[word.start][0].partition(word.text.encode())[0]
                assert word.spaced == before.endswith(b" ")


@given(st.lists(rows(), min_size=1, max_size=5), st.sampled_from([1, REACH // 2, REACH]))
@settings(max_examples=400)
def test_row_words_equal_word_at(many, copies) -> None:
    """Also where words are longer than `word_at` looks: some tokens stand many times in a row."""
    row = [token for part in many for i, token in enumerate(part) for _ in range(copies if i == 1 else 1)]
    vocabulary, tokens = vocabulary_of(row)
    words = vocabulary.row_words(tokens)
    assert len(words) == len(row)
    for position in range(len(row)):
        true = vocabulary.word_at(tokens, position)
        assert words[position] == true
        assert words.text(position) == true.text


def test_row_words_of_random_bytes(rng) -> None:
    """Tokens of any bytes whatever, letters and parts of characters likely, and a vocabulary smaller than the row."""
    some = ["a", "é", "日", "🎉", " ", "'", "\u0301", "3"]
    for _ in range(40):
        data = "".join(some[i] for i in rng.integers(0, len(some), 200)).encode()
        tokens = [data[a : a + n] for a, n in zip(rng.integers(0, 200, 60), rng.integers(0, 4, 60), strict=True)]
        vocabulary = Vocabulary(tokens, rng.random(60) < 0.03)
        row = rng.integers(0, 60, 120)
        words = vocabulary.row_words(row)
        assert [words[i] for i in range(120)] == [vocabulary.word_at(row, i) for i in range(120)]


def test_a_row_without_tokens_has_no_words() -> None:
    assert len(Vocabulary([b"a"], np.array([False])).row_words(np.array([], np.int64))) == 0


@given(st.lists(rows(), max_size=4))
@settings(max_examples=200)
def test_word_counts_equal_the_twin(many) -> None:
    vocabulary, _ = vocabulary_of([token for row in many for token in row] or [(b"", False)])
    ids, next_id = [], 0
    for row in many:
        ids.append(np.arange(next_id, next_id + len(row)))
        next_id += len(row)
    true: Counter[str] = Counter()
    for row in many:
        stretch = b""
        for token, special in [*row, (b"", True)]:
            if special:
                true.update(w for w in re.findall(WORD.pattern, stretch.decode("utf-8", "replace")))
                stretch = b""
                continue
            stretch += token
            own = token.decode("utf-8", "replace")
            if "\ufffd" not in own and not WORD.search(own):
                true[(own.strip() or own)] += 1
    assert vocabulary.word_counts(ids) == true


@given(rows())
def test_text_is_decoded_over_the_joined_bytes(row) -> None:
    vocabulary, tokens = vocabulary_of(row)
    assert vocabulary.text(tokens) == b"".join(t for t, _ in row).decode("utf-8", "replace")
    assert vocabulary.str_tokens(tokens) == [t.decode("utf-8", "replace") for t, _ in row]


def at(pieces: list[bytes], position: int, special: tuple[int, ...] = ()) -> Word:
    mask = np.isin(np.arange(len(pieces)), special)
    return Vocabulary(pieces, mask).word_at(np.arange(len(pieces)), position)


@pytest.mark.parametrize(
    ("pieces", "position", "word"),
    [
        ([b" un", b"believ", b"able", b" x"], 1, Word("unbelievable", 0, 3, spaced=True)),
        ([b" don", b"'", b"t", b" go"], 1, Word("don't", 0, 3, spaced=True)),
        ([b"don", "’".encode(), b"t"], 2, Word("don’t", 0, 3, spaced=False)),
        ([b"'tis"], 0, Word("tis", 0, 1, spaced=False)),
        ([b"dogs", b"'", b" bed"], 1, Word("'", 1, 2, spaced=False)),
        ([b" caf\xc3", b"\xa9", b"."], 1, Word("café", 0, 2, spaced=True)),
        (["日".encode()[:2], "日".encode()[2:], "本".encode()], 0, Word("日本", 0, 3, spaced=False)),
        ([b"one", b" two three"], 1, Word("three", 1, 2, spaced=True)),
        ([b"\n", b"  3"], 1, Word("3", 1, 2, spaced=True)),
        ([b"\n\n"], 0, Word("\n\n", 0, 1, spaced=False)),
        ([b""], 0, Word("", 0, 1, spaced=False)),
        ([b"\xff"], 0, Word("\ufffd", 0, 1, spaced=False)),
        ([b"snake", b"_", b"case"], 0, Word("snake", 0, 1, spaced=False)),
    ],
)
def test_words(pieces, position, word) -> None:
    assert at(pieces, position) == word


def test_special_tokens_end_words() -> None:
    assert at([b"left", b"</s>", b"right"], 0, special=(1,)).text == "left"
    assert at([b"left", b"</s>", b"right"], 2, special=(1,)).text == "right"
    assert at([b"left", b"</s>", b"right"], 1, special=(1,)) == Word("</s>", 1, 2, spaced=False)


def test_a_word_beyond_reach_is_cut_there() -> None:
    pieces = [b"a"] * (3 * REACH)
    word = at(pieces, REACH + 5)
    assert (word.start, word.end) == (5, 2 * REACH + 6)
    assert word.text == "a" * (2 * REACH + 1)
    assert at(pieces, 0).end == REACH + 1
    assert at(pieces, 3 * REACH - 1).start == 2 * REACH - 1
