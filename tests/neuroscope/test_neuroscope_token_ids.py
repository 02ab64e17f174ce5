"""Token strings get their own ids or none, never others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_run import TEXT
from tokenizers import ByteLevelBPETokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from neurolocal.neuroscope.replay.token_ids import TokenResolver, _readings
from neurolocal.subject.tokenizers import Tokenizer as Own
from neurolocal.words import Vocabulary

SPEECH = f"{TEXT} Zoë’s naïve café — “déjà vu” … Ελλάδα, Москва, 東京, 北京 🙂🙃 𝔘𝔫𝔦𝔠𝔬𝔡𝔢."


class Tokenizer:
    """The part of a subject that the resolver uses."""

    def __init__(self, own: Any) -> None:
        self.own, self.vocabulary = Own.of(own), Own.of(own).vocabulary(len(own))

    def encode_documents(self, texts: list[str]) -> list[tuple[Any, Any]]:
        return self.own.encode_documents(self.vocabulary, texts)

    def encode_exactly(self, text: str) -> list[int] | None:
        return self.own.encode_exactly(self.vocabulary, text)


@pytest.fixture(scope="module")
def byte_level() -> Tokenizer:
    """A byte-level BPE of 400 tokens, with runs of spaces as added tokens, as GPT-NeoX's has."""
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator([SPEECH] * 3, vocab_size=400, show_progress=False, special_tokens=["<|endoftext|>"])
    own = PreTrainedTokenizerFast(tokenizer_object=trained._tokenizer, eos_token="<|endoftext|>")
    own.add_tokens(["  ", "    "])
    return Tokenizer(own)


@pytest.fixture(scope="module")
def sentencepiece(fixtures) -> Tokenizer:
    return Tokenizer(AutoTokenizer.from_pretrained(str(fixtures / "stories260k"), local_files_only=True))


def shown(tokenizer: Tokenizer, ids: list[int]) -> tuple[list[str], np.ndarray]:
    """What pages show of a row: strings, each once, and the row in their numbers."""
    strings = tokenizer.vocabulary.str_tokens(ids)
    distinct = sorted(set(strings))
    return distinct, np.array([distinct.index(s) for s in strings])


def resolved(tokenizer: Tokenizer, ids: list[int]) -> tuple[np.ndarray, TokenResolver]:
    strings, row = shown(tokenizer, ids)
    resolver = TokenResolver(tokenizer, strings)
    return resolver.resolve(row).ids, resolver


@pytest.mark.parametrize("which", ["byte_level", "sentencepiece"])
def test_random_slices_of_text_get_their_ids_or_none(which, request, rng) -> None:
    tokenizer = request.getfixturevalue(which)
    known = total = 0
    for _ in range(40):
        pieces = list(SPEECH.split(" "))
        text = " ".join(pieces[i] for i in rng.integers(0, len(pieces), 60))
        ids = tokenizer.encode_documents([text])[0][0].tolist()
        start, stop = sorted(rng.integers(0, len(ids) + 1, 2).tolist())
        row = ids[start:stop]
        if not row:
            continue
        found, resolver = resolved(tokenizer, row)
        right = np.array(row)
        assert ((found == right) | (found == -1)).all(), "an id that did not stand there"
        assert resolver.absent == 0
        assert resolver.ambiguous == (found == -1).sum()
        known, total = known + int((found >= 0).sum()), total + len(row)
    assert known > 0.6 * total, "most of a text can be resolved"


def test_text_without_broken_characters_is_resolved_whole(sentencepiece, rng) -> None:
    """In Llama's vocabulary every ASCII letter is there twice, as a piece and as a byte."""
    words = TEXT.split()
    ids = sentencepiece.encode_documents([" ".join(rng.permutation(words))])[0][0].tolist()
    start = int(rng.integers(0, 30))
    found, resolver = resolved(sentencepiece, ids[start : start + 60])
    assert found.tolist() == ids[start : start + 60]
    assert resolver.ambiguous == 0
    doubles = [len(resolver._ids[s]) for s in resolver.strings]
    assert max(doubles) > 1, "the test must have something to decide"


def test_runs_of_spaces_with_two_ids(byte_level) -> None:
    text = "one  two    three  four" * 3
    ids = byte_level.encode_documents([text])[0][0].tolist()
    found, _ = resolved(byte_level, ids)
    assert ((found == np.array(ids)) | (found == -1)).all()


def test_a_broken_character_with_one_reading_is_found() -> None:
    """A vocabulary in which only one pair of tokens makes a character, and the tokenizer gives it back."""
    tokens = [b"a", b" b", b"\xc3", b"\xa9", b"c"]

    class Own:
        vocabulary = Vocabulary(tokens, np.zeros(5, bool))

        def encode_documents(self, texts):
            found = []
            for text in texts:
                data, ids = text.encode(), []
                while data:
                    ids.append(next(i for i, t in enumerate(tokens) if data.startswith(t)))
                    data = data[len(tokens[ids[-1]]) :]
                found.append((np.array(ids, np.int64), None))
            return found

        def encode_exactly(self, text):
            return None

    own = Own()
    strings = ["a", " b", "\ufffd", "c"]
    found = TokenResolver(own, strings).resolve(np.array([0, 2, 2, 3, 1]))
    assert found.ids.tolist() == [0, 2, 3, 4, 1]
    assert found.known == 5
    half = TokenResolver(own, strings).resolve(np.array([0, 2, 3]))
    assert half.ids.tolist() == [0, -1, 4], "one half of a character is no text, so it has no reading"
    assert half.known == 1


def test_two_readings_stay_ambiguous_and_are_counted(byte_level) -> None:
    ids = byte_level.encode_documents(["x é y ë z"])[0][0].tolist()
    strings = byte_level.vocabulary.str_tokens(ids)
    broken = [i for i, s in enumerate(strings) if "\ufffd" in s]
    found, resolver = resolved(byte_level, ids)
    if broken:
        assert resolver.ambiguous == (found < 0).sum()
    assert all(found[i] == ids[i] for i in range(len(ids)) if i not in broken)


def test_a_string_without_an_id_is_absent(byte_level) -> None:
    resolver = TokenResolver(byte_level, ["O", "<|never heard|>"])
    row = resolver.resolve(np.array([1, 0, 1]))
    assert row.ids[0] == row.ids[2] == -1
    assert resolver.absent == 2
    assert row.known == 0


def test_readings_are_whole_characters_and_bounded(byte_level) -> None:
    vocab = byte_level.vocabulary
    bytes_ = [i for i, t in enumerate(vocab.tokens) if len(t) == 1 and t[0] >= 0x80]
    two = list(_readings([bytes_, bytes_], vocab))
    for reading in two[:200]:
        if reading != [-1]:
            b"".join(vocab.tokens[i] for i in reading).decode()
    assert len(list(_readings([bytes_] * 4, vocab))) > 512, "too many to try: given up"
