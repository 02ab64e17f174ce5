"""A local LLM as two questions: how does this text go on, and how probable is that continuation?

The only importer of llama_cpp, and of its C interface rather than its `Llama` class: that class computes logits for one
sequence at a time and keeps them for every position of the context (400 MB at 2,048 x 49,152), while here one decode
serves all samples of a prompt, and one decode all continuations of a prefix, each a sequence of its own that shares the
prefix's keys and values.

Invariant: what a call returns depends on its arguments and on `prepare`'s, never on earlier calls. So the shared
heads are evaluated in a fixed order, each alone, and every call leaves the cache as it found it; a resumed run gives
the same bits. Cost, SmolLM2-135M Q4_1 on 2 cores: 0.3 s to load, 0.3 s to hash, some 300 tokens/s of prompt, 8 ms a
generated token.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from neurolocal.errors import LLMError

MAGIC = b"GGUF"

BATCH = 512
"""Tokens a decode at most."""

HEADS = 8
"""Sequences reserved for heads, the prefixes that all calls share."""

BRANCHES = 32
"""Continuations evaluated side by side."""

ASKED_FIRST = 256
"""Tokens that a grammar is asked about, most probable first; all of the vocabulary only where none of them will do."""

SENTINEL = "\ue000"
"""Stands for the message while a chat template is rendered; a private character, so no template holds it."""

CHAT_FROM = 1e9
"""Parameters from which a model is asked in its own words; smaller ones ramble (seen at 135M)."""

_silence: Any = None
"""The C callback that swallows llama.cpp's log; a module keeps it alive for as long as C may call it."""


@dataclass(frozen=True)
class Generation:
    """One continuation that the LLM wrote."""

    text: str
    """What it wrote, up to the stop text."""
    stopped: bool
    """Whether it ended by itself (stop text or end of turn), not by running out of tokens."""


