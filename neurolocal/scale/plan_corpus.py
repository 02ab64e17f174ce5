"""The rows of a corpus, estimated from the text of some files and the tokens of a sample.

Invariant: which text is looked at follows from the files, so the same corpus gives the same number.
Cost: at most `CHARACTERS` of each of `FILES` files are read, and a share of them is tokenised.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from neurolocal.config import CollectConfig
from neurolocal.corpus import CorpusFile, SkipCounts, corpus_files, documents
from neurolocal.corpus.conversations import Render
from neurolocal.corpus.sizes import bytes_of, corpus_bytes
from neurolocal.errors import CorpusError
from neurolocal.scale.plan_terms import size
from neurolocal.storage import Address
from neurolocal.subject.chat import ChatTemplate
from neurolocal.subject.tokenizers import Tokenizer

FILES = 4
"""Files that are looked at, evenly spaced among all."""

CHARACTERS = 1 << 24
"""Characters read of each; the position in a compressed file is known to some 2^20."""

AT_FIRST = 1 << 18
"""Characters of each that are tokenised in any case."""

SHARE = 1 / 32
"""Share of the further ones that is tokenised."""

PIECE = 1 << 16
"""Characters of a document that are tokenised at most."""

PER_TOKEN = 4.0
"""Characters of a token where no tokenizer is known: those of English text have 4 to 4.5 with 50,000 ids."""


class CorpusSize(NamedTuple):
    """How large a corpus is."""

    rows: int
    """Rows of the config's length."""
    how: str
    """What this rests on."""


class _Look(NamedTuple):
    """What was seen of one file."""

    sizes: list[int]
    """Characters of each document."""
    ids: list[int]
    """Token ids of each document that holds these."""
    read: int
    """Bytes of the file that were read."""
    characters: int
    """Characters that were tokenised."""
    tokens: int
    """Their tokens."""


def corpus_size(corpus: Path | Address, config: CollectConfig, tokenizer: Tokenizer | None) -> CorpusSize:
    """The rows that a corpus gives.

    Args:
        corpus: as `collect` takes it.
        config: row length, packing, BOS and text field count.
        tokenizer: of the subject; None assumes `PER_TOKEN`.

    Raises:
        CorpusError: it cannot be read, or no document is found.
    """
    files, skipped = corpus_files(corpus), SkipCounts()
    chosen = np.unique(np.linspace(0, len(files) - 1, FILES).astype(int)).tolist()
    looks = [_look(files, number, config, tokenizer, skipped) for number in chosen]
    sizes = np.array([n for look in looks for n in look.sizes], np.int64)
    ids = np.array([n for look in looks for n in look.ids], np.int64)
    if not len(sizes) + len(ids):
        why = "; ".join(f"{n:,} records: {reason}" for reason, n in skipped.counts.items()) or "they are empty"
        raise CorpusError(
            f"planning for {corpus}: no document was found in {len(looks)} of {len(files)} files ({why}). Check "
            "--text-field, or give --tokens."
        )
    tokenised = sum(look.characters for look in looks)
    per_token = tokenised / max(1, sum(look.tokens for look in looks)) if tokenised else PER_TOKEN
    tokens = np.concatenate([sizes / per_token, ids])
    each = config.row_length - (config.bos == "prepend")
    joined = config.packing == "concat"
    rows = (tokens.sum() + len(tokens) - 1) / each if joined else np.ceil(tokens / each).sum()  # an EOS between two
    whole, read = corpus_bytes(files), sum(look.read for look in looks)
    how = (
        f"{len(files):,} {'files' if len(files) > 1 else 'file'} of {size(whole)}, of which {read / max(1, whole):.0%} "
    )
    how += f"in {len(looks)} were read" if len(files) > 1 else "was read"
    if len(sizes):
        found = f"of {tokenised:,} that were tokenised" if tokenised else "assumed, without a tokenizer"
        how += f"; {per_token:.2f} characters a token, {found}"
    rounding = 1e-6  # a whole number may come out a little less
    return CorpusSize(max(1, math.floor(rows * whole / max(1, read) + rounding)), how)


def _look(
    files: Sequence[CorpusFile], number: int, config: CollectConfig, tokenizer: Tokenizer | None, skipped: SkipCounts
) -> _Look:
    """Read a file from its beginning."""
    before, read = corpus_bytes(files[:number]), bytes_of(files[number])
    sizes, ids, seen, characters, tokens = list[int](), list[int](), 0, 0, 0
    found = documents(
        files, file=number, until=(number + 1, 0), text_field=config.text_field, skipped=skipped,
        render=_render(tokenizer), longest=config.longest_record,
    )  # fmt: skip
    for document in found:
        (sizes if document.tokens is None else ids).append(document.size)
        if tokenizer is not None and document.tokens is None and characters <= AT_FIRST + SHARE * seen:
            piece = document.text[:PIECE]
            characters, tokens = characters + len(piece), tokens + len(tokenizer.encode([piece])[0])
        seen += document.size
        if seen >= CHARACTERS:
            read = min(read, document.read - before)
            break
    return _Look(sizes, ids, read, characters, tokens)


def _render(tokenizer: Tokenizer | None) -> Render | None:
    """What writes conversations as text; None where the tokenizer states no template."""
    roles = None if tokenizer is None else tokenizer.roles
    if roles is None or not roles.chat_template:
        return None
    return ChatTemplate(roles.chat_template, bos=roles.bos, eos=roles.eos).render
