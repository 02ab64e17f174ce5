"""A GGUF model in llama.cpp: tokens and text, prepared prompt heads, and sequences that share a prefix.

This module uses llama.cpp's C interface and not llama_cpp's `Llama` class. That class computes logits for one sequence
at a time and keeps them for every position of the context (400 MB at 2,048 x 49,152). Here one decode serves all
samples of a prompt, or all continuations of a prefix: each is a sequence of its own that shares the prefix's keys and
values. `generate` and `likelihood` are built on `LLM.branch`, `LLM.fork` and `LLM.decode`.

Invariant: what a call returns depends on its own arguments and on those of `prepare`, never on earlier calls.
Therefore the heads are evaluated in a fixed order, each alone, and every call leaves the cache as it found it; a
resumed run gives the same bits. Cost: a forward pass over each new token; memory for `n_ctx` keys and values, plus one
d_vocab float64 array a head.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from neurolocal.bounded import Bounded, LimitError
from neurolocal.errors import LLMError
from neurolocal.files import readable_path
from neurolocal.llm.expanded import SLOW, expanded
from neurolocal.machine import cores
from neurolocal.progress import waiting
from neurolocal.trial import MAPPED, require_harmless

MAGIC = b"GGUF"

TRIAL = Path(__file__).with_name("trial_child.py")
"""Loads a model in a process of its own, before this one does."""

BATCH = 512
"""Largest number of tokens in one decode."""

HEADS = 8
"""Sequences reserved for heads, the prefixes that all calls share. The working sequence is number `HEADS`."""

BRANCHES = 32
"""Largest number of forks of the working sequence, evaluated side by side; numbered after it."""

SENTINEL = "\ue000"
"""Stands for the message while a chat template is rendered: a private character, so no template contains it."""

TEMPLATE_SECONDS = 3.0
"""Seconds that a chat template may take."""

CHAT_FROM = 1e9
"""Parameters from which a model is asked in its own words; smaller ones ramble (seen at 135M)."""

Entry = tuple[int, int, tuple[int, ...], bool]
"""One token to evaluate: (token, pos, the sequences that it belongs to, whether the log-probabilities after it are
wanted)."""

_silence: Any = None
"""The C callback that discards llama.cpp's log. A module variable keeps it alive as long as C may call it."""


class Head(NamedTuple):
    """A prefix that later calls share, already evaluated."""

    tokens: list[int]
    """Its token ids."""
    text: str
    """Its text; empty where it was given as tokens."""
    logprobs: Float64[np.ndarray, "d_vocab"]
    """Log-probabilities of the token that follows it."""


