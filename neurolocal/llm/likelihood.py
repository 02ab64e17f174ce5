"""How probable is a continuation? Log-probabilities of texts and tokens, of many prompts in one decode.

Prompts that begin alike share these tokens: what all of them begin with is evaluated once as the working sequence,
and what neighbours share is one token of several sequences in the decode. Invariant: results are in the given order,
whatever the grouping. Cost: one forward pass over each token that a prompt does not share with the prompt before it,
`TOGETHER` tokens a decode; the log-probabilities of one position at a time (d_vocab float64).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from neurolocal.llm.model import BRANCHES, LLM, Entry

TOGETHER = 384
"""Most tokens of several prompts in one decode: attention is computed between all of them, and masked."""


class Prompt(NamedTuple):
    """Tokens that follow a head, and the places in them where something is asked."""

    tokens: Sequence[int]
    """The tokens after the head."""
    wanted: Sequence[int]
    """After how many of the tokens the log-probabilities are wanted, ascending; later tokens are not evaluated."""


@dataclass
class _Node:
    """A token in a decode: one of all prompts that begin with the same tokens up to it."""

    token: int
    depth: int
    """Its number in those prompts."""
    seqs: list[int]
    asked: list[tuple[int, int]] = field(default_factory=list)
    """(prompt, wanted place) that are answered after this token."""


def log_probabilities(
    llm: LLM, body: str | Sequence[int], continuations: Sequence[str], *, head: int | None = None
) -> list[Float64[np.ndarray, "_"]]:
    """Log-probability in nats of each token of each continuation, given head + body.

    A continuation has the tokens that it has after that prefix; an empty one gives an empty array.

    Raises:
        LLMError: prefix and the longest continuation do not fit into the context.
    """
    return log_probabilities_of_texts(llm, [body], continuations, head=head)[0]


def log_probabilities_of_texts(
    llm: LLM, bodies: Sequence[str | Sequence[int]], continuations: Sequence[str], *, head: int | None = None
) -> list[list[Float64[np.ndarray, "_"]]]:
    """`log_probabilities` of the same continuations after each of several bodies.

    Raises:
        LLMError: a prefix and the longest continuation do not fit into the context.
    """
    prompts, out = list[Prompt](), list[Float64[np.ndarray, "_"]]()
    for body in bodies:
        tokens, before = llm.after_head(body, head)
        for text in continuations:
            added = llm.tokenize(text, after=before)
            prompts.append(Prompt([*tokens, *added], range(len(tokens), len(tokens) + len(added))))
            out.append(np.zeros(len(added)))
    for i, n, logprobs in _read(llm, prompts, head):
        prompt = prompts[i]
        out[i][n - prompt.wanted[0]] = logprobs[prompt.tokens[n]]
    each = len(continuations)
    return [out[i * each : (i + 1) * each] for i in range(len(bodies))]


def next_log_probabilities(
    llm: LLM, prompts: Sequence[Prompt], options: Sequence[int], *, head: int | None = None
) -> list[Float64[np.ndarray, "wanted option"]]:
    """Log-probability in nats of each token of `options`, at each wanted place of head + prompt.

    Raises:
        LLMError: the longest prompt does not fit into the context.
    """
    found = [np.zeros((len(prompt.wanted), len(options))) for prompt in prompts]
    places = [{n: at for at, n in enumerate(prompt.wanted)} for prompt in prompts]
    for i, n, logprobs in _read(llm, prompts, head):
        found[i][places[i][n]] = logprobs[list(options)]
    return found


def _read(
    llm: LLM, prompts: Sequence[Prompt], head: int | None
) -> Iterator[tuple[int, int, Float64[np.ndarray, "d_vocab"]]]:
    """(i, n, log-probabilities of the token after the first n of prompt i) at each wanted place."""
    asked = {i: list(p.tokens[: p.wanted[-1]]) for i, p in enumerate(prompts) if len(p.wanted)}
    if not asked:
        return
    llm.require_room(max(map(len, asked.values())), "a prompt and its longest continuation")
    for i in asked:
        llm.require_prompt(prompts[i].tokens[: prompts[i].wanted[0]], head)
    common = min(_shared(list(asked.values())), *(prompts[i].wanted[0] for i in asked))
    with llm.branch(next(iter(asked.values()))[:common], head) as (start, first):
        for i in asked:
            if prompts[i].wanted[0] == common:
                yield i, common, first
        rest = {i: tokens[common:] for i, tokens in asked.items() if len(tokens) > common}
        for group in _groups(rest, free=llm.room() - common):
            nodes = _nodes(llm, group, {i: [n - common for n in prompts[i].wanted] for i in group})
            entries: list[Entry] = [(n.token, start + n.depth, tuple(n.seqs), bool(n.asked)) for n in nodes]
            answered = (node.asked for node in nodes if node.asked)
            for places, logprobs in zip(answered, llm.decode(entries), strict=True):
                for i, n in places:
                    yield i, n + common, logprobs
            llm.remove_forks()


def _nodes(llm: LLM, group: dict[int, list[int]], wanted: dict[int, list[int]]) -> list[_Node]:
    """The tokens of a group, those that a prompt shares with the one before it once; each prompt is a fork."""
    nodes, path = list[_Node](), list[_Node]()
    for number, (i, tokens) in enumerate(group.items()):
        seq, shared = llm.fork(number), _shared([[node.token for node in path], tokens])
        path = path[:shared]
        for node in path:
            node.seqs.append(seq)
        for depth in range(shared, len(tokens)):
            path.append(_Node(tokens[depth], depth, [seq]))
            nodes.append(path[-1])
        for n in wanted[i]:
            if n:
                path[n - 1].asked.append((i, n))
    return nodes


def _groups(prompts: dict[int, list[int]], free: int) -> Iterator[dict[int, list[int]]]:
    """Prompts that are evaluated together: at most `BRANCHES`, and as many new tokens as fit."""
    group, used, before = dict[int, list[int]](), 0, list[int]()
    for i, tokens in prompts.items():
        new = len(tokens) - _shared([before, tokens])
        if group and (len(group) == BRANCHES or used + new > min(free, TOGETHER)):
            yield group
            group, used, new = {}, 0, len(tokens)
        group[i] = before = tokens
        used += new
    if group:
        yield group


def _shared(sequences: Collection[Sequence[int]]) -> int:
    """How many tokens all of the sequences begin with."""
    first = min(sequences, key=len)
    return next((n for n, token in enumerate(first) if any(s[n] != token for s in sequences)), len(first))
