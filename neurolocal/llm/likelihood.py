"""How probable is a continuation? Log-probabilities of texts and tokens after a shared prefix.

The prefix is evaluated once, then as many continuations as fit side by side, each a fork of it. Invariant: results are
in the given order, whatever the grouping. Cost: one forward pass over the prefix and over each continuation; the
log-probabilities of one position at a time (d_vocab float64).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float64

from neurolocal.llm.model import BATCH, BRANCHES, LLM, Entry


def log_probabilities(
    llm: LLM, body: str | Sequence[int], continuations: Sequence[str], *, head: int | None = None
) -> list[Float64[np.ndarray, "_"]]:
    """Log-probability in nats of each token of each continuation, given head + body.

    A continuation has the tokens that it has after that prefix; an empty one gives an empty array.

    Raises:
        LLMError: prefix and the longest continuation do not fit into the context.
    """
    tokens, before = llm.after_head(body, head)
    sequences = [llm.tokenize(text, after=before) for text in continuations]
    out = [np.zeros(len(sequence)) for sequence in sequences]
    for i, n, logprobs in _read(llm, tokens, sequences, head=head, everywhere=True):
        out[i][n] = logprobs[sequences[i][n]]
    return out


def next_log_probabilities(
    llm: LLM,
    body: Sequence[int],
    endings: Sequence[Sequence[int]],
    options: Sequence[int],
    *,
    head: int | None = None,
) -> Float64[np.ndarray, "ending option"]:
    """Log-probability in nats of each token of `options`, right after head + body + each of the endings.

    Raises:
        LLMError: body and the longest ending do not fit into the context.
    """
    found = np.zeros((len(endings), len(options)))
    for i, _, logprobs in _read(llm, body, endings, head=head, everywhere=False):
        found[i] = logprobs[list(options)]
    return found


def _read(
    llm: LLM, body: Sequence[int], sequences: Sequence[Sequence[int]], *, head: int | None, everywhere: bool
) -> Iterator[tuple[int, int, Float64[np.ndarray, "d_vocab"]]]:
    """Evaluate sequences side by side after head + body.

    Gives (i, n, log-probabilities of the token after the first n of sequence i): for `everywhere` at each n below the
    sequence's length, so that its last token is not evaluated; otherwise only at n = its length.
    """
    longest = max(map(len, sequences), default=0)
    llm.require_room(len(body) + longest, "a prompt and its longest continuation")
    with llm.branch(body, head) as (start, first):
        for group in _groups(sequences, free=llm.room() - len(body)):
            entries, places = list[Entry](), list[tuple[int, int]]()
            for number, i in enumerate(group):
                seq, tokens = llm.fork(number), sequences[i]
                wanted = range(len(tokens)) if everywhere else range(len(tokens), len(tokens) + 1)
                if 0 in wanted:
                    yield i, 0, first
                for n in range(1, wanted.stop):
                    entries.append((tokens[n - 1], start + n - 1, seq, n in wanted))
                    if n in wanted:
                        places.append((i, n))
            for (i, n), logprobs in zip(places, llm.decode(entries), strict=True):
                yield i, n, logprobs
            llm.remove_forks()


def _groups(sequences: Sequence[Sequence[int]], free: int) -> Iterator[list[int]]:
    """Indices of sequences that are evaluated together: at most `BRANCHES`, and as many tokens as fit."""
    group: list[int] = []
    used = 0
    for i, tokens in enumerate(sequences):
        if group and (len(group) == BRANCHES or used + len(tokens) > min(free, BATCH)):
            yield group
            group, used = [], 0
        group.append(i)
        used += len(tokens)
    if group:
        yield group