class LLM:
    """A GGUF model in llama.cpp; made by `load_llm`."""

    def __init__(self, path: Path, *, n_ctx: int, c: Any, many_tokens: bool = False) -> None:
        self.path = path
        self.sha256 = _sha256(path)
        self.gpu: bool = bool(c.llama_supports_gpu_offload())
        """Whether this build of llama.cpp can offload layers to a GPU; if it can, all layers are offloaded."""
        self.c = c
        """llama.cpp's C interface."""
        self._model, self._ctx = _open(c, path, n_ctx=n_ctx, gpu=self.gpu)
        self.n_params = int(c.llama_model_n_params(self._model))
        self.expanded = False
        """Whether its weights were expanded to float16; see `neurolocal.llm.expanded`."""
        if many_tokens and not self.gpu and not self.chats and self._metadata("general.file_type") in SLOW:
            self._expand(n_ctx)
        self.vocab = c.llama_model_get_vocab(self._model)
        """llama.cpp's handle of the vocabulary."""
        self._memory = c.llama_get_memory(self._ctx)
        self._batch = c.llama_batch_init(BATCH, 0, BRANCHES)
        self.n_ctx = int(c.llama_n_ctx(self._ctx))
        self.d_vocab = int(c.llama_vocab_n_tokens(self.vocab))
        self.chat_template = self._metadata("tokenizer.chat_template")
        """The chat template in the GGUF's metadata; None where it has none."""
        self.heads: list[Head] = []
        """The prepared heads; see `prepare`."""

    def __str__(self) -> str:
        """One line for the start of a run: name, size, context, and whether a GPU is used."""
        where = "all layers on the GPU" if self.gpu else "on the CPU (this build of llama.cpp cannot offload to a GPU)"
        weights = ", weights expanded to float16" if self.expanded else ""
        return f"{self.path.name}: {self.n_params / 1e6:.0f}M parameters, context {self.n_ctx}, {where}{weights}"

    @property
    def chats(self) -> bool:
        """Whether the model is large enough to answer a question."""
        return self.n_params >= CHAT_FROM

    def close(self) -> None:
        """Free the model; the object cannot be used afterwards."""
        if self._model is not None:
            self.c.llama_batch_free(self._batch)
            self.c.llama_free(self._ctx)
            self.c.llama_model_free(self._model)
            self._model = self._ctx = None

    def _expand(self, n_ctx: int) -> None:
        """Take the same weights as float16; without disk or memory for them the model stays as it is."""
        old = self._model, self._ctx
        try:
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                copy = expanded(self.c, self.path, Path(folder))
                if copy is None:
                    return
                self._model, self._ctx = _open(self.c, copy, n_ctx=n_ctx, gpu=False, mapped=False)
        except (LLMError, OSError):
            return
        self.expanded = True
        self.c.llama_free(old[1])
        self.c.llama_model_free(old[0])

    def __enter__(self) -> LLM:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Text and tokens

    def tokenize(self, text: str, *, after: str | None = None, special: bool = False) -> list[int]:
        """The tokens of `text` where it follows `after`; None: at the start, after BOS if the model uses it.

        Control tokens that are spelled out in the text, such as `<|im_end|>`, are plain characters unless `special`.
        """
        if not after:
            return self._tokenize(text, special, first=after is None)
        before, whole = self._tokenize(after, special, first=False), self._tokenize(after + text, special, first=False)
        # A tokenizer may merge characters of both; then the text gets the tokens that it has by itself.
        return whole[len(before) :] if whole[: len(before)] == before else self._tokenize(text, special, first=False)

    def text(self, tokens: Sequence[int]) -> str:
        """The text of tokens, control tokens left out."""
        return b"".join(self._piece(t) for t in tokens).decode("utf-8", "replace")

    def chat_parts(self) -> tuple[list[int], list[int]] | None:
        """The tokens that the chat template puts before and after a user's message.

        None where there is no template, or it fails, or it takes too long: it is foreign code, and runs in a process of
        its own. Only the template's own control tokens become control tokens, never those that a message spells out.
        """
        if not self.chat_template:
            return None
        bos, eos = (self._token_text(f(self.vocab)) for f in (self.c.llama_vocab_bos, self.c.llama_vocab_eos))
        process = Bounded(Path(__file__).with_name("chat_child.py"), seconds=TEMPLATE_SECONDS)
        try:
            before, after = process.ask([self.chat_template, bos, eos, SENTINEL]).split(SENTINEL)
        except (ValueError, LimitError):  # a template is foreign code: whatever it does, completion still works
            return None
        finally:
            process.close()
        starts_with_bos = bool(bos) and before.startswith(bos)
        return self._tokenize(before, True, first=not starts_with_bos), self._tokenize(after, True, first=False)

    # The state: prepared heads, one working sequence, its forks

    def prepare(self, heads: Sequence[str | Sequence[int]]) -> None:
        """Evaluate the prefixes that later calls share, `head` being their index; earlier heads are dropped.

        A head is a text, or tokens.
        """
        assert len(heads) <= HEADS
        self.c.llama_memory_clear(self._memory, False)
        self.heads = []
        for i, head in enumerate(heads):
            tokens = self.tokenize(head) if isinstance(head, str) else list(head)
            self.require_room(len(tokens), "a shared prompt head")
            logprobs = self._extend(tokens, seq=i, start=0)
            self.heads.append(Head(tokens, head if isinstance(head, str) else "", logprobs))

    def room(self) -> int:
        """Tokens that fit after a head while all prepared heads stay in the context."""
        return self.n_ctx - sum(len(head.tokens) for head in self.heads)

    def require_room(self, n_tokens: int, what: str) -> None:
        """Raise LLMError where so many tokens do not fit after a head; `what` names them."""
        if n_tokens > self.room():
            raise LLMError(
                f"running {self.path}: {what} of {n_tokens} tokens do not fit into the {self.room()} free of a"
                f" context of {self.n_ctx}. Raise n_ctx, or give fewer examples."
            )

    def require_prompt(self, tokens: Sequence[int], head: int | None) -> None:
        """Raise LLMError where there is nothing that a token could follow."""
        if head is None and not tokens:
            raise LLMError(f"running {self.path}: the prompt is empty; expected some text.")

    def after_head(self, body: str | Sequence[int], head: int | None) -> tuple[list[int], str]:
        """The tokens of a body that follows a head, and the text of both; what was given as tokens has no text."""
        before = None if head is None else self.heads[head].text
        if isinstance(body, str):
            return self.tokenize(body, after=before), (before or "") + body
        return list(body), before or ""

    @contextmanager
    def branch(
        self, tokens: Sequence[int], head: int | None
    ) -> Generator[tuple[int, Float64[np.ndarray, "d_vocab"]], None, None]:
        """Evaluate head + tokens as the working sequence; remove it and its forks at the end.

        Gives the length of the sequence and the log-probabilities of the token that follows it (empty after nothing).
        """
        start, logprobs = 0, np.empty(0)
        if head is not None:
            start, logprobs = len(self.heads[head].tokens), self.heads[head].logprobs
            self.c.llama_memory_seq_cp(self._memory, head, HEADS, -1, -1)
        try:
            if tokens:
                logprobs = self._extend(tokens, seq=HEADS, start=start)
            yield start + len(tokens), logprobs
        finally:
            self._remove(HEADS)
            self.remove_forks()

    def fork(self, number: int) -> int:
        """A sequence that begins with the working one's keys and values, without a copy; gives the sequence's id."""
        assert number < BRANCHES
        seq = HEADS + 1 + number
        self._remove(seq)
        self.c.llama_memory_seq_cp(self._memory, HEADS, seq, -1, -1)
        return seq

    def remove_forks(self) -> None:
        """Remove all forks of the working sequence."""
        for number in range(BRANCHES):
            self._remove(HEADS + 1 + number)

    def decode(self, entries: Sequence[Entry]) -> Iterator[Float64[np.ndarray, "d_vocab"]]:
        """Evaluate entries in batches of `BATCH`; the log-probabilities after each wanted one, in order.

        Lazy: iterate to the end before anything else is evaluated.
        """
        for low in range(0, len(entries), BATCH):
            part = entries[low : low + BATCH]
            self._decode(part)
            for i, (*_, wanted) in enumerate(part):
                if wanted:
                    yield self._logprobs(i)

    def _extend(self, tokens: Sequence[int], *, seq: int, start: int) -> Float64[np.ndarray, "d_vocab"]:
        """Evaluate tokens at the end of a sequence; the log-probabilities of what follows them."""
        assert tokens
        last = len(tokens) - 1
        (logprobs,) = self.decode([(token, start + i, (seq,), i == last) for i, token in enumerate(tokens)])
        return logprobs

    def _decode(self, entries: Sequence[Entry]) -> None:
        """One llama_decode."""
        batch = self._batch
        batch.n_tokens = len(entries)
        for i, (token, pos, seqs, wanted) in enumerate(entries):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, pos, len(seqs), int(wanted)
            for j, seq in enumerate(seqs):
                batch.seq_id[i][j] = seq
        code = self.c.llama_decode(self._ctx, batch)
        if code:
            raise LLMError(
                f"running {self.path}: llama_decode returned {code} for {len(entries)} tokens in a context of"
                f" {self.n_ctx}; expected 0. Lower n_ctx if memory is short, or use another model."
            )

    def _logprobs(self, entry: int) -> Float64[np.ndarray, "d_vocab"]:
        """Log-probabilities in nats after an entry of the last batch."""
        pointer = self.c.llama_get_logits_ith(self._ctx, entry)
        logits = np.ctypeslib.as_array(pointer, shape=(self.d_vocab,)).astype(np.float64)
        top = logits.max()
        return logits - (top + np.log(np.exp(logits - top).sum()))

    def _remove(self, seq: int) -> None:
        self.c.llama_memory_seq_rm(self._memory, seq, -1, -1)

    # llama.cpp's text functions

    def _tokenize(self, text: str, special: bool, *, first: bool) -> list[int]:
        data = text.encode("utf-8", "replace")
        out = (ctypes.c_int32 * (len(data) + 8))()
        n = self.c.llama_tokenize(self.vocab, data, len(data), out, len(out), first, special)
        assert n >= 0, f"{len(data)} bytes became {-n} tokens"
        return list(out[:n])

    def _piece(self, token: int) -> bytes:
        out = ctypes.create_string_buffer(256)
        n = self.c.llama_token_to_piece(self.vocab, token, out, len(out), 0, False)
        return out.raw[: max(n, 0)]

    def _token_text(self, token: int) -> str:
        return self.c.llama_vocab_get_text(self.vocab, token).decode("utf-8", "replace") if token >= 0 else ""

    def _metadata(self, key: str) -> str | None:
        size = self.c.llama_model_meta_val_str(self._model, key.encode(), None, 0)
        if size <= 0:
            return None
        out = ctypes.create_string_buffer(size + 1)
        self.c.llama_model_meta_val_str(self._model, key.encode(), out, len(out))
        return out.value.decode("utf-8", "replace")


