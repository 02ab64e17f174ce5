"""`tokenizer.json`, read by the `tokenizers` library itself.

Invariant: the ids are those that the file defines; no class of transformers changes how text is split. Truncation and
padding that a file asks for are off. Whatever the library does on a broken or hostile file (it raises any exception,
panics, or searches without end with an expression that backtracks) becomes a SubjectError.
Cost: reading the file, twice where it has tokens that the model lacks; a thread for each call.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Int64

from neurolocal.errors import SubjectError, first_line
from neurolocal.subject.folder import TRIAL
from neurolocal.subject.tokenizers.backend import ControlTokens
from neurolocal.subject.tokenizers.cuts import json_is_cuttable
from neurolocal.subject.tokenizers.texts import token_bytes
from neurolocal.trial import require_harmless

KINDS = {"BPE": "BPE", "Unigram": "unigram", "WordPiece": "WordPiece", "WordLevel": "word-level"}
"""The models of the `tokenizers` library, in words."""

SECONDS = 60.0
"""Seconds that a call of the library may take, and one more for every 500 characters; it needs microseconds for them,
or 2 s for 20,000 digits in a row where its expressions are slow."""

CHARACTERS = 500

T = TypeVar("T")


class JsonBackend:
    """A `tokenizers.Tokenizer`."""

    def __init__(self, tokenizer: Any, *, path: Path | None = None) -> None:
        """Wrap one; its truncation and padding are turned off. `path` is named in messages."""
        self._path = path
        self.limit: float | None = None
        """Seconds that a call may take; None is by the length of its texts."""
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.tokenizer, self._literal = tokenizer, None
        parts = {name: _state(getattr(tokenizer, name)) for name in ("normalizer", "pre_tokenizer", "decoder")}
        byte_level = "ByteLevel" in parts["pre_tokenizer"] + parts["decoder"]
        model = type(tokenizer.model).__name__
        self.kind = f"{'byte-level ' if byte_level else ''}{KINDS.get(model, model)}"
        only_spaces = parts["normalizer"] == "" or _types(parts["normalizer"]) <= {"Prepend", "Replace", "Sequence"}
        self.faithful = only_spaces and (byte_level or '"ByteFallback"' in parts["decoder"])

    def __getstate__(self) -> dict[str, Any]:
        """Pickled without the second tokenizer: the library's own state of one omits how control tokens are taken."""
        return vars(self) | {"_literal": None}

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
        from tokenizers import AddedToken

        require_harmless(path, TRIAL, package="tokenizers", error=SubjectError)
        with _refusals(path):
            text = path.read_text(encoding="utf-8")
            stated = json.loads(text)
            added = stated.get("added_tokens") or []
            kept = [one for one in added if d_vocab is None or 0 <= int(one["id"]) < d_vocab]
            tokenizer = _parsed(text if len(kept) == len(added) else _with(stated, kept))
            for i, (content, special) in more.items():
                inside = d_vocab is None or i < d_vocab
                if inside and tokenizer.token_to_id(content) is None and i == tokenizer.get_vocab_size():
                    tokenizer.add_tokens([AddedToken(content, special=special, normalized=not special)])
            return cls(tokenizer, path=path)

    def encode(self, texts: list[str], *, control: ControlTokens) -> list[list[int]]:
        """The ids of each text."""
        library = self._of(control)
        found = self._bounded(lambda: library.encode_batch_fast(texts, add_special_tokens=False), sum(map(len, texts)))
        return [one.ids for one in found]

    def starts(self, text: str, *, control: ControlTokens) -> Int64[np.ndarray, "n"]:
        """The offset of each token of one text, in code points, ascending."""
        library = self._of(control)
        found = self._bounded(lambda: library.encode(text, add_special_tokens=False), len(text))
        return np.maximum.accumulate(np.array([begin for begin, _ in found.offsets], np.int64))

    def decode(self, ids: list[int]) -> str:
        """The library's own text of some ids, control tokens included."""
        return self._bounded(lambda: self.tokenizer.decode(ids, skip_special_tokens=False), len(ids))

    def id_of(self, text: str) -> int | None:
        """The id of a token by the tokenizer's own writing; None where it has none."""
        return self.tokenizer.token_to_id(text)

    def token_bytes(self) -> dict[int, bytes]:
        """The bytes of every id; an added token of a byte-level tokenizer stands for its own text."""
        added = {i: token.content for i, token in self.tokenizer.get_added_tokens_decoder().items()}
        pieces = {i: piece for piece, i in self.tokenizer.get_vocab(with_added_tokens=True).items()}
        texts = pieces | added
        return self._bounded(lambda: token_bytes(texts, self.tokenizer, added=added.keys()), len(texts))

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

    def _bounded(self, call: Callable[[], T], characters: int) -> T:
        """What a call of the library gives, within the time that it may take.

        The library's code cannot be interrupted, so a call that is given up goes on in its thread until the program
        ends, which it does not hold up.
        """
        doing = f"tokenising text with {self._path or 'the tokenizer'}"
        seconds = SECONDS + characters / CHARACTERS if self.limit is None else self.limit
        results, errors = list[T](), list[BaseException]()

        def work() -> None:
            try:
                results.append(call())
            except BaseException as error:  # a panic is no Exception
                errors.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(seconds)
        if errors and isinstance(errors[0], (KeyboardInterrupt, SystemExit, MemoryError)):
            raise errors[0]
        if not results:
            late = f"{characters:,} characters took more than {seconds:.0f} s"
            what = f"{type(errors[0]).__name__}: {first_line(errors[0])}" if errors else late
            raise SubjectError(
                f"{doing}: the tokenizer fails ({what}). Perhaps the expression by which it splits text tries too many "
                "ways to match. Use the tokenizer.json of the model's source, or pass another as --tokenizer."
            ) from (errors[0] if errors else None)
        return results[0]

    def _of(self, control: ControlTokens) -> Any:
        """The tokenizer that takes control tokens so; a second one, since the library keeps the choice as a state."""
        if control == "token":
            return self.tokenizer
        if self._literal is None:
            with _refusals(self._path):  # what it took, it may refuse when it has written it itself
                self._literal = _parsed(self.tokenizer.to_str())
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


def _parsed(text: str) -> Any:
    """The library's tokenizer of a JSON text; it writes nothing to the terminal."""
    from tokenizers import Tokenizer

    with quiet():
        return Tokenizer.from_str(text)


@contextlib.contextmanager
def _refusals(path: Path | None) -> Generator[None, None, None]:
    """Turn whatever reading a file raises into a SubjectError: the library's panics are no Exceptions."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:
        raise SubjectError(
            f"reading the tokenizer {path or '(in memory)'}: the file is damaged, or of a newer kind than the package "
            f"tokenizers knows ({type(error).__name__}: {first_line(error)}). Copy the file again, or update "
            "tokenizers."
        ) from error


@contextlib.contextmanager
def quiet() -> Generator[None, None, None]:
    """Let nothing reach the terminal's error output in the block: a panic writes there before it can be caught."""
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # there is none
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