class LLM:
    """A GGUF model in llama.cpp; made by `load_llm`."""

    def __init__(self, path: Path, *, n_ctx: int, c: Any) -> None:
        self.path = path
        self.sha256 = _sha256(path)
        self.gpu: bool = bool(c.llama_supports_gpu_offload())
        """Whether this build of llama.cpp can offload layers to a GPU; if so, all are."""
        self._c = c
        self._model, self._ctx = _open(c, path, n_ctx=n_ctx, gpu=self.gpu)
        self._vocab = c.llama_model_get_vocab(self._model)
        self._memory = c.llama_get_memory(self._ctx)
        self._batch = c.llama_batch_init(BATCH, 0, 1)
        self.n_ctx = int(c.llama_n_ctx(self._ctx))
        self.d_vocab = int(c.llama_vocab_n_tokens(self._vocab))
        self.n_params = int(c.llama_model_n_params(self._model))
        self.chat_template = self._metadata("tokenizer.chat_template")
        """The template of the GGUF's metadata, None where it has none."""
        self._heads: list[tuple[list[int], Float64[np.ndarray, "d_vocab"]]] = []
        self._texts: list[str] = []

    def __str__(self) -> str:
        """One line for the start of a run: what it is, and whether a GPU can help."""
        where = "all layers on the GPU" if self.gpu else "on the CPU (this build of llama.cpp cannot offload to a GPU)"
        return f"{self.path.name}: {self.n_params / 1e6:.0f}M parameters, context {self.n_ctx}, {where}"

    @property
    def chats(self) -> bool:
        """Whether the model is large enough to be asked a question and answer it."""
        return self.n_params >= CHAT_FROM

    def close(self) -> None:
        """Free the model; the object is of no use afterwards."""
        if self._model is not None:
            self._c.llama_batch_free(self._batch)
            self._c.llama_free(self._ctx)
            self._c.llama_model_free(self._model)
            self._model = self._ctx = None

    def __enter__(self) -> LLM:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Text and tokens

    def tokenize(self, text: str, *, after: str | None = None, special: bool = False) -> list[int]:
        """The tokens of `text`, as they are when it follows `after` (None: at the start, BOS first where the model
        wants it).

        Control tokens written in the text, such as `<|im_end|>`, are plain characters unless `special`.
        """
        if not after:
            return self._tokenize(text, special, first=after is None)
        before, whole = self._tokenize(after, special, first=False), self._tokenize(after + text, special, first=False)
        # A tokenizer may merge across the seam; then the text keeps its own tokens, as if it had been typed later.
        return whole[len(before) :] if whole[: len(before)] == before else self._tokenize(text, special, first=False)

    def text(self, tokens: Sequence[int]) -> str:
        """The text of tokens, control tokens left out."""
        return b"".join(self._piece(t) for t in tokens).decode("utf-8", "replace")

    def chat_parts(self) -> tuple[list[int], list[int]] | None:
        """What the chat template puts before and after a user's message; None where there is none, or it fails.

        Only the template's own control tokens count as such, never what a message spells.
        """
        if not self.chat_template:
            return None
        from llama_cpp.llama_chat_format import Jinja2ChatFormatter

        bos, eos = (self._token_text(f(self._vocab)) for f in (self._c.llama_vocab_bos, self._c.llama_vocab_eos))
        try:
            formatter = Jinja2ChatFormatter(self.chat_template, eos_token=eos, bos_token=bos)
            before, after = formatter(messages=[{"role": "user", "content": SENTINEL}]).prompt.split(SENTINEL)
        except Exception:  # a template is a program of a stranger: whatever it raises, completion still works
            return None
        starts_with_bos = bool(bos) and before.startswith(bos)
        return self._tokenize(before, True, first=not starts_with_bos), self._tokenize(after, True, first=False)

    # Evaluation

    def prepare(self, heads: Sequence[str | Sequence[int]]) -> None:
        """Evaluate the prefixes that later calls share, `head` being their index; earlier heads are forgotten.

        A head is a text, or tokens.
        """
        assert len(heads) <= HEADS
        self._c.llama_memory_clear(self._memory, False)
        self._heads, self._texts = [], [head if isinstance(head, str) else "" for head in heads]
        for i, head in enumerate(heads):
            tokens = self.tokenize(head) if isinstance(head, str) else list(head)
            self._room(tokens, "a shared prompt head")
            self._heads.append((tokens, self._extend(tokens, seq=i, start=0)))

    def room(self) -> int:
        """Tokens that fit after a head, all prepared heads staying where they are."""
        return self.n_ctx - sum(len(tokens) for tokens, _ in self._heads)

    def complete(
        self,
        body: str | Sequence[int],
        *,
        head: int | None = None,
        max_tokens: int,
        samples: int = 1,
        temperature: float = 0.0,
        seed: int = 0,
        stop: str | None = None,
        grammar: str | None = None,
    ) -> list[Generation]:
        """`samples` continuations of head + body, the first greedy, the others drawn at `temperature` by `seed`.

        All are generated side by side; each ends before `stop`, at the model's end of turn, or after `max_tokens`. With
        a grammar (GBNF, its rule `root`) only what it allows is written, and a continuation ends where it does.
        Raises LLMError where prompt and answer do not fit into the context.
        """
        assert samples <= BRANCHES
        tokens = self._body(body, head)
        self._room([*tokens, *range(samples * max_tokens)], "a prompt and its answers")
        with self._branch(tokens, head) as (start, logprobs):
            rules = [self._grammar(grammar) for _ in range(samples)] if grammar else []
            try:
                return self._generate(start, logprobs, max_tokens, samples, temperature, seed, stop, rules)
            finally:
                for rule in rules:
                    self._c.llama_sampler_free(rule)

    def log_probabilities(
        self, body: str | Sequence[int], continuations: Sequence[str], *, head: int | None = None
    ) -> list[Float64[np.ndarray, "_"]]:
        """Log-probability in nats of each token of each continuation, given head + body.

        The prefix is evaluated once; a continuation is tokenised as it stands after it. An empty one gives an empty
        array. Raises LLMError where prefix and one continuation do not fit into the context.
        """
        tokens = self._body(body, head)
        after = self._before(body, head)
        rest = [self.tokenize(text, after=after) for text in continuations]
        longest = max((len(r) for r in rest), default=0)
        self._room([*tokens, *range(longest)], "a prefix and its continuation")
        out = [np.zeros(len(r)) for r in rest]
        with self._branch(tokens, head) as (start, logprobs):
            for group in self._groups(rest, free=self.room() - len(tokens)):
                self._score(group, rest, start, logprobs, out)
        return out

    def next_log_probabilities(
        self, body: Sequence[int], endings: Sequence[Sequence[int]], options: Sequence[int], *, head: int | None = None
    ) -> Float64[np.ndarray, "ending option"]:
        """Log-probability in nats of each token of `options`, right after head + body + each of the endings.

        Raises LLMError where body and one ending do not fit into the context.
        """
        longest = max((len(e) for e in endings), default=0)
        self._room([*body, *range(longest)], "a prompt")
        found = np.zeros((len(endings), len(options)))
        with self._branch(body, head) as (start, logprobs):
            for group in self._groups(endings, free=self.room() - len(body)):
                entries, last = [], []
                for j, i in enumerate(group):
                    self._share(HEADS + 1 + j)
                    tokens = endings[i]
                    entries += [(t, start + k, HEADS + 1 + j, k == len(tokens) - 1) for k, t in enumerate(tokens)]
                    if tokens:
                        last.append(i)
                    else:
                        found[i] = logprobs[list(options)]
                for low in range(0, len(entries), BATCH):
                    part = entries[low : low + BATCH]
                    self._decode(part)
                    for row in range(sum(wanted for *_, wanted in part)):
                        found[last.pop(0)] = self._logprobs(row)[list(options)]
                for j in range(len(group)):
                    self._c.llama_memory_seq_rm(self._memory, HEADS + 1 + j, -1, -1)
        return found

    # Under the hood

    def _body(self, body: str | Sequence[int], head: int | None) -> list[int]:
        if not isinstance(body, str):
            return list(body)
        return self.tokenize(body, after=None if head is None else self._texts[head])

    def _before(self, body: str | Sequence[int], head: int | None) -> str:
        return ("" if head is None else self._texts[head]) + (body if isinstance(body, str) else "")

    @contextmanager
    def _branch(self, tokens: Sequence[int], head: int | None) -> Iterator[tuple[int, Float64[np.ndarray, "d_vocab"]]]:
        """Evaluate a head's sequence and a body after it; gives their length and what follows, and cleans up after."""
        start, logprobs = 0, None
        if head is not None:
            shared, logprobs = self._heads[head]
            start = len(shared)
            self._c.llama_memory_seq_cp(self._memory, head, HEADS, -1, -1)
        try:
            if tokens:
                logprobs = self._extend(tokens, seq=HEADS, start=start)
            if logprobs is None:
                raise LLMError(f"running {self.path}: the prompt is empty; expected some text.")
            yield start + len(tokens), logprobs
        finally:
            for seq in range(HEADS, HEADS + 1 + BRANCHES):
                self._c.llama_memory_seq_rm(self._memory, seq, -1, -1)

    def _groups(self, rest: Sequence[Sequence[int]], free: int) -> Iterator[list[int]]:
        group: list[int] = []
        used = 0
        for i, tokens in enumerate(rest):
            if group and (len(group) == BRANCHES or used + len(tokens) > min(free, BATCH)):
                yield group
                group, used = [], 0
            group.append(i)
            used += len(tokens)
        if group:
            yield group

    def _score(
        self,
        group: Sequence[int],
        rest: Sequence[Sequence[int]],
        start: int,
        first: Float64[np.ndarray, "d_vocab"],
        out: list[Float64[np.ndarray, "_"]],
    ) -> None:
        entries, targets = [], []
        for j, i in enumerate(group):
            if rest[i]:
                out[i][0] = first[rest[i][0]]
            self._share(HEADS + 1 + j)
            for t, token in enumerate(rest[i][:-1]):  # the last token's own logits are not needed
                entries.append((token, start + t, HEADS + 1 + j, True))
                targets.append((i, t + 1))
        for low in range(0, len(entries), BATCH):
            part = targets[low : low + BATCH]
            self._decode(entries[low : low + BATCH])
            for row, (i, t) in enumerate(part):
                out[i][t] = self._logprobs(row)[rest[i][t]]
        for j in range(len(group)):
            self._c.llama_memory_seq_rm(self._memory, HEADS + 1 + j, -1, -1)

    def _generate(
        self,
        start: int,
        first: Float64[np.ndarray, "d_vocab"],
        max_tokens: int,
        samples: int,
        temperature: float,
        seed: int,
        stop: str | None,
        rules: Sequence[Any] = (),
    ) -> list[Generation]:
        draws = [np.random.default_rng([seed, s]) for s in range(samples)]
        written: list[list[int]] = [[] for _ in range(samples)]
        ended = [False] * samples
        logprobs = [first] * samples
        for s in range(samples):
            self._share(HEADS + 1 + s)
        for step in range(max_tokens):
            for s in range(samples):
                if not ended[s]:
                    allowed = self._allowed(rules[s], logprobs[s]) if rules else logprobs[s]
                    token = _pick(allowed, temperature if s else 0.0, draws[s])
                    if rules:
                        self._c.llama_sampler_accept(rules[s], token)
                    if self._c.llama_vocab_is_eog(self._vocab, token):
                        ended[s] = True
                    else:
                        written[s].append(token)
                        ended[s] = stop is not None and stop in self.text(written[s])
            live = [s for s in range(samples) if not ended[s]]
            if not live or step == max_tokens - 1:
                break
            self._decode([(written[s][-1], start + step, HEADS + 1 + s, True) for s in live])
            for row, s in enumerate(live):
                logprobs[s] = self._logprobs(row)
        texts = [self.text(w) for w in written]
        return [Generation(text.split(stop)[0] if stop else text, e) for text, e in zip(texts, ended, strict=True)]

    def _grammar(self, grammar: str) -> Any:
        """A grammar's state; LLMError where llama.cpp cannot read it."""
        found = self._c.llama_sampler_init_grammar(self._vocab, grammar.encode(), b"root")
        if not found:
            raise LLMError(f"running {self.path}: llama.cpp cannot read this grammar: {grammar[:200]!r}.")
        return found

    def _allowed(self, rule: Any, logprobs: Float64[np.ndarray, "d_vocab"]) -> Float64[np.ndarray, "d_vocab"]:
        """The log-probabilities of what a grammar allows next, -inf elsewhere."""
        best = np.argsort(-logprobs, kind="stable")[:ASKED_FIRST]
        for chosen in (best, np.arange(self.d_vocab)):
            entries = np.zeros(len(chosen), dtype=[("id", "<i4"), ("logit", "<f4"), ("p", "<f4")])
            entries["id"], entries["logit"] = chosen, logprobs[chosen]
            pointer = entries.ctypes.data_as(ctypes.POINTER(self._c.llama_token_data))
            array = self._c.llama_token_data_array(data=pointer, size=len(chosen), selected=-1, sorted=False)
            self._c.llama_sampler_apply(rule, ctypes.byref(array))
            kept = np.isfinite(entries["logit"])
            if kept.any():
                out = np.full(self.d_vocab, -np.inf)
                out[entries["id"][kept]] = logprobs[entries["id"][kept]]
                return out
        raise LLMError(f"running {self.path}: its vocabulary cannot spell what the grammar asks for.")

    def _share(self, seq: int) -> None:
        """Let a sequence begin with the keys and values of the working one; no copy is made."""
        self._c.llama_memory_seq_rm(self._memory, seq, -1, -1)
        self._c.llama_memory_seq_cp(self._memory, HEADS, seq, -1, -1)

    def _extend(self, tokens: Sequence[int], *, seq: int, start: int) -> Float64[np.ndarray, "d_vocab"]:
        """Evaluate tokens at the end of a sequence; the log-probabilities of what follows them."""
        assert tokens
        for low in range(0, len(tokens), BATCH):
            part = tokens[low : low + BATCH]
            last = low + len(part) == len(tokens)
            self._decode([(t, start + low + i, seq, last and i == len(part) - 1) for i, t in enumerate(part)])
        return self._logprobs(0)

    def _decode(self, entries: Sequence[tuple[int, int, int, bool]]) -> None:
        """One llama_decode over (token, position, sequence, whether its logits are wanted)."""
        batch = self._batch
        batch.n_tokens = len(entries)
        wanted = 0
        self._rows = []
        for i, (token, position, seq, logits) in enumerate(entries):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, position, 1, int(logits)
            batch.seq_id[i][0] = seq
            if logits:
                self._rows.append(i)
                wanted += 1
        code = self._c.llama_decode(self._ctx, batch)
        if code:
            raise LLMError(
                f"running {self.path}: llama_decode returned {code} for {len(entries)} tokens in a context of"
                f" {self.n_ctx}; expected 0. Lower n_ctx if memory is short, or use another model."
            )

    def _logprobs(self, row: int) -> Float64[np.ndarray, "d_vocab"]:
        pointer = self._c.llama_get_logits_ith(self._ctx, self._rows[row])
        logits = np.ctypeslib.as_array(pointer, shape=(self.d_vocab,)).astype(np.float64)
        top = logits.max()
        return logits - (top + np.log(np.exp(logits - top).sum()))

    def _room(self, tokens: Sequence[int], what: str) -> None:
        if len(tokens) > self.room():
            raise LLMError(
                f"running {self.path}: {what} of {len(tokens)} tokens do not fit into the {self.room()} free of a"
                f" context of {self.n_ctx}. Raise n_ctx, or give fewer examples."
            )

    def _tokenize(self, text: str, special: bool, *, first: bool) -> list[int]:
        data = text.encode("utf-8", "replace")
        out = (ctypes.c_int32 * (len(data) + 8))()
        n = self._c.llama_tokenize(self._vocab, data, len(data), out, len(out), first, special)
        assert n >= 0, f"{len(data)} bytes became {-n} tokens"
        return list(out[:n])

    def _piece(self, token: int) -> bytes:
        out = ctypes.create_string_buffer(256)
        n = self._c.llama_token_to_piece(self._vocab, token, out, len(out), 0, False)
        return out.raw[: max(n, 0)]

    def _token_text(self, token: int) -> str:
        return self._c.llama_vocab_get_text(self._vocab, token).decode("utf-8", "replace") if token >= 0 else ""

    def _metadata(self, key: str) -> str | None:
        size = self._c.llama_model_meta_val_str(self._model, key.encode(), None, 0)
        if size <= 0:
            return None
        out = ctypes.create_string_buffer(size + 1)
        self._c.llama_model_meta_val_str(self._model, key.encode(), out, len(out))
        return out.value.decode("utf-8", "replace")


