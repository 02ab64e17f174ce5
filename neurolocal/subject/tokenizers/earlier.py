"""Stores of version 0.1.0, whose tokenizer was read in another way: does a tokenizer give the ids that they hold?

0.1.0 let the class of transformers that the config names change the tokenizer, and named it by the result. Where the
change is without effect on ids, its stores can be used further.
Invariant: only a tokenizer that 0.1.0 would have named by that SHA-256, and that gives equal ids on all texts tried, is
accepted. Cost: importing transformers and encoding the vocabulary's texts, only where the names differ.
"""

from __future__ import annotations

from pathlib import Path

from neurolocal.config import sha256
from neurolocal.subject.tokenizers.roles import names_a_model
from neurolocal.subject.tokenizers.tokenizer import Tokenizer

TOGETHER = 64
"""Tokens of the vocabulary that are tried as one text."""


def is_of_0_1_0(tokenizer: Tokenizer, name: str) -> bool:
    """Whether a store of 0.1.0 with this SHA-256 of its tokenizer holds the ids of a tokenizer.

    Args:
        tokenizer: read from a folder.
        name: `tokenizer.sha256` of the store's manifest.
    """
    folder = Path(tokenizer.path)
    if not (folder / "tokenizer.json").is_file():
        return False
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    kind = AutoTokenizer if names_a_model(folder) else PreTrainedTokenizerFast
    try:
        theirs = kind.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        earlier = Tokenizer.of(theirs)
    except Exception:  # transformers raises many types
        return False
    if sha256(earlier.backend.fingerprint()) != name:
        return False
    texts = _texts(tokenizer)
    return earlier.encode(texts) == tokenizer.encode(texts)


def _texts(tokenizer: Tokenizer) -> list[str]:
    """The whole vocabulary as text, in order; with and without spaces between tokens; and numbers."""
    words = [data.decode("utf-8", "ignore") for data in tokenizer.token_bytes.values()]
    groups = [words[i : i + TOGETHER] for i in range(0, len(words), TOGETHER)]
    numbers = [" ".join(str(7**n) for n in range(TOGETHER)), "".join(str(n) for n in range(1000))]
    return [joint.join(group) for joint in ("", " ", "\n", "'") for group in groups] + numbers
