"""Run by `neurolocal.bounded`: llama.cpp loads a GGUF model on the CPU and evaluates one token.

It imports nothing of this package. Cost: one loading; the weights are mapped, not copied.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

os.environ |= {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": "-1"}  # on the CPU, before a library looks for them
from llama_cpp import llama_cpp as c

SILENCE = c.llama_log_callback(lambda level, text, data: None)
"""Receives llama.cpp's log. It lives as long as the process, since llama.cpp keeps its address."""

c.llama_log_set(SILENCE, ctypes.c_void_p(0))


def answer(question: Any) -> None:
    """Load the file of `[package, path]`; any exception refuses it."""
    _, path = question
    options = c.llama_model_default_params()
    options.n_gpu_layers = 0
    model = c.llama_model_load_from_file(os.fsencode(path), options)
    if not model:
        raise ValueError("llama.cpp refuses it")
    try:
        settings = c.llama_context_default_params()
        settings.n_ctx, settings.n_batch, settings.n_ubatch, settings.n_threads = 64, 64, 64, 1
        context = c.llama_init_from_model(model, settings) if c.llama_model_has_decoder(model) else None
        if context:
            batch = c.llama_batch_init(1, 0, 1)
            batch.n_tokens, batch.token[0], batch.pos[0], batch.n_seq_id[0], batch.logits[0] = 1, 0, 0, 1, 1
            batch.seq_id[0][0] = 0
            c.llama_decode(context, batch)
            c.llama_batch_free(batch)
            c.llama_free(context)
    finally:
        c.llama_model_free(model)
