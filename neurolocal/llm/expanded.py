"""A GGUF's weights as float16, for models whose quantisation llama.cpp multiplies one token at a time on a CPU.

For Q4_1 and Q5_1 it has no kernel for many tokens: a decode of 400 tokens costs 400 times one. Float16 holds the same
weights to 11 bits, and activations are not rounded to 8 bits, so that answers differ by rounding. Invariant: whatever
goes wrong gives None, and the model stays as it is. Cost: one pass over the file; a temporary copy of 2 bytes a weight.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

SLOW = {"3": "Q4_1", "9": "Q5_1"}
"""`general.file_type` of a GGUF -> its name, where llama.cpp has no kernel for many tokens on a CPU."""

FLOAT16 = 1
"""llama.cpp's file type of float16 weights."""


def expanded(c: Any, path: Path, folder: Path) -> Path | None:
    """The path of a float16 copy in a folder; None where llama.cpp cannot make one."""
    options = c.llama_model_quantize_default_params()
    options.ftype, options.allow_requantize = FLOAT16, True
    copy = folder / "float16.gguf"
    failed = c.llama_model_quantize(os.fsencode(path), os.fsencode(copy), ctypes.byref(options))
    return None if failed or not copy.is_file() else copy
