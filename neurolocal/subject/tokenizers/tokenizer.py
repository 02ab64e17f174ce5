"""A model's tokenizer: text -> the ids that its own files define, and the bytes of each id.

Invariant: `vocabulary(d_vocab).text(ids)` is what the tokenizer decodes, without its clean-ups.
Cost: one pass over the vocabulary; encoding costs what the library does, and one pass over the text.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32, Int64

from neurolocal.config import sha256
from neurolocal.files import write_text
from neurolocal.subject.tokenizers.backend import Backend, ControlTokens
from neurolocal.subject.tokenizers.roles import Roles
from neurolocal.words import Vocabulary

Encoded = tuple[Int32[np.ndarray, "_"], Int64[np.ndarray, "_"] | None]
"""A text's ids, and the offset at which each begins in it, in code points, ascending."""


class Tokenizer:
    """Text to ids and back, by one library, with the roles that the model's files state."""

    def __init__(self, backend: Backend, roles: Roles, *, path: str = "") -> None:
        """Join a library's tokenizer and the roles of its tokens.

        Args:
            backend: computes the ids.
            roles: which tokens begin and end a text.
            path: where it was read from, for messages.
        """
        self.backend, self.roles, self.path = backend, roles, path
        self.judges: dict[str, Callable[[], Tokenizer]] = {}
        """Other readings of the same files, by what they are, with which a sample is compared."""
        self.notes: list[str] = []
        """What the user should know of how it was found, a line each."""
        self.bos: int | None = None if roles.bos is None else backend.id_of(roles.bos)
        """The id that begins a text."""
        self.eos: int | None = None if roles.eos is None else backend.id_of(roles.eos)
        """The id that ends a text."""

    def __getstate__(self) -> dict[str, Any]:
        """Pickled without its judges, which read the model's files."""
        return vars(self) | {"judges": {}}

    @classmethod
    def of(cls, tokenizer: Any) -> Tokenizer:
        """The tokenizer inside one of transformers's fast ones, split as that class splits.

        Raises:
            TypeError: it is written in Python, and has no `tokenizers.Tokenizer` inside.
        """
        from neurolocal.subject.tokenizers.tokenizer_json import JsonBackend

        inside = getattr(tokenizer, "backend_tokenizer", None)
        if inside is None:
            raise TypeError(f"{type(tokenizer).__name__} is written in Python; expected one with a tokenizer.json")
        template = getattr(tokenizer, "chat_template", None)
        roles = Roles(
            tokenizer.bos_token, tokenizer.eos_token, tuple(tokenizer.all_special_tokens),
            template if isinstance(template, str) else None,
        )  # fmt: skip
        return cls(JsonBackend(inside), roles, path=str(tokenizer.name_or_path))

    @classmethod
    def numbered(cls, n: int) -> Tokenizer:
        """A tokenizer of n words, `w0`, `w1` and so on, for models with random weights."""
        from tokenizers import Tokenizer as Library
        from tokenizers import models, pre_tokenizers

        from neurolocal.subject.tokenizers.tokenizer_json import JsonBackend

        library = Library(models.WordLevel({f"w{i}": i for i in range(n)}, unk_token="w0"))
        library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        return cls(JsonBackend(library), Roles(None, None, ()))

    @property
    def kind(self) -> str:
        """What it is, in words."""
        return self.backend.kind

    @cached_property
    def token_bytes(self) -> dict[int, bytes]:
        """The bytes of every id that it has."""
        return self.backend.token_bytes()

    @cached_property
    def size(self) -> int:
        """One more than its largest id."""
        return max(self.token_bytes, default=-1) + 1

    @cached_property
    def control_ids(self) -> frozenset[int]:
        """The ids of control tokens: marked by the tokenizer, or with a role in the config files."""
        named = (self.backend.id_of(text) for text in self.roles.control)
        return frozenset(self.backend.control_ids() | {i for i in named if i is not None})

    @cached_property
    def cuttable(self) -> bool:
        """Whether a long text may be tokenised in parts with the same ids; see `cuts.py`."""
        return self.backend.cuttable()

    def vocabulary(self, d_vocab: int) -> Vocabulary:
        """The bytes of every id of the model; those that the tokenizer does not have (padding) are empty."""
        size = max(d_vocab, self.size)
        tokens = [b""] * size
        for i, data in self.token_bytes.items():
            tokens[i] = data
        special = np.zeros(size, dtype=bool)
        special[[i for i in self.control_ids if i < size]] = True
        return Vocabulary(tokens, special)

    def encode(self, texts: list[str], *, control: ControlTokens = "token") -> list[list[int]]:
        """The ids of whole texts, without special tokens around them."""
        return self.backend.encode(texts, control=control) if texts else []

    def encode_documents(
        self, vocabulary: Vocabulary, texts: list[str], *, control: ControlTokens = "token"
    ) -> list[Encoded]:
        """The ids of whole texts, and the offset at which each begins in its text.

        A token that begins inside a character has the offset of the character. Where the bytes of the ids joined are
        the text, the offsets follow from them. The library's own are slower to get, and some omit the space before a
        word; they are used for a text that the tokenizer changes.

        Args:
            vocabulary: from `vocabulary`.
            texts: whole documents.
            control: how control tokens that are written out in them are read.
        """
        lengths = vocabulary.lengths
        documents = list[Encoded]()
        for text, ids in zip(texts, self.encode(texts, control=control), strict=True):
            array = np.fromiter(ids, np.int32, len(ids))
            starts = _starts(text, b"".join(map(vocabulary.tokens.__getitem__, ids)), lengths[array])
            if starts is None:
                starts = self.backend.starts(text, control=control)
            documents.append((array, starts if len(starts) == len(array) else None))
        return documents

    def encode_exactly(self, vocabulary: Vocabulary, text: str) -> list[int] | None:
        """Ids whose text is exactly `text` in the middle of a row, or None where the tokenizer has none.

        SentencePiece and WordPiece put a space before a text. So a text with a leading space is also tried without it,
        and one without is encoded after a line break or a letter, which is then removed.
        """
        for attempt in (text, text.removeprefix(" ")):
            (ids,) = self.encode([attempt])
            if ids and vocabulary.text(ids) == text:
                return ids
        for before in ("\n", "\n\n"):
            head, ids = self.encode([before, before + text])
            if ids[: len(head)] == head and vocabulary.text(ids[len(head) :]) == text:
                return ids[len(head) :]
        return None

    def decode(self, ids: list[int]) -> str:
        """The library's own text of some ids, as TransformerLens's `to_string`."""
        return self.backend.decode([i for i in ids if i in self.token_bytes])

    def save(self, folder: Path) -> None:
        """Write it into a folder, from which `find_tokenizer` reads an equal one."""
        self.backend.save(folder)
        named = {"bos_token": self.roles.bos, "eos_token": self.roles.eos, "chat_template": self.roles.chat_template}
        stated = {name: text for name, text in named.items() if text is not None}
        listed = {"additional_special_tokens": list(self.roles.control)}
        write_text(folder / "tokenizer_config.json", json.dumps(stated | listed, indent=1, ensure_ascii=False))

    @cached_property
    def _sha256(self) -> str:
        return sha256(self.backend.fingerprint())

    def facts(self) -> dict[str, Any]:
        """What identifies it in a manifest."""
        return {
            "sha256": self._sha256,
            "kind": self.kind,
            "bos": self.bos,
            "eos": self.eos,
            "size": self.size,
        }


def _starts(text: str, said: bytes, lengths: Int64[np.ndarray, "n"]) -> Int64[np.ndarray, "n"] | None:
    """The offsets of tokens whose bytes joined are `said`; None where these are not the text."""
    expected = text.encode("utf-8", "replace")
    space = int(said != expected and said[:1] == b" ")  # SentencePiece puts a space of its own before a text
    if said[space:] != expected:
        return None
    begins = np.maximum(np.cumsum(lengths) - lengths - space, 0)
    if len(expected) == len(text):
        return begins
    first = (np.frombuffer(expected, np.uint8) & 0xC0) != 0x80
    return np.append(np.cumsum(first) - 1, len(text))[begins]  # a token without bytes may come at the very end
