"""Run as a program: the ids that llama.cpp gives for texts, in a process of its own, since it may abort on a bad file.

Reads `[path, [text, ...]]` as JSON from the standard input; writes a line of JSON: the version of llama-cpp-python,
or null where it refuses the file, and for each text its ids with control tokens as tokens and as text.
It imports nothing of this package, so it starts quickly. Cost: reading the file's metadata, not its weights.
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any


def main() -> None:
    """Answer the standard input."""
    import llama_cpp as c

    silence = c.llama_log_callback(_nothing)
    c.llama_log_set(silence, ctypes.c_void_p(0))
    path, texts = json.load(sys.stdin)
    options = c.llama_model_default_params()
    options.vocab_only = True
    model = c.llama_model_load_from_file(path.encode(), options)
    if not model:
        print("null")
        return
    vocab = c.llama_model_get_vocab(model)
    ids = [[_ids(c, vocab, text, special=special) for special in (True, False)] for text in texts]
    print(json.dumps([c.__version__, ids]))


def _ids(c: Any, vocab: Any, text: str, *, special: bool) -> list[int]:
    data = text.encode("utf-8", "replace")
    room = 4 * len(data) + 16  # a user's token, or a space put before every part, makes it longer than its bytes
    found = (c.llama_token * room)()
    n = c.llama_tokenize(vocab, data, len(data), found, room, False, special)
    if n < 0:
        raise ValueError(f"{-n} ids of {len(data)} bytes")
    return list(found[:n])


def _nothing(*_: Any) -> None:
    pass


if __name__ == "__main__":
    main()
