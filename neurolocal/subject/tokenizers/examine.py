"""A tokenizer tried on a sample of the corpus, before a model runs on millions of its ids.

Invariant: what is found is said and recorded, and changes nothing; a tokenizer that fails on the sample, or takes more
than `SECONDS`, is refused. Cost: encoding and decoding the sample once, and encoding it once more with each judge;
`SAMPLE` characters at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from neurolocal.errors import SubjectError
from neurolocal.subject.tokenizers.backend import ControlTokens
from neurolocal.subject.tokenizers.tokenizer import Tokenizer
from neurolocal.subject.tokenizers.tokenizer_json import JsonBackend, quiet
from neurolocal.words import Vocabulary

SAMPLE = 200_000
"""Characters of the corpus that are tried, at most."""

SECONDS = 10.0
"""Seconds that the sample may take; tokenizers need less than one."""

SHOWN = 20
"""Characters shown around a difference."""


class Difference(NamedTuple):
    """How many texts of a sample come out differently, and the first of them."""

    texts: int
    """Texts that differ."""
    first: str
    """What the first difference is, or why nothing could be compared; empty where all are equal."""


class Examination(NamedTuple):
    """What a sample shows of a tokenizer."""

    texts: int
    """Texts tried."""
    changed: Difference
    """Texts that their own tokens do not say."""
    judges: dict[str, Difference]
    """By judge: texts for which it gives other ids."""

    def facts(self) -> dict[str, Any]:
        """Plain values for a manifest."""
        judges = {name: found.texts for name, found in self.judges.items()}
        return {"texts": self.texts, "changed": self.changed.texts, "other_ids": judges}

    def lines(self, tokenizer: Tokenizer) -> list[str]:
        """What the user should know, a line each; none where all is as promised."""
        found = list(tokenizer.notes)
        if self.changed.texts:
            what = f"{self.changed.texts:,} of {self.texts:,} documents tried are not what their tokens say"
            why = "" if tokenizer.backend.faithful else f", since the tokenizer ({tokenizer.kind}) changes texts"
            warning = "WARNING: " if tokenizer.backend.faithful else ""
            found.append(f"{warning}{what}{why} (first: {self.changed.first})")
        for name, other in self.judges.items():
            if other.first and not other.texts:
                found.append(f"{name} could not be compared: {other.first}")
            elif other.texts:
                found.append(
                    f"WARNING: {name} gives other ids for {other.texts:,} of {self.texts:,} documents tried "
                    f"(first: {other.first}); the ids of {tokenizer.path or 'the tokenizer given'} are used"
                )
        return found


def examine(
    tokenizer: Tokenizer, vocabulary: Vocabulary, texts: Sequence[str], *, control: ControlTokens = "token"
) -> Examination:
    """Try a tokenizer on texts.

    Args:
        tokenizer: to try.
        vocabulary: of the model, with the bytes of its ids.
        texts: a sample of the corpus; those beyond `SAMPLE` characters are left out.
        control: how control tokens that are written out in them are read.

    Raises:
        SubjectError: the tokenizer fails on the texts, or takes too long.
    """
    texts = _within(texts)
    ids = _encoded(tokenizer, texts, control)
    changed = [_change(text, vocabulary.text(own)) for text, own in zip(texts, ids, strict=True)]
    others = {}
    for name, judge in tokenizer.judges.items():
        try:
            found = _encoded(judge(), texts, control)
        except SubjectError as error:
            others[name] = Difference(0, str(error))
            continue
        others[name] = _difference([_other(a, b) for a, b in zip(ids, found, strict=True)])
    return Examination(len(texts), _difference(changed), others)


def _encoded(tokenizer: Tokenizer, texts: list[str], control: ControlTokens) -> list[list[int]]:
    """The ids of the sample, within `SECONDS`; what the library writes to the terminal when it fails is dropped."""
    backend = tokenizer.backend
    if not isinstance(backend, JsonBackend):
        return tokenizer.encode(texts, control=control)
    backend.limit = SECONDS
    try:
        with quiet():
            return tokenizer.encode(texts, control=control)
    finally:
        backend.limit = None


def _within(texts: Sequence[str]) -> list[str]:
    found, room = list[str](), SAMPLE
    for text in texts:
        if room <= 0:
            break
        found.append(text[:room])
        room -= len(text)
    return found


def _difference(each: list[str]) -> Difference:
    wrong = [what for what in each if what]
    return Difference(len(wrong), wrong[0] if wrong else "")


def _change(text: str, said: str) -> str:
    """Where a text and what its tokens say part; empty where they are equal, but for a space before the text."""
    said = said if said == text else said.removeprefix(" ")
    if said == text:
        return ""
    at = next((i for i, (a, b) in enumerate(zip(text, said, strict=False)) if a != b), min(len(text), len(said)))
    low = max(at - SHOWN // 2, 0)
    return f"{text[low : at + SHOWN]!r} became {said[low : at + SHOWN]!r}"


def _other(own: list[int], other: list[int]) -> str:
    if own == other:
        return ""
    at = next((i for i, (a, b) in enumerate(zip(own, other, strict=False)) if a != b), min(len(own), len(other)))
    return f"at token {at}, {own[at : at + 3]} and {other[at : at + 3]}"