def load_llm(path: str | os.PathLike[str], *, n_ctx: int = 2048) -> LLM:
    """Load a GGUF model for completion on all cores, its layers on the GPU where the build can.

    Nothing is written to stderr. Raises LLMError, one line, where llama-cpp-python is not installed, the file is
    missing or is no GGUF, or llama.cpp cannot load it (cut short, an unknown architecture).
    """
    path = Path(path)
    if not path.is_file():
        raise LLMError(f"loading the LLM {path}: there is no such file; expected a GGUF model. Pass --llm FILE.gguf.")
    with path.open("rb") as file:
        magic = file.read(len(MAGIC))
    if magic != MAGIC:
        raise LLMError(
            f"loading the LLM {path}: the file begins with {magic!r}, expected {MAGIC!r}: it is no GGUF."
            " Pass --llm FILE.gguf."
        )
    c = _llama_cpp(path)
    return LLM(path, n_ctx=n_ctx, c=c)


def _llama_cpp(path: Path) -> Any:
    """llama.cpp's C interface, its threads told to sleep while they wait for each other.

    OpenMP reads the policy when its library is loaded, and lets threads spin by default: on two cores that others use
    as well (load 7), the same work took 23 to 56 s spinning and 6 s asleep.
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


def _open(c: Any, path: Path, *, n_ctx: int, gpu: bool) -> tuple[Any, Any]:
    """Model and context, llama.cpp's own log kept off stderr."""
    global _silence
    if _silence is None:
        _silence = c.llama_log_callback(lambda level, text, data: None)
        c.llama_backend_init()
    c.llama_log_set(_silence, ctypes.c_void_p(0))
    options = c.llama_model_default_params()
    options.n_gpu_layers = 0x7FFFFFFF if gpu else 0
    model = c.llama_model_load_from_file(os.fsencode(path), options)
    if not model:
        raise LLMError(
            f"loading the LLM {path}: llama.cpp cannot read its {path.stat().st_size:,} bytes; expected a whole GGUF"
            " model of an architecture that it knows. Compare the size with the original's, or copy it again."
        )
    if not c.llama_model_has_decoder(model):
        c.llama_model_free(model)
        raise LLMError(f"loading the LLM {path}: this model only encodes; expected one that writes text.")
    options = c.llama_context_default_params()
    options.n_ctx, options.n_batch, options.n_ubatch = n_ctx, BATCH, BATCH
    options.n_seq_max, options.kv_unified = HEADS + 1 + BRANCHES, True
    options.n_threads = options.n_threads_batch = len(os.sched_getaffinity(0))
    context = c.llama_init_from_model(model, options)
    if not context:
        c.llama_model_free(model)
        raise LLMError(f"loading the LLM {path}: no memory for a context of {n_ctx} tokens. Lower n_ctx.")
    return model, context


def _pick(logprobs: Float64[np.ndarray, "d_vocab"], temperature: float, draw: np.random.Generator) -> int:
    """The next token: the most probable at temperature 0, else drawn."""
    if temperature <= 0:
        return int(logprobs.argmax())
    p = np.exp((logprobs - logprobs.max()) / temperature)
    return int(np.searchsorted(np.cumsum(p), draw.random() * p.sum(), side="right").clip(0, len(p) - 1))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
