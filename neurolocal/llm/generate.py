"""How does a text go on? Continuations by a local LLM, greedy and sampled, free or by a grammar.

All samples of a prompt are written side by side, one decode a step. Invariant: equal arguments give equal texts;
sample `s` draws from a generator seeded by (seed, s). Cost: one decode of at most `samples` tokens for each generated
token.
"""

from __future__ import annotations

import ctypes
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from neurolocal.errors import LLMError
from neurolocal.llm.model import BRANCHES, LLM

ASKED_FIRST = 256
"""Most probable tokens that a grammar is asked about first; the whole vocabulary only where it allows none of them."""


class Generation(NamedTuple):
    """One continuation that the LLM wrote."""

    text: str
    """The text, up to the stop text."""
    stopped: bool
    """Whether it ended by itself (stop text or end of turn) and not by running out of tokens."""


@dataclass
class _Draft:
    """A continuation while it is written."""

    seq: int
    """Its sequence in the context."""
    logprobs: Float64[np.ndarray, "d_vocab"]
    """Of the next token."""
    temperature: float
    draw: np.random.Generator
    rule: Any
    """The state of its grammar; None without one."""
    tokens: list[int] = field(default_factory=list)
    ended: bool = False


def complete(
    llm: LLM,
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
    """`samples` continuations of head + body: the first greedy, the others drawn at `temperature` with `seed`.

    Each ends before `stop`, at the model's end of turn, or after `max_tokens`. With a grammar (GBNF, its rule `root`)
    each is a text that the grammar allows, and ends where the grammar does.

    Raises:
        LLMError: prompt and answers do not fit into the context, or llama.cpp cannot read the grammar.
    """
    assert samples <= BRANCHES
    tokens, _ = llm.after_head(body, head)
    llm.require_prompt(tokens, head)
    llm.require_room(len(tokens) + samples * max_tokens, "a prompt and its answers")
    with llm.branch(tokens, head) as (start, logprobs), _rules(llm, grammar, samples) as rules:
        drafts = [
            _Draft(llm.fork(s), logprobs, temperature if s else 0.0, np.random.default_rng([seed, s]), rules[s])
            for s in range(samples)
        ]
        for step in range(max_tokens):
            for draft in drafts:
                if not draft.ended:
                    _write(llm, draft, stop)
            live = [draft for draft in drafts if not draft.ended]
            if not live or step == max_tokens - 1:
                break
            found = llm.decode([(draft.tokens[-1], start + step, (draft.seq,), True) for draft in live])
            for draft, logprobs in zip(live, found, strict=True):
                draft.logprobs = logprobs
    texts = [llm.text(draft.tokens) for draft in drafts]
    return [Generation(t.split(stop)[0] if stop else t, d.ended) for t, d in zip(texts, drafts, strict=True)]


def _write(llm: LLM, draft: _Draft, stop: str | None) -> None:
    """Add the next token to a draft, or end it."""
    logprobs = draft.logprobs if draft.rule is None else _allowed(llm, draft.rule, draft.logprobs)
    token = _pick(logprobs, draft.temperature, draft.draw)
    if draft.rule is not None:
        llm.c.llama_sampler_accept(draft.rule, token)
    if llm.c.llama_vocab_is_eog(llm.vocab, token):
        draft.ended = True
    else:
        draft.tokens.append(token)
        draft.ended = stop is not None and stop in llm.text(draft.tokens)


def _pick(logprobs: Float64[np.ndarray, "d_vocab"], temperature: float, draw: np.random.Generator) -> int:
    """The next token: the most probable at temperature 0, otherwise a random one."""
    if temperature <= 0:
        return int(logprobs.argmax())
    p = np.exp((logprobs - logprobs.max()) / temperature)
    return int(np.searchsorted(np.cumsum(p), draw.random() * p.sum(), side="right").clip(0, len(p) - 1))


@contextmanager
def _rules(llm: LLM, grammar: str | None, n: int) -> Generator[list[Any], None, None]:
    """The states of n continuations in a grammar, freed at the end; None each without a grammar."""
    rules: list[Any] = []
    try:
        for _ in range(n):
            rule = llm.c.llama_sampler_init_grammar(llm.vocab, grammar.encode(), b"root") if grammar else None
            if grammar and not rule:
                raise LLMError(f"running {llm.path}: llama.cpp cannot read this grammar: {grammar[:200]!r}.")
            rules.append(rule)
        yield rules
    finally:
        for rule in rules:
            if rule is not None:
                llm.c.llama_sampler_free(rule)


def _allowed(llm: LLM, rule: Any, logprobs: Float64[np.ndarray, "d_vocab"]) -> Float64[np.ndarray, "d_vocab"]:
    """The log-probabilities of the tokens that a grammar allows next, -inf elsewhere."""
    best = np.argsort(-logprobs, kind="stable")[:ASKED_FIRST]
    for chosen in (best, np.arange(llm.d_vocab)):
        entries = np.zeros(len(chosen), dtype=[("id", "<i4"), ("logit", "<f4"), ("p", "<f4")])
        entries["id"], entries["logit"] = chosen, logprobs[chosen]
        pointer = entries.ctypes.data_as(ctypes.POINTER(llm.c.llama_token_data))
        array = llm.c.llama_token_data_array(data=pointer, size=len(chosen), selected=-1, sorted=False)
        llm.c.llama_sampler_apply(rule, ctypes.byref(array))
        kept = np.isfinite(entries["logit"])
        if kept.any():
            out = np.full(llm.d_vocab, -np.inf)
            out[entries["id"][kept]] = logprobs[entries["id"][kept]]
            return out
    raise LLMError(f"running {llm.path}: no token of its vocabulary is allowed by the grammar at this point.")
