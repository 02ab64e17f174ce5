"""`tokenizer.model`, read by the `sentencepiece` library itself.

Invariant: the ids of a text without control tokens are the library's. It doesn't look for control tokens in a text, so
with `control = "token"` a text is cut at them; what stands between two is encoded as a text of its own, with
SentencePiece's space before it, as llama.cpp and Hugging Face's slow tokenizers do.
Cost: one call of the library for each text, and one search for the control tokens.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from neurolocal.errors import SubjectError
from neurolocal.files import write_text
from neurolocal.subject.folder import TRIAL
from neurolocal.subject.tokenizers.backend import ControlTokens
from neurolocal.subject.tokenizers.cuts import sentencepiece_is_cuttable
from neurolocal.subject.tokenizers.texts import SPACE, sentencepiece_bytes
from neurolocal.trial import require_harmless


class ModelBackend:
    """A `sentencepiece.SentencePieceProcessor`, and tokens that config files add to it."""

    def __init__(self, processor: Any, more: Mapping[int, tuple[str, bool]], *, d_vocab: int | None = None) -> None:
        """Wrap one.

        Args:
            processor: loaded.
            more: further tokens by id: the text, and whether it is a control token. Own pieces among them are cut out
                of a text as the control pieces are.
            d_vocab: ids that the language model has; added tokens beyond them are left out.
        """
        self.processor, n = processor, processor.get_piece_size()
        self._added = {i: one for i, one in more.items() if i >= n and (d_vocab is None or i < d_vocab)}
        own = {i: (processor.id_to_piece(i), True) for i in range(n) if _is_control(processor, i)}
        own |= {i: one for i, one in more.items() if i < n and one[0] == processor.id_to_piece(i) and i not in own}
        own |= self._added
        self._control = {i for i, (_, control) in own.items() if control}
        self._written = {text: i for i, (text, _) in own.items()}
        plain = {text: i for text, i in self._written.items() if i not in self._control}
        self._cuts = {"token": _any_of(self._written), "text": _any_of(plain)}
        bytes_too = any(processor.is_byte(i) for i in range(n))
        self.kind = "SentencePiece with bytes" if bytes_too else "SentencePiece"
        probe = "a  b\u00a0\ufb01"  # two spaces, a space that does not break, a ligature: what a normaliser changes
        self.faithful = bytes_too and processor.normalize(probe).replace(SPACE, " ").lstrip(" ") == probe

    @classmethod
    def read(cls, path: Path, *, d_vocab: int | None, more: Mapping[int, tuple[str, bool]]) -> ModelBackend:
        """Read a file.

        Raises:
            SubjectError: it is no SentencePiece model.
        """
        from sentencepiece import SentencePieceProcessor

        require_harmless(path, TRIAL, package="sentencepiece", error=SubjectError)
        try:
            data = path.read_bytes()
            processor = SentencePieceProcessor()
            processor.LoadFromSerializedProto(data)
            found = cls(processor, more, d_vocab=d_vocab)
            found.token_bytes()
        except Exception as error:  # RuntimeError, OSError; UnicodeDecodeError of a piece that is no text
            what = "is a tiktoken file" if _is_tiktoken(path) else "is no SentencePiece model, or is damaged"
            raise SubjectError(
                f"reading the tokenizer {path}: it {what}. Put the model's tokenizer.json beside it, "
                "or pass a tokenizer's folder as --tokenizer."
            ) from error
        return found

    def encode(self, texts: list[str], *, control: ControlTokens) -> list[list[int]]:
        """The ids of each text."""
        parts = [self._parts(text, control) for text in texts]
        flat = [part for one in parts for part in one[::2] if part]
        found = iter(self.processor.encode(flat, out_type=int)) if flat else iter(())
        return [
            list(chain.from_iterable([self._written[part]] if i % 2 else next(found) if part else []
                                     for i, part in enumerate(one)))
            for one in parts
        ]  # fmt: skip

    def starts(self, text: str, *, control: ControlTokens) -> Int64[np.ndarray, "n"]:
        """The offset of each token of one text, in code points, ascending."""
        place, found = 0, [np.empty(0, np.int64)]
        for i, part in enumerate(self._parts(text, control)):
            if i % 2:
                found.append(np.array([place], np.int64))
            elif part:
                offsets = self.processor.encode(part, out_type="offset_mapping")["offsets"]
                found.append(np.array([begin for begin, _ in offsets], np.int64).reshape(-1) + place)
            place += len(part)
        return np.maximum.accumulate(np.concatenate(found))

    def decode(self, ids: list[int]) -> str:
        """The library's own text of some ids; control and added tokens are written out."""
        parts, plain = [], list[int]()
        for i in [*ids, None]:
            if i is not None and i not in self._control and i not in self._added:
                plain.append(i)
                continue
            parts.append(self.processor.decode(plain))
            plain = []
            parts.append("" if i is None else self._text(i))
        return "".join(parts)

    def id_of(self, text: str) -> int | None:
        """The id of a token by the tokenizer's own writing; None where it has none."""
        if text in self._written:
            return self._written[text]
        i = self.processor.piece_to_id(text)
        return i if self.processor.id_to_piece(i) == text else None

    def token_bytes(self) -> dict[int, bytes]:
        """The bytes of every id."""
        p = self.processor
        pieces = {
            i: sentencepiece_bytes(p.id_to_piece(i), byte=p.is_byte(i))
            for i in range(p.get_piece_size())
            if not p.is_unused(i)
        }
        return pieces | {i: text.encode("utf-8", "replace") for i, (text, _) in self._added.items()}

    def control_ids(self) -> set[int]:
        """Control pieces, the unknown piece, and added control tokens."""
        return set(self._control)

    def cuttable(self) -> bool:
        """Whether a long text may be tokenised in parts."""
        tokens = {self.processor.id_to_piece(i) for i in range(self.processor.get_piece_size())} | self._written.keys()
        return sentencepiece_is_cuttable(self.processor.serialized_model_proto(), tokens)

    def save(self, folder: Path) -> None:
        """Write `tokenizer.model`, and the added tokens beside it."""
        (folder / "tokenizer.model").write_bytes(self.processor.serialized_model_proto())
        if self._added:
            names = {text: i for i, (text, _) in self._added.items()}
            write_text(folder / "added_tokens.json", json.dumps(names, ensure_ascii=False))

    def fingerprint(self) -> str:
        """The SHA-256 of the model, and the tokens added to it."""
        return f"{hashlib.sha256(self.processor.serialized_model_proto()).hexdigest()} {sorted(self._added.items())}"

    def _text(self, i: int) -> str:
        return self._added[i][0] if i in self._added else self.processor.id_to_piece(i)

    def _parts(self, text: str, control: ControlTokens) -> list[str]:
        """The text cut at the tokens that are written out: every second part is one of them."""
        pattern = self._cuts[control]
        return [text] if pattern is None else pattern.split(text)


def _is_control(processor: Any, i: int) -> bool:
    return processor.is_control(i) or processor.is_unknown(i)


def _any_of(texts: Mapping[str, int]) -> re.Pattern[str] | None:
    """A pattern with one group that finds any of the texts, the longest first."""
    known = sorted((text for text in texts if text), key=len, reverse=True)
    return re.compile(f"({'|'.join(map(re.escape, known))})") if known else None


def _is_tiktoken(path: Path) -> bool:
    """Whether a file's first line is a token in Base64 and a number, as OpenAI's tiktoken and Llama 3 write them."""
    try:
        with path.open("rb") as file:
            token, _, rank = file.readline(256).rstrip().partition(b" ")
        return rank.isdigit() and bool(base64.b64decode(token, validate=True))
    except (OSError, ValueError):
        return False