def load_llm(path: str | os.PathLike[str], *, n_ctx: int = 2048, many_tokens: bool = False) -> LLM:
    """Load a GGUF model that runs on all cores, or on the GPU where this build of llama.cpp can use one.

    Nothing is written to stderr. `many_tokens`: it will evaluate many tokens and write few, so weights of a small model
    are expanded where that is faster.

    Raises:
        LLMError: llama-cpp-python is not installed; the file is missing or is not a GGUF; or llama.cpp cannot load it
            (truncated, or of an unknown architecture). The message is one line.
    """
    path = require_llm(path)
    require_harmless(path, TRIAL, package="llama-cpp-python", error=LLMError, memory=MAPPED)
    c = _llama_cpp(path)
    return LLM(path, n_ctx=n_ctx, c=c, many_tokens=many_tokens)


def require_llm(path: str | os.PathLike[str]) -> Path:
    """The path of a GGUF model that can be tried: it exists, and llama-cpp-python is installed. Nothing is loaded.

    Raises:
        LLMError: it is no GGUF file, or llama-cpp-python is not installed.
    """
    path = readable_path(path, error=LLMError)
    if not path.is_file():
        what = "it is a folder" if path.is_dir() else "there is no such file"
        raise LLMError(
            f"loading the LLM {path}: {what}; expected a GGUF model. Give one with --llm FILE.gguf, or `llm` in "
            "RUN.toml; or none."
        )
    with path.open("rb") as file:
        magic = file.read(len(MAGIC))
    if magic != MAGIC:
        raise LLMError(
            f"loading the LLM {path}: the file begins with {magic!r}, expected {MAGIC!r}: it is not a GGUF."
            " Give one with --llm FILE.gguf, or `llm` in RUN.toml."
        )
    if importlib.util.find_spec("llama_cpp") is None:
        raise LLMError(
            f"loading the LLM {path}: llama-cpp-python is not installed. Run: pip install 'neurolocal[summary]'"
        )
    return path


