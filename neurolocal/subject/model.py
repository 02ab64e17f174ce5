"""The model under study: run it over rows and see each layer's neurons on the way.

Invariant: what a reader is handed equals TransformerBridge's `blocks.{layer}.mlp.hook_post`; the model itself is not
changed. The pass covers the decoder body alone and ends at the deepest layer that is read, before its out projection.
Cost: the forward pass and one Python call a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neurolocal.config import sha256
from neurolocal.errors import SubjectError
from neurolocal.subject.sites import out_projection_paths, remembered
from neurolocal.subject.tokens import encode_exactly, vocabulary
from neurolocal.words import Vocabulary

if TYPE_CHECKING:
    cached_property = property  # type checkers take a cached_property for no property of a protocol
else:
    from functools import cached_property
from pathlib import Path

Reader = Callable[[Float[Tensor, "batch pos d_mlp"]], None]
"""Sees the activations of one layer; must not change or keep them."""


class _Enough(Exception):  # noqa: N818  no error: it ends a forward pass
    """The deepest layer has been read."""


class Subject:
    """A causal language model with MLP neurons, its tokenizer, and its name."""

    def __init__(self, model: Any, tokenizer: Any, *, name: str, path: str = "", sha256: str = "") -> None:
        """Wrap a loaded Hugging Face model.

        Raises:
            SubjectError: no MLP neurons at the places that TransformerLens names.
        """
        self.model, self.tokenizer = model, tokenizer
        self.name, self.path, self.sha256 = name, path, sha256
        self.body: torch.nn.Module = model.base_model
        config = model.config.get_text_config()
        if getattr(model.config, "is_encoder_decoder", False):
            raise SubjectError(f"loading the subject {name}: an encoder-decoder; give a decoder-only language model.")
        self.n_layers: int = config.num_hidden_layers
        self.d_vocab: int = config.vocab_size
        self.n_ctx: int | None = getattr(config, "max_position_embeddings", None)
        self._out = [self._module(p) for p in out_projection_paths(model.config, self.n_layers)]
        self.d_mlp: list[int] = remembered(model.config, "widths", self._measure_widths, of=(self.n_layers, int))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return next(self.model.parameters()).dtype

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The bytes of every token id."""
        return vocabulary(self.tokenizer, self.d_vocab)

    @property
    def bos(self) -> int | None:
        """The id that begins a row; GPT-2 and its like use EOS for it."""
        return self.tokenizer.bos_token_id if self.tokenizer.bos_token_id is not None else self.eos

    @property
    def eos(self) -> int | None:
        """The id that ends a document."""
        return self.tokenizer.eos_token_id

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Token ids of whole documents, without special tokens."""
        return self.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"] if texts else []

    def encode_exactly(self, text: str) -> list[int] | None:
        """Ids whose text is exactly `text` in the middle of a row, or None where there are none."""
        return encode_exactly(self.tokenizer, self.vocabulary, text)

    def facts(self) -> dict[str, Any]:
        """What names this model, for a manifest."""
        return {
            "name": self.name,
            "path": self.path,
            "sha256": self.sha256,
            "architecture": (self.model.config.architectures or [self.model.config.model_type])[0],
            "n_layers": self.n_layers,
            "d_mlp": self.d_mlp,
            "d_vocab": self.d_vocab,
            "n_ctx": self.n_ctx,
        }

    def tokenizer_facts(self) -> dict[str, Any]:
        """What names the tokenizer, for a manifest."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        vocab = backend.to_str() if backend is not None else self.tokenizer.get_vocab()
        return {"sha256": sha256(vocab), "bos": self.bos, "eos": self.eos, "size": len(self.tokenizer)}

    @torch.inference_mode()
    def read(self, tokens: Int[Tensor, "batch pos"], readers: Mapping[int, Reader], **body: Any) -> None:
        """One forward pass; the reader of a layer sees its activations as soon as they are there.

        Args:
            tokens: ids, on any device.
            readers: by layer; layers above the deepest are not run.
            body: further arguments of the decoder body (cache, mask, positions).
        """
        if not readers:
            raise ValueError("reading a forward pass: no layers to read; expected a reader for one or more")
        shape = tokens.shape
        if self.n_ctx is not None and shape[-1] > self.n_ctx and not body:  # a body's own positions are its caller's
            raise SubjectError(
                f"running {self.name} on rows of {shape[-1]:,} tokens: it has {self.n_ctx:,} positions. "
                "Pass a smaller --row-length."
            )
        handles = [
            self._out[layer].register_forward_pre_hook(_hook(reader, shape, last=layer == max(readers)))
            for layer, reader in readers.items()
        ]
        try:
            self.body(input_ids=tokens.to(self.device), **({"use_cache": False} | body))
        except _Enough:
            pass
        finally:
            for handle in handles:
                handle.remove()

    def activations(self, tokens: Int[Tensor, "batch pos"], layer: int) -> Float[Tensor, "batch pos d_mlp"]:
        """All activations of one layer, a copy: for small inputs and tests."""
        kept: list[Tensor] = []
        self.read(tokens, {layer: lambda x: kept.append(x.clone())})
        return kept[0]

    def _module(self, path: str) -> torch.nn.Module:
        try:
            return self.model.get_submodule(path)
        except AttributeError as error:
            raise SubjectError(
                f"looking for the neurons of {self.name}: there is no module {path}, where TransformerLens says they "
                "are. The model's code and the adapter disagree; try another version of transformer-lens."
            ) from error

    def _measure_widths(self) -> list[int]:
        """Run two rows that differ in their second token: each layer is seen, and the first token does not care."""
        seen: dict[int, Tensor] = {}
        probe = torch.tensor([[0, self.d_vocab // 3], [0, self.d_vocab // 2]])
        readers = {i: (lambda x, i=i: seen.update({i: x[:, 0].float()})) for i in range(self.n_layers)}
        self.read(probe, readers)
        silent = [i for i in range(self.n_layers) if i not in seen]
        if silent:
            raise SubjectError(
                f"looking for the neurons of {self.name}: the out projections of layers {silent[:8]} are never run. "
                "Mixture-of-experts and attention-only layers cannot be read yet."
            )
        one, other = seen[self.n_layers - 1]
        rounding = 1e-3 if self.dtype == torch.float32 else 5e-2
        if (one - other).abs().max() > rounding * one.abs().max():
            raise SubjectError(
                f"looking for the neurons of {self.name}: a token sees what comes after it, so this is an encoder. "
                "Give a decoder-only language model."
            )
        return [seen[i].shape[-1] for i in range(self.n_layers)]


def _hook(reader: Reader, shape: torch.Size, *, last: bool) -> Callable[..., None]:
    def see(module: torch.nn.Module, args: tuple[Tensor, ...]) -> None:
        x = args[0]
        reader(x.view(*shape, x.shape[-1]))  # OPT flattens batch and position
        if last:
            raise _Enough

    return see


def require_tensors(model: Any, missing: Iterable[str], path: Path) -> None:
    """Refuse weights that lack a tensor of the decoder body: transformers draws it at random and only warns.

    Raises:
        SubjectError: the files at `path` do.
    """
    prefix = f"{model.base_model_prefix}."
    body = sorted(name for name in missing if name.startswith(prefix) or model.base_model is model)
    if body:
        raise SubjectError(
            f"loading the subject {path}: its weights lack {len(body)} tensors ({', '.join(body[:3])}). "
            "Check that the folder or file is whole; copy it again."
        )
