"""`tokenizer.json`, read by the `tokenizers` library itself.

Invariant: the ids are those that the file defines; no class of transformers changes how text is split. Truncation and
padding that a file asks for are off. Cost: reading the file, twice where it has tokens that the model lacks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from neurolocal.errors import SubjectError, first_line
from neurolocal.subject.tokenizers.backend import ControlTokens
from neurolocal.subject.tokenizers.cuts import json_is_cuttable
from neurolocal.subject.tokenizers.texts import token_bytes

KINDS = {"BPE": "BPE", "Unigram": "unigram", "WordPiece": "WordPiece", "WordLevel": "word-level"}
"""The models of the `tokenizers` library, in words."""


class JsonBackend:
    """A `tokenizers.Tokenizer`."""

    def __init__(self, tokenizer: Any) -> None:
        """Wrap one; its truncation and padding are turned off."""
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.tokenizer, self._literal = tokenizer, None
        parts = {name: _state(getattr(tokenizer, name)) for name in ("normalizer", "pre_tokenizer", "decoder")}
        byte_level = "ByteLevel" in parts["pre_tokenizer"] + parts["decoder"]
        model = type(tokenizer.model).__name__
        self.kind = f"{'byte-level ' if byte_level else ''}{KINDS.get(model, model)}"
        only_spaces = parts["normalizer"] == "" or _types(parts["normalizer"]) <= {"Prepend", "Replace", "Sequence"}
        self.faithful = only_spaces and (byte_level or '"ByteFallback"' in parts["decoder"])

    @classmethod
    def read(cls, path: Path, *, d_vocab: int | None, more: Mapping[int, tuple[str, bool]]) -> JsonBackend:
        """Read a file.

        Args:
            path: of `tokenizer.json`.
            d_vocab: ids that the model has; added tokens beyond them are left out, as the model cannot read them. None
                keeps all.
            more: added tokens that the config files state; those with the next ids are added.

        Raises:
            SubjectError: the file is damaged.
        """
        from tokenizers import AddedToken, Tokenizer

        try:
            stated = json.loads(path.read_text(encoding="utf-8"))
            added = stated.get("added_tokens") or []
            kept = [one for one in added if d_vocab is None or 0 <= int(one["id"]) < d_vocab]
            text = path.read_text(encoding="utf-8") if len(kept) == len(added) else _with(stated, kept)
            tokenizer = Tokenizer.from_str(text)
        except (Exception, *_panics()) as error:  # the library raises Exception, and panics on some files
            first = first_line(error)
            raise SubjectError(
                f"reading the tokenizer {path}: the file is damaged, or of a newer kind than the package tokenizers "
                f"knows ({type(error).__name__}: {first}). Copy the file again, or update tokenizers."
            ) from error
        for i, (content, special) in more.items():
            inside = d_vocab is None or i < d_vocab
            if inside and tokenizer.token_to_id(content) is None and i == tokenizer.get_vocab_size():
                tokenizer.add_tokens([AddedToken(content, special=special, normalized=not special)])
        return cls(tokenizer)

    def encode(self, texts: list[str], *, control: ControlTokens) -> list[list[int]]:
        """The ids of each text."""
        found = self._of(control).encode_batch_fast(texts, add_special_tokens=False)
        return [one.ids for one in found]

    def starts(self, text: str, *, control: ControlTokens) -> Int64[np.ndarray, "n"]:
        """The offset of each token of one text, in code points, ascending."""
        found = self._of(control).encode(text, add_special_tokens=False)
        return np.maximum.accumulate(np.array([begin for begin, _ in found.offsets], np.int64))

    def decode(self, ids: list[int]) -> str:
        """The library's own text of some ids, control tokens included."""
        return self.tokenizer.decode(ids, skip_special_tokens=False)

    def id_of(self, text: str) -> int | None:
        """The id of a token by the tokenizer's own writing; None where it has none."""
        return self.tokenizer.token_to_id(text)

    def token_bytes(self) -> dict[int, bytes]:
        """The bytes of every id; an added token of a byte-level tokenizer stands for its own text."""
        added = {i: token.content for i, token in self.tokenizer.get_added_tokens_decoder().items()}
        pieces = {i: piece for piece, i in self.tokenizer.get_vocab(with_added_tokens=True).items()}
        return token_bytes(pieces | added, self.tokenizer, added=added.keys())

    def control_ids(self) -> set[int]:
        """The added tokens that are marked special."""
        return {i for i, token in self.tokenizer.get_added_tokens_decoder().items() if token.special}

    def cuttable(self) -> bool:
        """Whether a long text may be tokenised in parts."""
        added = {token.content for token in self.tokenizer.get_added_tokens_decoder().values()}
        tokens = self.tokenizer.get_vocab(with_added_tokens=True).keys() | added
        return json_is_cuttable(json.loads(self.tokenizer.to_str()), tokens)

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json`."""
        self.tokenizer.save(str(folder / "tokenizer.json"))

    def fingerprint(self) -> str:
        """The whole tokenizer as JSON."""
        return self.tokenizer.to_str()

    def _of(self, control: ControlTokens) -> Any:
        """The tokenizer that takes control tokens so; a second one, since the library keeps the choice as a state."""
        if control == "token":
            return self.tokenizer
        if self._literal is None:
            self._literal = type(self.tokenizer).from_str(self.tokenizer.to_str())
            self._literal.encode_special_tokens = True
        return self._literal


def _with(stated: dict[str, Any], added: list[Any]) -> str:
    return json.dumps(stated | {"added_tokens": added}, ensure_ascii=False)


def _state(part: Any) -> str:
    return "" if part is None else part.__getstate__().decode("utf-8")


def _types(state: str) -> set[str]:
    """The types of all parts in a description."""
    found: set[str] = set()
    waiting = [json.loads(state)]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            found |= {one["type"]} if isinstance(one.get("type"), str) else set()
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    return found


def _panics() -> tuple[type[BaseException], ...]:
    """The exception by which a panic inside the library is raised; it is no `Exception`."""
    from tokenizers import tokenizers

    found = getattr(tokenizers, "PanicException", None)
    return (found,) if isinstance(found, type) else ()