def _llama_cpp(path: Path) -> Any:
    """llama.cpp's C interface, loaded with an OpenMP policy under which waiting threads sleep.

    OpenMP reads the policy when its library is loaded. By default waiting threads spin, which is several times slower
    where other programs use the same cores.
    """
    mine = "OMP_WAIT_POLICY" not in os.environ
    if mine:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    try:
        from llama_cpp import llama_cpp as c
    except ImportError as error:
        raise LLMError(
            f"loading the LLM {path}: llama-cpp-python cannot be imported ({error})."
            " Run: pip install 'neurolocal[summary]'"
        ) from error
    finally:
        if mine:
            del os.environ["OMP_WAIT_POLICY"]
    return c


def _open(c: Any, path: Path, *, n_ctx: int, gpu: bool, mapped: bool = True) -> tuple[Any, Any]:
    """Model and context; llama.cpp's own log does not reach stderr. A file that is not mapped may be deleted."""
    global _silence
    if _silence is None:
        _silence = c.llama_log_callback(lambda level, text, data: None)
        c.llama_backend_init()
    c.llama_log_set(_silence, ctypes.c_void_p(0))
    options = c.llama_model_default_params()
    options.n_gpu_layers, options.use_mmap = 0x7FFFFFFF if gpu else 0, mapped
    with waiting(f"loading the LLM {path.name}"):
        model = c.llama_model_load_from_file(os.fsencode(path), options)
    if not model:
        raise LLMError(
            f"loading the LLM {path}: llama.cpp cannot read its {path.stat().st_size:,} bytes; expected a complete GGUF"
            " model of an architecture that it supports. Compare the size with the original's, or copy it again."
        )
    if not c.llama_model_has_decoder(model):
        c.llama_model_free(model)
        raise LLMError(f"loading the LLM {path}: this model only encodes; expected one that writes text.")
    options = c.llama_context_default_params()
    options.n_ctx, options.n_batch, options.n_ubatch = n_ctx, BATCH, BATCH
    options.n_seq_max, options.kv_unified = HEADS + 1 + BRANCHES, True
    options.n_threads = options.n_threads_batch = cores()
    context = c.llama_init_from_model(model, options)
    if not context:
        c.llama_model_free(model)
        raise LLMError(f"loading the LLM {path}: no memory for a context of {n_ctx} tokens. Lower n_ctx.")
    return model, context


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
